# SPDX-License-Identifier: Apache-2.0
"""`svlm doctor`: what it finds, what it advises, and that it lives where things are missing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from svlm_core import cli, engine
from svlm_core.card import EMBEDDED, read_card
from svlm_core.commands import doctor


@pytest.fixture
def without(monkeypatch):
    """Makes it seem that modules are not installed."""

    def hide(*names: str) -> None:
        find = doctor.find_spec
        monkeypatch.setattr(
            doctor, 'find_spec', lambda name: None if name.split('.')[0] in names else find(name)
        )

    return hide


def examine(capsys) -> tuple[int, list[str]]:
    status = cli.main(['doctor'])
    return status, capsys.readouterr().out.splitlines()


def test_a_machine_that_can_caption_is_well(capsys):
    status, lines = examine(capsys)
    assert status == 0
    assert not [line for line in lines if line.startswith('BAD')]
    for name in ('python', 'torch', 'transformers', 'av', 'device', 'attention', 'default model'):
        assert any(line.startswith(f'ok  {name}') for line in lines)
    text = '\n'.join(lines)
    assert 'will use' in text
    assert 'sdpa' in text


def test_an_untrained_model_is_called_so(capsys):
    _, lines = examine(capsys)
    (model,) = [line for line in lines if 'default model' in line]
    assert read_card(EMBEDDED).trained == ('UNTRAINED' not in model)


def test_without_ros_it_is_well_and_says_what_to_do(capsys, without):
    without('rclpy')
    status, lines = examine(capsys)
    assert status == 0
    place = next(n for n, line in enumerate(lines) if line.startswith('--  ros 2'))
    assert 'make setup' in lines[place + 1]


def test_without_an_image_converter_it_names_the_extra_in_full(without):
    without('cv_bridge', 'rosbags')
    assert 'svlm[bags]' in doctor._images().advice


def test_advice_is_printed_as_it_is_brackets_included(capsys, monkeypatch):
    finding = doctor.Finding('images', None, '[red]none', 'pip install svlm[bags]')
    monkeypatch.setattr(doctor, 'CHECKS', (lambda: [finding],))
    _, lines = examine(capsys)
    assert '[red]none' in lines[-2]
    assert lines[-1].endswith('-> pip install svlm[bags]')


def test_without_a_library_it_says_which_and_goes_no_further(capsys, without):
    without('torch')
    status, lines = examine(capsys)
    assert status == 1
    assert any(line.startswith('BAD torch') for line in lines)
    assert any('pip install .' in line for line in lines)
    assert not any('default model' in line for line in lines)


def test_all_that_captioning_needs_is_looked_for():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / 'pyproject.toml').read_text())['project']
    assert sorted(doctor.NEEDED) == sorted(Requirement(x).name for x in project['dependencies'])


@pytest.mark.parametrize(('count', 'words'), [(1, '1 thread'), (2, '2 threads')])
def test_threads_are_counted_in_plain_english(count, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: count)
    assert [f.found for f in doctor.device() if f.what == 'device'] == [f'will use cpu, {words}']


def test_a_broken_default_model_is_bad(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, 'EMBEDDED', tmp_path)
    status, lines = examine(capsys)
    assert status == 1
    assert any(line.startswith('BAD default model') and str(tmp_path) in line for line in lines)
