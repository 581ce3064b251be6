# SPDX-License-Identifier: Apache-2.0
"""Weights of fewer bits: as close as their scales allow, and a checkpoint like any other."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from streams import noise, small
from svlm_core import StreamingVLM, cli, gpu
from svlm_core.benchmark import run
from svlm_core.benchmark.agreement import agreements, told_right
from svlm_core.benchmark.models import random_engine
from svlm_core.card import EMBEDDED, suited
from svlm_core.commands.engine_flags import introduction
from svlm_core.errors import CheckpointError, SettingsError
from svlm_core.model.checkpoint import load
from svlm_core.model.narrow import write_quantised
from svlm_core.model.quantised import (
    FEW,
    KINDS,
    Quantised,
    group_of,
    pack_layers,
    quantised_layers,
)
from svlm_core.training.model import Trainee

pytestmark = pytest.mark.filterwarnings('ignore:no kernel')  # of 8 bits, on a CPU: bfloat16 alone

HALVES = [torch.float32, torch.bfloat16, torch.float16]


def layer(bits: int, weight: torch.Tensor, dtype: torch.dtype) -> Quantised:
    """A layer that holds a weight (N, K), ready to run."""
    made = KINDS[bits](weight.shape[1], weight.shape[0], bias=True)
    parts = KINDS[bits].parts(weight, dtype)
    made.load_state_dict({**parts, 'bias': torch.arange(len(weight)).to(dtype)}, assign=True)
    made.pack(dtype)
    return made


@pytest.fixture(scope='module')
def narrow(tmp_path_factory):
    """The built-in model in 4 and in 8 bits, by their number."""
    folder = tmp_path_factory.mktemp('narrow')
    for bits in (4, 8):
        write_quantised(folder / f'int{bits}', EMBEDDED, bits)
    return {bits: folder / f'int{bits}' for bits in (4, 8)}


@pytest.mark.parametrize(('bits', 'steps'), [(8, 254), (4, 15)])
def test_a_weight_is_off_by_half_a_step_at_most(bits, steps):
    torch.manual_seed(0)
    weight = torch.randn(32, 256)
    found = layer(bits, weight, torch.float32).widened(torch.float32)
    groups = weight.view(32, -1, 128 if bits == 4 else 256)
    reach = groups.amax(-1) - groups.amin(-1) if bits == 4 else 2 * groups.abs().amax(-1)
    step = (reach / steps).repeat_interleave(groups.shape[-1], dim=1)
    assert ((found - weight).abs() <= 0.5001 * step).all()


@pytest.mark.parametrize('bits', KINDS)
def test_weights_that_are_all_equal_stay_so(bits):
    weight = torch.zeros(16, 64)
    assert layer(bits, weight, torch.float32).widened(torch.float32).equal(weight)


@pytest.mark.parametrize('bits', KINDS)
@pytest.mark.parametrize('dtype', HALVES, ids=str)
@pytest.mark.parametrize('rows', [1, FEW, FEW + 1])
def test_few_rows_and_many_give_the_textbook_product(bits, dtype, rows):
    torch.manual_seed(rows)
    made, x = layer(bits, torch.randn(48, 96), dtype), torch.randn(rows, 96).to(dtype)
    with torch.inference_mode():
        expected = x.double() @ made.widened(torch.float64).T + torch.arange(48)
        apart = (made(x).double() - expected).abs().max() / expected.abs().max()
    assert apart < 4 * torch.finfo(dtype).eps


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch):
    weight, x = torch.randn(32, 64), torch.randn(1, 64)
    assert layer(4, weight, torch.float32).fast
    assert not layer(4, weight[:31], torch.float32).fast, 'a size that the kernel does not take'
    monkeypatch.setattr(torch, '_weight_int4pack_mm_for_cpu', lambda x, *given: x[:, :32])
    made = layer(4, weight, torch.float32)
    assert not made.fast
    assert made(x).shape == (1, 32)


class Kernels(TorchDispatchMode):
    """Which kernels for few bits are called, as `int4` and `int8`."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called |= set(re.findall('_weight_(int.)pack_mm', func.name()))
        return func(*args, **(kwargs or {}))


