# SPDX-License-Identifier: Apache-2.0
"""Every preset for a machine is one that the node takes, and says where its numbers come from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from svlm_core.config import Sampling, StreamSettings, preset
from svlm_core.model.config import DTYPES
from svlm_ros.parameters import NodeSettings, pick, table

FOLDER = Path(__file__).parents[2] / 'config' / 'presets'
FILES = sorted(FOLDER.glob('*.yaml'))
MACHINES = {'cpu_tiny', 'h100', 'h200', 'orin_3b', 'orin_7b_int4', 'rtx4090', 'thor'}


def values_in(path: Path) -> dict[str, Any]:
    """The parameters of a file, by name."""
    content = yaml.safe_load(path.read_text())
    assert list(content) == ['/**'], 'for whatever the node is called'
    assert list(content['/**']) == ['ros__parameters']
    values: dict[str, Any] = content['/**']['ros__parameters']
    return values


def settings_of(values: dict[str, Any]) -> tuple[NodeSettings, StreamSettings]:
    """What the node makes of parameters. Raises SettingsError for a bad value."""
    rows = {row.name: row for row in table()}
    assert set(values) <= set(rows), 'the node knows every name'
    found = {rows[name].field: rows[name].setting(value) for name, value in values.items()}
    sampling = Sampling(**pick(Sampling, found))
    stream = preset('robot', sampling=sampling, **pick(StreamSettings, found))
    return NodeSettings(**pick(NodeSettings, found)), stream


def test_there_is_one_for_every_machine_that_is_promised() -> None:
    assert {path.stem for path in FILES} == MACHINES


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_the_node_takes_every_value_as_it_is_written(path: Path) -> None:
    values = values_in(path)
    node, stream = settings_of(values)
    in_force = asdict(node) | asdict(stream)
    for name, value in values.items():
        assert in_force[name] == value
        assert type(in_force[name]) is type(value), name
    assert node.dtype in DTYPES, 'weights of fewer bits cannot be loaded yet'
    assert node.device in ('cpu', 'cuda')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_a_preset_says_why_what_is_predicted_and_that_it_is_not_measured(path: Path) -> None:
    words = path.read_text().replace('\n# ', ' ')
    values = values_in(path)
    assert f'preset:={path.stem}' in words
    assert f'{values["max_vision_tokens"]} vision tokens' in words
    assert 'Predicted' in words
    assert 'not yet measured' in words.lower()


def test_for_weights_of_4_bits_it_says_how_they_are_made() -> None:
    words = ' '.join((FOLDER / 'orin_7b_int4.yaml').read_text().replace('#', '').split())
    assert 'svlm quantize small --bits 4' in words
    assert 'orin_3b' in words


def test_a_name_that_the_node_does_not_know_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / 'wrong.yaml'
    wrong.write_text('/**:\n  ros__parameters:\n    max_vision_token: 3\n')
    with pytest.raises(AssertionError, match='knows every name'):
        settings_of(values_in(wrong))
