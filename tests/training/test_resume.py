# SPDX-License-Identifier: Apache-2.0
"""Training that is killed at any moment and resumed gives the same weights, bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import training_runs as runs
from svlm_core.errors import CheckpointError, SettingsError
from svlm_core.training.recipe import read_recipe
from svlm_core.training.run import open_output

RECIPE = """
name: killed
model: MODEL
stream: {text_sink: 12, text_window: 20}
stages:
  - &sft
    name: sft
    data: [{stories: {samples: 16, window: 4, overlap: 2, run: 2, length: 60, size: 56}}]
    epochs: 2
    batch: 4
    pack: 2
    learning_rate: 1e-3
    warmup: 0.2
    save_every: 3
    keep: 1
    log_every: 1
    workers: WORKERS
  - <<: *sft
    name: annealing
    epochs: 1
"""
GOLDEN = Path(__file__).parents[1] / 'parity' / 'checkpoint'
MODELS = {
    'all weights': f'{{source: {GOLDEN}, fresh: {{seed: 1}}}}',
    'adapters with dropout': f'{{source: {GOLDEN}, adapter: {{rank: 2, dropout: 0.3}}}}',
}
CASES = [
    *(('all weights', point) for point in runs.POINTS),
    *(('adapters with dropout', point) for point in ('in a step', 'in a checkpoint')),
]


def write_recipe(folder: Path, model: str, workers: int = 0) -> Path:
    path = folder / 'recipe.yaml'
    path.write_text(RECIPE.replace('MODEL', MODELS[model]).replace('WORKERS', str(workers)))
    return path


def results(output: Path) -> dict[str, bytes]:
    """All weights that a run ends with, and the last checkpoint of each stage."""
    files = [*output.glob('*/model/model.safetensors'), *output.glob('*/checkpoint-*/process*')]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What comes out when nothing happens, by model."""
    found = {}
    for model in MODELS:
        folder = tmp_path_factory.mktemp('undisturbed')
        recipe = write_recipe(folder, model)
        assert runs.finish(runs.start(runs.carry_out, recipe, folder / 'run')) == [0]
        found[model] = results(folder / 'run')
    assert {len(files) for files in found.values()} == {4}
    return found


@pytest.mark.parametrize(('model', 'point'), CASES)
def test_killed_at_any_point_and_resumed_it_gives_the_same_weights(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]], model: str, point: str
) -> None:
    recipe, output = write_recipe(tmp_path, model), tmp_path / 'run'
    assert runs.finish(runs.start(runs.carry_out, recipe, output, False, point)) == [
        -signal.SIGKILL
    ]
    assert results(output) != undisturbed[model]
    assert runs.finish(runs.start(runs.carry_out, recipe, output, True)) == [0]
    assert results(output) == undisturbed[model]
    assert not [path for path in output.rglob('.*') if path.is_file() or path.is_dir()]


def test_how_many_processes_prepare_data_changes_nothing(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    recipe = write_recipe(tmp_path, 'all weights', workers=2)
    assert runs.finish(runs.start(runs.carry_out, recipe, tmp_path / 'run')) == [0]
    assert results(tmp_path / 'run') == undisturbed['all weights']


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, 'all weights'))
    with pytest.raises(SettingsError, match='holds something else: choose another --output'):
        open_output(recipe, tmp_path, resume=True)


def test_a_run_goes_on_only_by_its_own_recipe_and_when_told_to(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, 'all weights'))
    output = tmp_path / 'run'
    open_output(recipe, output, resume=False)
    with pytest.raises(SettingsError, match='go on with --resume'):
        open_output(recipe, output, resume=False)
    open_output(recipe, output, resume=True)
    other = read_recipe(write_recipe(tmp_path, 'adapters with dropout'))
    with pytest.raises(SettingsError, match=r'begun with another recipe: see .*recipe.json'):
        open_output(other, output, resume=True)


def test_a_checkpoint_of_other_processes_or_another_model_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from svlm_core.training import checkpoints

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    (tmp_path / 'process-0-of-2.safetensors').touch()
    with pytest.raises(CheckpointError, match='as many processes as training was begun with'):
        checkpoints.read(tmp_path / 'process-0-of-1.safetensors', model, optimizer)
    with pytest.raises(CheckpointError, match='is damaged'):
        checkpoints.read(tmp_path / 'process-0-of-2.safetensors', model, optimizer)
    save_file({'weight/other': torch.zeros(2)}, tmp_path / 'process-0-of-1.safetensors')
    with pytest.raises(CheckpointError, match='is of another model'):
        checkpoints.read(tmp_path / 'process-0-of-1.safetensors', model, optimizer)