class Clock:
    """Takes the place of `gpu.seconds`: the plain product takes 1, kernels what is said here."""

    def __init__(self, **kernels: float) -> None:
        self.kernels, self.calls = kernels, 0

    def __call__(self, work: gpu.Work, device: torch.device) -> float:
        self.calls += 1
        with torch.inference_mode(), Kernels() as kernels:
            work()
        return sum(self.kernels[name] for name in kernels.called) or 1.0


@pytest.fixture
def model(narrow):
    """The built-in model in 4 bits, as a GPU is given it."""
    return load(narrow[4], 'cpu', 'bfloat16').language


@pytest.mark.parametrize(
    ('int4', 'int8', 'fast'), [(0.5, 0.5, {4, 8}), (0.5, 2.0, {4}), (2.0, 0.5, {8})]
)
def test_a_gpu_uses_the_kernels_that_are_faster_there(model, monkeypatch, int4, int8, fast):
    clock = Clock(int4=int4, int8=int8)
    monkeypatch.setattr(gpu, 'replays', lambda device: True)
    monkeypatch.setattr(gpu, 'seconds', clock)
    pack_layers(model, torch.bfloat16)
    layers = quantised_layers(model)
    assert {layer.bits for layer in layers if layer.fast} == fast
    assert {layer.bits for layer in layers if not layer.fast} == {4, 8} - fast
    shapes = {(layer.bits, layer.inputs, layer.outputs) for layer in layers}
    assert clock.calls == 2 * len(shapes) < 2 * len(layers)


def test_where_no_kernel_is_fast_that_is_said(model, monkeypatch):
    monkeypatch.setattr(gpu, 'replays', lambda device: True)
    monkeypatch.setattr(gpu, 'seconds', Clock(int4=2.0, int8=2.0))
    with pytest.warns(UserWarning, match='no kernel for few bits is fast in bfloat16 on cpu'):
        pack_layers(model, torch.bfloat16)
    x = torch.randn(1, model.config.hidden_size).bfloat16()
    plain = model.layers[0].mlp.gate_proj
    assert plain(x).equal(functional.linear(x, plain.widened(torch.bfloat16)))


def test_a_kernel_that_cannot_be_captured_is_not_used(model, monkeypatch):
    def refuse(work, device):
        raise RuntimeError('operation not permitted when stream is capturing')

    monkeypatch.setattr(gpu, 'replays', lambda device: True)
    monkeypatch.setattr(gpu, 'seconds', refuse)
    with pytest.warns(UserWarning, match='no kernel'):
        pack_layers(model, torch.bfloat16)


def test_how_many_layers_have_a_fast_kernel_is_told(narrow):
    engine = StreamingVLM.from_pretrained(narrow[4], 'cpu', 'bfloat16')
    layers = quantised_layers(engine.model.language)
    count = sum(layer.fast for layer in layers)
    assert count > 1
    assert f'fast kernels in {count} of {len(layers)} layers' in engine.info.kernels
    assert engine.info.kernels in introduction(engine.info)
    assert ', , ' not in introduction(StreamingVLM.from_pretrained(None, 'cpu').info)


def test_the_widest_group_that_fits_is_taken():
    assert [group_of(n) for n in (3584, 192, 96)] == [128, 64, 32]
    with pytest.raises(SettingsError, match='take 8 bits'):
        group_of(100)


