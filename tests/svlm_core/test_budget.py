# SPDX-License-Identifier: Apache-2.0
"""What a device must hold is told before anything is loaded, and told true."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from svlm_core import StreamingVLM
from svlm_core.budget import SPARE, Budget, draw_up, size
from svlm_core.config import StreamSettings, preset
from svlm_core.errors import DeviceFull, SettingsError
from svlm_core.free import free_bytes
from svlm_core.model.weights import weights_of

GIB = 2**30
FULL = Budget('cuda:0', 16 * GIB, GIB, GIB + 2**29, 2**29, 12 * GIB)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_weights_are_told_to_the_byte(golden: Path, dtype: str) -> None:
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', device='cpu', dtype=dtype)
    weights = weights_of(engine._model.language, engine._model.vision).values()
    told = draw_up(golden / 'checkpoint', [StreamSettings()], 'cpu', dtype)
    assert told.weights == sum(weight.nbytes for weight in weights)


@pytest.mark.parametrize(
    'settings',
    [
        StreamSettings(),
        StreamSettings(ask_tokens=64),
        StreamSettings(rope='native', ask_tokens=10),
        StreamSettings(rope='native', policy='recompute'),
        StreamSettings(policy='window', reset_every=10),
        StreamSettings(max_vision_tokens=100, text_window=0),
        StreamSettings(policy='full_attention', capacity=5000),
        preset('reference', ask_tokens=64),
    ],
)
def test_planes_are_told_to_the_byte(
    engine: StreamingVLM, golden: Path, settings: StreamSettings
) -> None:
    told = draw_up(golden / 'checkpoint', [settings], 'cpu', 'float32')
    assert told.memory + told.questions == engine.open(settings).memory_bytes
    assert (told.questions > told.memory) == bool(settings.ask_tokens)


def test_every_stream_has_planes_of_its_own_and_they_take_turns_at_the_work() -> None:
    one, other = StreamSettings(ask_tokens=64), StreamSettings(max_vision_tokens=100)
    alone = [draw_up(None, [settings], 'cpu') for settings in (one, other)]
    both = draw_up(None, [one, other], 'cpu')
    assert both.weights == alone[0].weights
    assert both.memory == alone[0].memory + alone[1].memory
    assert both.questions == alone[0].questions
    assert both.work == max(alone[0].work, alone[1].work) == alone[0].work


def test_a_setting_without_a_bound_is_refused_as_it_is_by_a_stream() -> None:
    with pytest.raises(SettingsError, match='has no bound: give capacity'):
        draw_up(None, [StreamSettings(policy='full_attention')], 'cpu')


def test_enough_room_is_no_error_and_an_unknown_one_neither() -> None:
    replace(FULL, free=19 * GIB).check()
    replace(FULL, free=None).check()


def test_too_little_room_is_told_part_by_part_with_what_to_lower() -> None:
    with pytest.raises(DeviceFull) as caught:
        FULL.check()
    assert str(caught.value) == (
        '19.0 GiB needed on cuda:0 (weights 16.0 GiB, memory 1.0 GiB, questions 1.5 GiB, work '
        'about 512 MiB), 12.0 GiB free: lower max_vision_tokens or text_window, set ask.enabled '
        'to false (ask_tokens to 0), take a smaller checkpoint or dtype, or free the device'
    )


def test_where_no_questions_are_asked_nothing_is_said_of_them_to_lower() -> None:
    with pytest.raises(DeviceFull) as caught:
        replace(FULL, questions=0).check()
    assert 'ask' not in str(caught.value)


def test_a_budget_is_one_line_also_where_the_device_does_not_tell() -> None:
    told = str(replace(FULL, device='mps', free=None))
    assert told == (
        '19.0 GiB needed on mps (weights 16.0 GiB, memory 1.0 GiB, questions 1.5 GiB, work about '
        '512 MiB)'
    )
    assert size(3 * 2**20) == '3 MiB'


def test_the_device_is_asked_for_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    told = draw_up(None, [StreamSettings()], 'cpu')
    assert told.free is not None
    monkeypatch.setattr('svlm_core.free.MEMINFO', Path('/no/such/file'))
    assert draw_up(None, [StreamSettings()], 'cpu').free is None


@pytest.mark.parametrize(('integrated', 'free'), [(0, 7 * GIB), (1, 5 * 2**20)])
def test_a_gpu_without_memory_of_its_own_has_what_the_host_can_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, integrated: int, free: int
) -> None:
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text('MemTotal:  9000 kB\nMemFree:  100 kB\nMemAvailable:  5120 kB\n')
    monkeypatch.setattr('svlm_core.free.MEMINFO', meminfo)
    properties = SimpleNamespace(is_integrated=integrated)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: properties)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (7 * GIB, 8 * GIB))
    assert free_bytes(torch.device('cuda:0')) == free


ROUNDS = """
import sys
import numpy as np
import torch
from svlm_core import StreamingVLM, preset
from svlm_core.budget import draw_up

def held(name):
    lines = open('/proc/self/status').read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

torch.set_num_threads(1)
engine = StreamingVLM.from_pretrained(None, device='cpu')
settings = preset('robot', max_new_tokens=2, policy=sys.argv[1], vision_window=6, text_rounds=6)
stream = engine.open(settings)
cell = 2 * engine._model.config.vision.patch_size  # frames that are not resized
frames = np.random.default_rng(0).integers(0, 256, (2, 24 * cell, 32 * cell, 3), np.uint8)
stream.step(frames[:, :cell, :cell], 0.0)
stream.reset()
open('/proc/self/clear_refs', 'w').write('5')
before = held('VmRSS')
for second in range(8):
    stream.step(frames, float(second))
budget = draw_up(None, [settings], 'cpu')
print(held('VmHWM') - before, budget.memory + budget.work)
"""


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
@pytest.mark.parametrize('policy', ['streaming', 'recompute'])
def test_a_round_takes_no_more_than_was_told(policy: str) -> None:
    child = subprocess.run(
        [sys.executable, '-c', ROUNDS, policy], capture_output=True, text=True, check=True
    )
    taken, told = map(int, child.stdout.split())
    assert taken <= told
    assert told - SPARE <= 3 * taken  # an estimate, not a fright


LOADING = """
import sys
from pathlib import Path
import torch
from safetensors import safe_open
from svlm_core.model.weights import read_weights, shards

def held(name):
    lines = open('/proc/self/status').read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

shapes = {}
for path in shards(Path(sys.argv[1])):
    with safe_open(path, 'pt') as shard:
        shapes |= {name: torch.Size(shard.get_slice(name).get_shape()) for name in shard.keys()}
open('/proc/self/clear_refs', 'w').write('5')
before = held('VmRSS')
weights = read_weights(Path(sys.argv[1]), shapes, torch.device('cpu'), torch.bfloat16)
print(held('VmHWM') - before, sum(weight.nbytes for weight in weights.values()))
"""


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_beside_the_weights_no_more_than_one_shard_is_in_main_memory(tmp_path: Path) -> None:
    places, shard = {}, 2**24
    for number in range(6):
        name = f'model-{number}.safetensors'
        weights = {f'model.{number}.{i}': torch.randn(1024, 1024) for i in range(4)}
        save_file(weights, tmp_path / name)
        places |= dict.fromkeys(weights, name)
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': places}))
    child = subprocess.run(
        [sys.executable, '-c', LOADING, str(tmp_path)], capture_output=True, text=True, check=True
    )
    peak, weights_bytes = map(int, child.stdout.split())
    assert weights_bytes == 6 * shard // 2  # half as wide as in the files
    assert peak <= weights_bytes + 1.5 * shard
