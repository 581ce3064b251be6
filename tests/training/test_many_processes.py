# SPDX-License-Identifier: Apache-2.0
"""Two processes learn what one does: the same batches, the same losses, the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import training_runs as runs
from svlm_core import StreamingVLM

GOLDEN = Path(__file__).parents[1] / 'parity' / 'checkpoint'
RECIPE = f"""
name: shared
model: {{source: {GOLDEN}, fresh: {{seed: 1}}}}
stream: {{text_sink: 12, text_window: 20}}
stages:
  - name: sft
    data: [{{stories: {{samples: 30, window: 4, overlap: 2, run: 2, length: 60, size: 56}}}}]
    batch: 4
    pack: PACK
    learning_rate: 1e-3
    warmup: 0.2
    checkpointing: true
    save_every: 4
    keep: 9
    log_every: 1
    workers: 0
"""
CLOSE = {'rtol': 2e-3, 'atol': 2e-3}


def write_recipe(folder: Path, pack: int) -> Path:
    path = folder / 'recipe.yaml'
    path.write_text(RECIPE.replace('PACK', str(pack)))
    return path


def losses(run: Path) -> torch.Tensor:
    """The loss of every step, as the last checkpoint tells it."""
    state = json.loads((run / 'sft' / 'checkpoint-8' / 'trainer_state.json').read_text())
    return torch.tensor([entry['loss'] for entry in state['log_history'] if 'loss' in entry])


def weights(run: Path) -> torch.Tensor:
    stored = load_file(run / 'sft' / 'model' / 'model.safetensors')
    return torch.cat([stored[name].flatten() for name in sorted(stored)])


def two(recipe: Path, output: Path, sharded: bool) -> list[int | None]:
    port = runs.free_port()
    return runs.finish(
        *(runs.start(runs.take_part, recipe, output, rank, port, sharded) for rank in range(2))
    )


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process does."""
    folder = tmp_path_factory.mktemp('alone')
    recipe = write_recipe(folder, 4)
    assert runs.finish(runs.start(runs.carry_out, recipe, folder / 'run')) == [0]
    return folder / 'run'


@pytest.mark.parametrize('pack', [1, 2])
def test_two_processes_follow_the_same_curve(tmp_path: Path, alone: Path, pack: int) -> None:
    output = tmp_path / 'run'
    assert two(write_recipe(tmp_path, pack), output, sharded=False) == [0, 0]
    torch.testing.assert_close(losses(output), losses(alone), **CLOSE)
    torch.testing.assert_close(weights(output), weights(alone), rtol=0, atol=2e-3)


def test_fsdp2_cuts_every_layer_and_follows_the_same_curve(tmp_path: Path, alone: Path) -> None:
    output = tmp_path / 'run'
    assert two(write_recipe(tmp_path, 2), output, sharded=True) == [0, 0]
    torch.testing.assert_close(losses(output), losses(alone), **CLOSE)
    torch.testing.assert_close(weights(output), weights(alone), rtol=0, atol=2e-3)
    parts = [
        load_file(output / 'sft' / 'checkpoint-8' / f'process-{rank}-of-2.safetensors')
        for rank in range(2)
    ]
    name = 'weight/language.layers.0.mlp.up_proj.weight'
    whole = load_file(output / 'sft' / 'model' / 'model.safetensors')
    both = torch.cat([part[name] for part in parts])
    assert torch.equal(both, whole['model.layers.0.mlp.up_proj.weight'])
    assert [len(part[name]) for part in parts] == [len(both) // 2] * 2
    assert StreamingVLM.from_pretrained(output / 'sft' / 'model').info.trained


def test_fsdp2_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    tmp_path: Path, alone: Path
) -> None:
    recipe, output = write_recipe(tmp_path, 2), tmp_path / 'run'
    assert two(recipe, output, sharded=True) == [0, 0]
    expected = weights(output)
    (output / 'sft' / 'model').rename(tmp_path / 'model')
    (output / 'sft' / 'checkpoint-8').rename(tmp_path / 'checkpoint-8')
    assert two(recipe, output, sharded=True) == [0, 0]
    assert torch.equal(weights(output), expected)


def test_a_batch_that_cannot_be_shared_is_said(tmp_path: Path) -> None:
    codes = two(write_recipe(tmp_path, 4), tmp_path / 'run', sharded=False)
    assert codes == [1, 1]