@pytest.mark.parametrize('bits', KINDS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_a_quantised_checkpoint_loads_and_speaks_in_any_type(narrow, bits, dtype):
    engine = StreamingVLM.from_pretrained(narrow[bits], 'cpu', dtype)
    plain = StreamingVLM.from_pretrained(None, 'cpu')
    assert engine.info.dtype == f'int{bits} weights in {dtype}'
    assert engine.info.parameters == plain.info.parameters
    assert engine.info.model == f'{plain.info.model}-int{bits}'
    layers = [m for m in engine.model.language.modules() if isinstance(m, Quantised)]
    assert {m.bits for m in layers} == {bits, 8}, 'the head has 8'
    stream = engine.open(small())
    assert [len(stream.step(noise(n), n).ids) > 0 for n in range(5)] == [True] * 5


def test_16_bits_say_what_32_say():
    one, *others = (
        StreamingVLM.from_pretrained(None, 'cpu', dtype)
        for dtype in ('float32', 'bfloat16', 'float16')
    )
    found = agreements(one, others, suited('robot', None), worlds=1, seconds=12)
    assert all(other.same > 0.9 for other in found)


def test_a_model_agrees_with_itself_and_less_with_fewer_bits(narrow):
    one = StreamingVLM.from_pretrained(None, 'cpu')
    others = [one, *(StreamingVLM.from_pretrained(narrow[bits], 'cpu') for bits in (8, 4))]
    same, *fewer = agreements(one, others, suited('robot', None), worlds=1, seconds=12)
    assert same.same == 1
    assert same.divergence == pytest.approx(0, abs=1e-6)
    assert 0 < fewer[0].divergence < fewer[1].divergence
    assert {other.tokens for other in fewer} == {same.tokens}


def test_what_a_model_tells_right_is_a_share_of_the_seconds(narrow):
    """The built-in model knows this world; one whose head says nothing does not."""
    one, settings = StreamingVLM.from_pretrained(None, 'cpu'), suited('robot', None)
    knows = told_right(one, settings, worlds=1, seconds=12)
    assert 12 * knows == pytest.approx(round(12 * knows))
    silent = StreamingVLM.from_pretrained(None, 'cpu')
    silent.model.language.norm.weight.data.zero_()
    assert told_right(silent, settings, worlds=1, seconds=12) < knows


def test_what_is_quantised_is_not_quantised_again(narrow, tmp_path):
    with pytest.raises(CheckpointError, match='quantised already'):
        write_quantised(tmp_path / 'again', narrow[8], 4)
    assert not list(tmp_path.iterdir())


def test_other_bits_than_config_says_are_refused(narrow, tmp_path):
    for path in narrow[8].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / 'config.json').read_text())
    config['quantization_config']['bits'] = 4
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load(tmp_path, 'cpu')
    del config['quantization_config']
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match='quantised'):
        load(tmp_path, 'cpu')


def test_the_command_writes_and_measures(tmp_path, capsys, monkeypatch):
    folder = tmp_path / 'small'
    words = ['quantize', str(folder), '--bits', '8', '--measure', '--worlds', '1', '--seconds',
             '4', '--device', 'cpu', '--also', 'bfloat16']  # fmt: skip
    monkeypatch.setitem(run.GRIDS, 180, (2, 3))  # of frames whose seconds are timed
    assert cli.main(words) == 0
    size, head, _, plain, half, narrow, note = capsys.readouterr().out.splitlines()
    assert 'MiB of weights' in size
    assert 'would be the same' in head
    for line, name in (
        (plain, 'float32'),
        (half, 'bfloat16'),
        (narrow, 'int8 weights in float32'),
    ):
        dtype, same, nats, right, pace = (cell.strip() for cell in line.split('|')[1:-1])
        assert dtype == name
        assert (same == nats == '') == (name == 'float32')  # it is held against itself
        assert right.endswith('%')
        assert float(pace.removesuffix(' ms')) > 0
    assert 'synthetic worlds of 4 s on cpu' in note
    assert cli.main(words) == 1
    assert 'exists' in capsys.readouterr().err


def test_random_models_can_have_fewer_bits():
    engine = random_engine('tiny', 'cpu', bits=4)
    assert engine.info.dtype == 'int4 weights in float32'
    caption = engine.open(small(), endless=True).step(noise(0), 0)
    assert len(caption.ids) == 4


def test_it_is_not_trained(narrow):
    with pytest.raises(CheckpointError, match='train what it was made of'):
        Trainee(load(narrow[4], 'cpu'), freeze_vision=False, checkpointing=False)
