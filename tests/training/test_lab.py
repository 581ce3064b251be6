# SPDX-License-Identifier: Apache-2.0
"""The laboratory: variants that differ in their data alone, each trained once and for all."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from svlm_core.errors import CheckpointError, SettingsError, SvlmError
from svlm_core.training import lab
from svlm_core.training.lab import VARIANTS, open_lab, read_lab, recipes, train_all
from svlm_core.training.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / 'tests' / 'parity' / 'checkpoint'
BASE = read_recipe(ROOT / 'training' / 'lab.yaml')
FEW = """
name: few
stages:
  - &sft
    name: sft
    data: [{stories: {samples: 4, window: 4, overlap: 2, run: 2, length: 60, size: 28}}]
    batch: 2
    pack: 2
    learning_rate: 1.0e-2
    workers: 0
  - <<: *sft
    name: annealing
    data: [{stories: {samples: 2, seed: 50, window: 4, overlap: 2, run: 2, length: 60, size: 28}}]
"""


@pytest.fixture
def few(tmp_path: Path) -> Recipe:
    """A recipe of three steps."""
    path = tmp_path / 'few.yaml'
    path.write_text(FEW)
    return read_recipe(path)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variants are enough here."""
    some = {name: VARIANTS[name] for name in ('overlapped', 'noisy')}
    monkeypatch.setattr(lab, 'VARIANTS', some)


def test_variants_take_the_same_steps_and_differ_in_their_data_alone(tmp_path: Path) -> None:
    open_lab(tmp_path, GOLDEN, BASE, 3)
    planned = recipes(BASE, tmp_path, 3, None)
    assert len(planned) == 3 * len(VARIANTS)
    for seed in range(3):
        base = planned[tmp_path / 'overlapped' / str(seed)]
        for variant in VARIANTS:
            recipe = planned[tmp_path / variant / str(seed)]
            plain = tuple(
                replace(stage, data=other.data)
                for stage, other in zip(recipe.stages, base.stages, strict=True)
            )
            assert replace(recipe, name=base.name, stages=plain) == base
            for stage, other in zip(recipe.stages, base.stages, strict=True):
                mine, plain_data = stage.data[0].stories, other.data[0].stories
                assert (mine.samples, mine.seed) == (plain_data.samples, plain_data.seed)
                assert (mine == plain_data) == (
                    variant == 'overlapped' or (variant == 'annealed' and stage.name != 'sft')
                )
    firsts = {stage.data[0].stories.seed for r in planned.values() for stage in r.stages}
    assert len(firsts) == 6, 'every seed and every stage has worlds of its own'


def test_the_last_quarter_anneals_however_many_steps_there_are(tmp_path: Path) -> None:
    open_lab(tmp_path, GOLDEN, BASE, 1)
    for steps in (None, 8, 400):
        for recipe in recipes(BASE, tmp_path, 1, steps).values():
            counts = [stage.data[0].stories.samples // stage.batch for stage in recipe.stages]
            assert sum(counts) == (steps or 240)
            assert counts[1] == sum(counts) // 4


def test_what_is_finished_is_never_trained_again(tmp_path: Path, few: Recipe, two: None) -> None:
    folder = tmp_path / 'lab'
    opened = open_lab(folder, GOLDEN, few, 1)
    assert opened == read_lab(folder)
    assert opened.missing(folder) == ['overlapped', 'noisy']
    planned, done = recipes(few, folder, 1, None), list[Path]()
    train_all(planned, 2, done.append)
    assert sorted(done) == sorted(planned)
    assert opened.missing(folder) == []
    models = [model for name in lab.VARIANTS for model in opened.models(folder, name)]
    weights = [load_file(model / 'model.safetensors') for model in models]
    name = 'model.layers.0.self_attn.q_proj.weight'
    assert not weights[0][name].equal(weights[1][name])
    told = json.loads((models[1] / 'svlm.json').read_text())
    assert told['recipe']['stages'][0]['data'][0]['stories']['noise'] == 0.4
    assert 'annealing' in (folder / 'overlapped' / '0.log').read_text()
    times = {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}
    done.clear()
    train_all(planned, 2, done.append)
    assert sorted(done) == sorted(planned)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}
    with pytest.raises(SettingsError, match='begun with another recipe'):
        train_all(recipes(few, folder, 1, 30), 2, done.append)


