# SPDX-License-Identifier: Apache-2.0
"""Grids: what a YAML file may say, and what is told where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from svlm_core.card import EMBEDDED
from svlm_core.errors import SettingsError
from svlm_core.evaluation.ablation.grid import (
    Grid,
    Line,
    find_grid,
    read_grid,
    shipped,
)


@pytest.fixture
def read(tmp_path):
    def reader(text: str) -> Grid:
        (tmp_path / 'grid.yaml').write_text(text)
        return read_grid(tmp_path / 'grid.yaml')

    return reader


def test_named_rows_are_changes_over_the_base(read):
    grid = read(
        'base: {policy: streaming}\ntables: {t: {rows: {wide: {text_sink: 9}, plain: {}}}}'
    )
    [layout] = grid.tables
    assert layout.heads == ('run',)
    assert layout.lines == (Line(('wide',), 1), Line(('plain',), 0))
    assert grid.cells[0].settings == {'policy': 'streaming'}
    assert grid.cells[1].settings == {'policy': 'streaming', 'text_sink': 9}


def test_axes_are_combined_and_infinity_is_no_limit(read):
    grid = read('tables: {t: {over: {text_sink: [4, .inf], text_window: [.inf, 8]}}}')
    [layout] = grid.tables
    assert layout.heads == ('text_sink', 'text_window')
    assert [line.labels for line in layout.lines] == [
        ('4', '∞'), ('4', '8'), ('∞', '∞'), ('∞', '8')]  # fmt: skip
    settings = [dict(grid.cells[line.cell].settings) for line in layout.lines]
    assert settings[2] == {'text_sink': None, 'text_window': None}
    assert settings[1] == {'text_sink': 4, 'text_window': 8}


def test_a_list_of_rows_shows_what_the_base_says_where_a_row_is_silent(read):
    grid = read(
        'base: {text_window: 7}\ntables: {t: {rows: [{text_sink: 3}, {text_sink: 5, '
        'text_window: .inf}]}}'
    )
    assert [line.labels for line in grid.tables[0].lines] == [('3', '7'), ('5', '∞')]


def test_tables_share_the_cells_that_are_the_same(read):
    grid = read('tables: {a: {rows: {x: {rope: native}}}, b: {over: {rope: [native]}}}')
    assert len(grid.cells) == 2
    assert {table.lines[0].cell for table in grid.tables} == {1}


def test_training_and_inference_are_axes_of_one_grid(read, tmp_path):
    (tmp_path / 'other').symlink_to(EMBEDDED)
    grid = read(
        f'models: {{this: null, other: {tmp_path}/other}}\n'
        'tables: {t: {over: {model: [this, other], text_sink: [0, .inf]}}}'
    )
    cells = [grid.cells[line.cell] for line in grid.tables[0].lines]
    assert [cell.folder for cell in cells] == [None, None, *[tmp_path / 'other'] * 2]
    assert [cell.settings['text_sink'] for cell in cells] == [0, None, 0, None]


def test_a_grid_that_names_no_model_is_for_any(tmp_path):
    (tmp_path / 'other').symlink_to(EMBEDDED)
    grid = read_grid(find_grid('policies'), tmp_path / 'other')
    assert {(cell.model, cell.folder) for cell in grid.cells} == {
        (EMBEDDED.name, tmp_path / 'other')
    }
    (tmp_path / 'grid.yaml').write_text('models: {m: null}\ntables: {t: {rows: {x: {}}}}')
    with pytest.raises(SettingsError, match='the grid names its own, leave --model out'):
        read_grid(tmp_path / 'grid.yaml', tmp_path / 'other')
    with pytest.raises(SettingsError, match='nowhere is no folder of a checkpoint'):
        read_grid(find_grid('policies'), tmp_path / 'nowhere')


def test_the_moments_of_a_video_lie_in_it_whatever_the_grid_says_of_worlds(tmp_path):
    path = tmp_path / 'grid.yaml'
    path.write_text('seconds: 9\nmoments: [30]\ntables: {t: {rows: {x: {}}}}')
    assert read_grid(path, seconds=31).moments == (30,)
    with pytest.raises(SettingsError, match='moments: 30 is past the 30 seconds of a stream'):
        read_grid(path, seconds=30)


def test_retrieval_is_a_cell_like_others(read):
    grid = read('tables: {t: {over: {retrieved: [2, 4]}}}')
    conditions = [grid.cells[line.cell].condition for line in grid.tables[0].lines]
    assert [condition.retrieved for condition in conditions] == [2, 4]
    assert all(not condition.settings for condition in conditions)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('tables: {}', 'tables: there is none'),
        ('streams: 2', 'tables is missing'),
        ('tables: [1]', 'tables is \\[1\\], not an object'),
        ('tables: {t: {rows: {}, over: {}}}', 'tables.t has the unknown field rows'),
        ('tables: {t: {over: {text_sink: 4}}}', 'tables.t.over.text_sink must be a list'),
        ('tables: {t: {title: x}}', 'tables.t.rows is missing'),
        ('tables: {t: {rows: {x: {sink: 4}}}}', "tables.t.rows.x: .*unexpected keyword.*'sink'"),
        ('tables: {t: {rows: {x: {text_sink: -4}}}}', 'tables.t.rows.x: text_sink=-4 is out'),
        ('tables: {t: {rows: {x: {policy: none}}}}', "policy='none' is unknown"),
        ('tables: {t: {rows: {x: {model: y}}}}', "no model 'y' is among"),
        ('tables: {t: {rows: {x: {retrieved: 0}}}}', 'tables.t.rows.x.retrieved is 0'),
        ('tables: {t: {rows: {x: {retrieved: 2, rope: native}}}}', 'rows.x: rounds are brought'),
        ('tables: {t: {rows: {x: 3}}}', 'tables.t.rows.x is 3, not an object'),
        ('models: {m: /nowhere}\ntables: {t: {rows: {x: {}}}}', 'models.m: /nowhere is no folder'),
        ('seconds: 9\nmoments: [9]\ntables: {t: {rows: {x: {}}}}', 'moments: 9 is past the 9'),
        ('histories: [gilt]\ntables: {t: {rows: {x: {}}}}', 'histories\\[0\\] is "gilt"'),
        ('speed: 9\ntables: {t: {rows: {x: {}}}}', 'unknown field speed'),
        ('tables: {', 'is no YAML'),
    ],
)
def test_a_mistake_is_told_by_file_and_field(read, text, told):
    with pytest.raises(SettingsError, match=f'grid.yaml:? .*{told}') as raised:
        read(text)
    assert len(str(raised.value).splitlines()) == 1


def test_an_unknown_grid_is_told_with_those_that_there_are():
    with pytest.raises(
        SettingsError, match=r'nothing cannot be .*inference, policies, refresh, training'
    ):
        read_grid(find_grid('nothing'))


def test_the_grids_that_are_shipped_have_the_layout_of_the_paper(monkeypatch, tmp_path):
    assert shipped() == ['inference', 'policies', 'refresh', 'training']
    grid = read_grid(find_grid('inference'))
    tables = {table.name: table for table in grid.tables}
    assert list(tables) == ['fig-1', 'table-2', 'table-4', 'table-5-left', 'table-5-right']
    policies = {grid.cells[line.cell].settings['policy'] for line in tables['fig-1'].lines}
    assert policies == {'full_attention', 'window', 'recompute', 'streaming'}
    assert [line.labels for line in tables['table-5-right'].lines] == [
        ('0',), ('1',), ('4',), ('8',), ('16',), ('32',)]  # fmt: skip
    assert ('∞', '∞') in [line.labels for line in tables['table-5-left'].lines]
    alone = read_grid(find_grid('policies'))
    assert [alone.cells[line.cell] for line in alone.tables[0].lines] == [
        grid.cells[line.cell] for line in tables['fig-1'].lines[:4]
    ]
    often = read_grid(find_grid('refresh'))
    intervals = [cell.settings['text_refresh_interval'] for cell in often.cells]
    assert intervals == [None, 16, 8, 4, 1, None]
    for variant in ('overlapped', 'no-previous-text', 'not-overlapped', 'noisy', 'annealed'):
        place = tmp_path / 'runs' / 'lab' / variant / '0' / 'annealing' / 'model'
        place.parent.mkdir(parents=True)
        place.symlink_to(EMBEDDED)
    monkeypatch.chdir(tmp_path)
    trained = read_grid(find_grid('training'))
    assert len({cell.folder for cell in trained.cells}) == 5
    assert all(isinstance(cell.folder, Path) for cell in trained.cells)
