# SPDX-License-Identifier: Apache-2.0
"""docs/parameters.md says what the node declares; when it no longer does, that is told."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

import parameter_table
from svlm_ros.parameters import table


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The page in a folder of its own."""
    path = tmp_path / 'parameters.md'
    path.write_text(parameter_table.PAGE.read_text(encoding='utf-8'), encoding='utf-8')
    monkeypatch.setattr(parameter_table, 'PAGE', path)
    return path


def test_the_page_is_what_the_parameters_say():
    assert parameter_table.PAGE.read_text(encoding='utf-8') == parameter_table.page()


def test_each_parameter_has_one_line_with_its_default_and_when_it_may_change():
    lines = [line for line in parameter_table.page().splitlines() if line.startswith('| `')]
    assert len(lines) == len(table())
    for row in table():
        [line] = [line for line in lines if line.startswith(f'| `{row.name}` |')]
        assert line.count('|') == 6
        assert row.help in line
        assert ('live' if row.live else 'at start') in line
        assert row.default in ('', ['']) or str(row.default).lower() in line.lower()


def test_a_stale_page_is_told_and_can_be_written_anew(copy, capsys):
    assert parameter_table.main(['--check']) == 0
    copy.write_text('stale')
    assert parameter_table.main(['--check']) == 1
    assert 'is stale: run tools/parameter_table.py' in capsys.readouterr().err
    assert parameter_table.main([]) == 0
    assert parameter_table.main(['--check']) == 0
    copy.unlink()
    assert parameter_table.main(['--check']) == 1


def test_a_parameter_that_no_heading_names_stops_it(monkeypatch):
    monkeypatch.setitem(parameter_table.GROUPS, 'The node', 'autostart')
    with pytest.raises(ValueError, match='once, and it does not: memory_folder'):
        parameter_table.page()


def test_an_unknown_argument_is_refused(copy):
    copy.write_text('stale')
    assert parameter_table.main(['--chekc']) == 2
    assert copy.read_text() == 'stale'
