# SPDX-License-Identifier: Apache-2.0
"""A recipe is a small YAML file; whatever is wrong with it is told by file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from svlm_core.errors import SettingsError
from svlm_core.training.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / 'training').glob('*.yaml'))


def recipe(folder: Path, text: str) -> Recipe:
    path = folder / 'mine.yaml'
    path.write_text(text)
    return read_recipe(path)


def test_a_file_says_only_what_differs(tmp_path: Path) -> None:
    text = """
        seed: 3
        stream: {preset: reference, text_sink: 40}
        model: {source: ./StreamingVLM, adapter: {rank: 4}}
        stages:
          - data: [{annotations: {file: a.jsonl}}, {stories: {samples: 8}}]
            learning_rate: 1e-4
    """
    read = recipe(tmp_path, text)
    assert (read.seed, read.stream.text_sink, read.stream.text_window) == (3, 40, 512)
    assert read.stream.published_quirks
    assert read.model.adapter is not None
    assert (read.model.source, read.model.adapter.rank) == ('./StreamingVLM', 4)
    [stage] = read.stages
    assert stage.learning_rate == 1e-4
    assert stage.data[0].annotations is not None
    assert stage.data[0].annotations.file == 'a.jsonl'
    assert stage.data[1].stories is not None
    assert (stage.data[1].stories.samples, stage.data[1].stories.window) == (8, 24)


GOOD = 'stages: [{data: [{stories: {}}]}]\n'


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('', 'mine.yaml must be'),
        ('stages: []', 'needs stages'),
        ('{a: 1', 'is no YAML'),
        (GOOD + 'sed: 1', r'mine.yaml: sed is unknown: known are'),
        (GOOD + 'seed: x', "mine.yaml: seed='x' is no whole number"),
        (GOOD + 'stream: {text_sinks: 1}', 'stream: .*text_sinks'),
        (GOOD + 'model: {adapter: {rank: 0}}', 'model: adapter: rank=0 is out of range'),
        ('stages: {data: 1}', 'stages must be a list'),
        ('stages: [{data: []}]', r'stages\[0\]: stage sft has no data'),
        ('stages: [{data: [{}]}]', r'stages\[0\]: data\[0\]: a source of data is either'),
        ('stages: [{data: [{annotations: {}}]}]', 'annotations: file is missing'),
        (
            'stages: [{data: [{stories: {overlap: 24}}]}]',
            r'stages\[0\]: data\[0\]: stories: overlap=24 must be less than window=24',
        ),
        ('stages: [{data: [{stories: {}}], batch: 6}]', 'batch=6 must be a multiple of pack=16'),
        ('stages: [{data: [{stories: {}}], name: a/b}]', "name='a/b' cannot be the name"),
        ('stages: [{data: [{stories: {}}]}, {data: [{stories: {}}]}]', 'a name of its own'),
        ('stages: [{data: [{stories: {}}], learning_rate: fast}]', "learning_rate='fast' is no"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_field(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        recipe(tmp_path, text)
    assert '\n' not in str(caught.value)
    assert 'mine.yaml' in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'no.yaml cannot be read: No such file'):
        read_recipe(tmp_path / 'no.yaml')


@pytest.mark.parametrize('path', [p for p in RECIPES if p.stem != 'fsdp2'], ids=lambda p: p.stem)
def test_the_recipes_that_come_with_it_can_be_read(path: Path) -> None:
    tiny = ['reading', 'clips', 'streams', 'lookout', 'gallery', 'sft']
    names = tiny if path.stem == 'tiny' else ['sft', 'annealing']
    assert [stage.name for stage in read_recipe(path).stages] == names


def test_the_paper_s_hyper_parameters_are_those_of_the_paper() -> None:
    read = read_recipe(ROOT / 'training' / 'qwen2.5-vl-7b.yaml')
    assert read.video_tokens == 24576
    assert (read.stream.text_sink, read.stream.text_window) == (512, 512)
    assert read.model.freeze_vision
    for stage in read.stages:
        assert (stage.learning_rate, stage.warmup) == (1e-5, 0.03)
        assert (stage.batch, stage.epochs, stage.bf16) == (512, 1, True)
    files = [data.annotations.file for data in read.stages[0].data if data.annotations]
    assert files[0] == files[1] != files[2], 'the overlapped chunks weigh twice'