def test_a_stage_that_another_variant_has_taken_just_so_is_taken_over(
    tmp_path: Path, few: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*variants: str) -> dict[Path, Recipe]:
        monkeypatch.setattr(lab, 'VARIANTS', {name: VARIANTS[name] for name in variants})
        planned = recipes(few, tmp_path / 'lab', 1, None)
        train_all(planned, 1, lambda folder: None)
        return planned

    open_lab(tmp_path / 'lab', GOLDEN, few, 1)
    planned = train('overlapped', 'noisy', 'annealed')
    folders = {folder.parent.name: folder for folder in planned}
    assert 'sft: done before' in (tmp_path / 'lab/annealed/0.log').read_text()
    assert 'sft: done before' not in (tmp_path / 'lab/noisy/0.log').read_text()

    shutil.rmtree(tmp_path / 'lab/noisy')
    weights = [folders['annealed'] / stage.name / 'model' for stage in few.stages]
    before = [load_file(model / 'model.safetensors') for model in weights]
    shutil.rmtree(folders['annealed'])
    train('annealed')  # all by itself it comes to the same
    for model, old in zip(weights, before, strict=True):
        new = load_file(model / 'model.safetensors')
        assert all(new[name].equal(old[name]) for name in old)


def test_a_process_that_is_killed_is_told_and_the_others_are_not_begun(
    tmp_path: Path, few: Recipe
) -> None:
    open_lab(tmp_path, GOLDEN, few, 1)

    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        assert children[0].pid is not None
        os.kill(children[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SvlmError, match=r'was killed.*the same command goes on'):
        train_all(recipes(few, tmp_path, 1, None), 1, lambda folder: None)
    killer.join()
    assert len(read_lab(tmp_path).missing(tmp_path)) == len(VARIANTS)


def test_a_laboratory_keeps_its_trunk(tmp_path: Path, few: Recipe) -> None:
    folder, trunk = tmp_path / 'lab', tmp_path / 'trunk'
    shutil.copytree(GOLDEN, trunk)
    open_lab(folder, trunk, few, 1)
    for file in trunk.iterdir():
        assert (folder / 'trunk' / file.name).read_bytes() == file.read_bytes()
    assert open_lab(folder, trunk, few, 2).seeds == 2
    weights = load_file(trunk / 'model.safetensors')
    weights['lm_head.weight'] += 1
    save_file(weights, trunk / 'model.safetensors')
    with pytest.raises(SettingsError, match='begun with another trunk'):
        open_lab(folder, trunk, few, 1)
    with pytest.raises(CheckpointError, match='holds no weights'):
        open_lab(folder, tmp_path, few, 1)


def card(*stages: tuple[str, int, float], stage: str) -> dict:
    return {
        'stage': stage,
        'recipe': {
            'stages': [
                {'name': n, 'data': [{'stories': {'window': w, 'questions': q}}]}
                for n, w, q in stages
            ]
        },
    }


@pytest.mark.parametrize(
    ('trained', 'clip'),
    [
        (card(('clips', 4, 0.3), ('sft', 24, 0.0), stage='clips'), 4),
        (card(('clips', 4, 0.3), ('mid', 12, 0.1), ('sft', 24, 0.5), stage='mid'), 12),
        (card(('clips', 4, 0.0), ('sft', 24, 0.5), stage='clips'), None),
        ({'recipe': {'stages': []}}, None),
        ({}, None),
    ],
)
def test_it_is_known_from_the_card_on_what_the_trunk_was_asked(
    tmp_path: Path, few: Recipe, trained: dict, clip: int | None
) -> None:
    trunk = tmp_path / 'trunk'
    shutil.copytree(GOLDEN, trunk)
    (trunk / 'svlm.json').write_text(json.dumps(trained))
    assert open_lab(tmp_path / 'lab', trunk, few, 1).clip == clip


def test_there_is_no_laboratory_where_none_was_begun(tmp_path: Path) -> None:
    assert read_lab(tmp_path) is None
    (tmp_path / 'lab.json').write_text('{"seeds": 3')
    with pytest.raises(SettingsError, match=r'lab.json cannot be read'):
        read_lab(tmp_path)


@pytest.mark.parametrize(
    ('flags', 'complaint'),
    [(['--trunk', 'none'], 'none holds no weights'), (['--steps', '1'], 'give at least')],
)
def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], complaint: str
) -> None:
    script = str(ROOT / 'training' / 'lab.py')
    monkeypatch.setattr(sys, 'argv', [script, '--output', str(tmp_path), *flags])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(script, run_name='__main__')
    assert complaint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_trains_every_variant_and_names_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    trained = []

    def train_none(planned: dict, processes: int, done: Callable[[Path], None]) -> None:
        for folder in planned:
            trained.append(folder)
            done(folder)

    monkeypatch.setattr(lab, 'train_all', train_none)
    flags = ['--trunk', str(GOLDEN), '--seeds', '2', '--steps', '8', '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['lab.py', *flags])
    runpy.run_path(str(ROOT / 'training' / 'lab.py'), run_name='__main__')
    assert trained == [tmp_path / variant / str(n) for n in range(2) for variant in VARIANTS]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f'{len(trained)} of {len(trained)}: {tmp_path}/annealed/1'
