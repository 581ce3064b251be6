# SPDX-License-Identifier: Apache-2.0
"""`svlm ablate`: a small grid, its rows, its page, and how a broken run goes on."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from svlm_core import cli
from svlm_core.errors import SettingsError, SourceError
from svlm_core.evaluation import sitting
from svlm_core.evaluation.ablation.grid import read_grid
from svlm_core.evaluation.ablation.growth import COSTS, exponent
from svlm_core.evaluation.ablation.panels import moments
from svlm_core.evaluation.ablation.run import ablate, identities_of
from svlm_core.evaluation.ablation.tables import OF_WORLDS, rows_of, told_tables
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.kept import read_kept
from svlm_core.synthetic.captions import SILENCE, Meaning

GRID = """
streams: 2
seconds: 5
histories: [gold, free]
moments: [1, 4]
base: {policy: streaming, text_refresh_interval: null}
tables:
  table-4: {title: Positions, over: {rope: [contiguous, native], vision_window: [2, .inf]}}
  fig-1: {rows: {everything: {policy: full_attention}, anew: {policy: recompute}}}
"""
HONEST = {
    'mode', 'policy', 'frames', 'pixels', 'positions', 'model', 'data', 'judge', 'seed',
    'settings', 'versions', 'revision',
}  # fmt: skip


def nothing(done: int, of: int) -> None:
    """Whom nobody tells how far it is."""


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """The grid, carried out by the command: its file and its folder."""
    folder = tmp_path_factory.mktemp('ablation')
    (folder / 'grid.yaml').write_text(GRID)
    words = ['ablate', str(folder / 'grid.yaml'), '--output', str(folder / 'out')]
    assert cli.main([*words, '--processes', '2']) == 0
    return folder / 'grid.yaml', folder / 'out'


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / 'results.json').read_text())['rows']


def test_every_row_says_all_that_it_depends_on(done):
    found = rows(done[1])
    assert [(r['table'], *r['labels'].values(), r['history']) for r in found][:4] == [
        ('table-4', 'contiguous', '2', 'gold'),
        ('table-4', 'contiguous', '2', 'free'),
        ('table-4', 'contiguous', '∞', 'gold'),
        ('table-4', 'contiguous', '∞', 'free'),
    ]
    assert len(found) == 2 * (4 + 2)
    for row in found:
        assert row.keys() >= HONEST
        assert row['data']['seeds'] == [0, 2]
        assert len(row['model']['sha256']) == 64
    assert {row['positions'] for row in found} == {'contiguous', 'native'}
    assert [row['policy'] for row in found[-4::2]] == ['full_attention', 'recompute']
    assert found[2]['settings']['vision_window'] is None


def test_every_second_of_every_exam_is_kept(done):
    files = sorted((done[1] / 'marks').iterdir())
    assert len(files) == 2 * 2 * 7  # cells of both tables, and the base
    for file in files:
        marks = read_kept(file)
        assert [mark.second for mark in marks] == [*range(5)]
        assert all(mark.spent > 0 and mark.tokens > 0 for mark in marks)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line['right'] for line in lines] == [mark.right for mark in marks]


def test_the_tables_are_printed_and_written_in_three_ways(done):
    told = (done[1] / 'tables.md').read_text()
    assert '### table-4: Positions\n' in told
    assert '### fig-1\n' in told
    assert told.count('| everything ') == 2
    with (done[1] / 'results.csv').open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line['held']) for line in lines] == [row['held'] for row in rows(done[1])]
    assert json.loads(lines[0]['model'])['name'] == 'svlm-tiny'


def test_the_page_shows_the_moments_under_all_cells_and_needs_no_network(done):
    page = (done[1] / 'side-by-side.html').read_text()
    assert page.count('<img src="data:image/jpeg') == 2 * 2
    assert page.count(' a token, ') == 2 * (4 + 2)
    assert 'rope native, vision_window ∞' in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_a_run_goes_on_with_what_is_missing_and_ends_the_same(done, monkeypatch):
    path, folder = done
    before = rows(folder)
    lost = folder / 'marks' / 'cell-01-gold-1.jsonl'
    lost.unlink()
    sat = []

    def one_by_one(work, jobs, processes):
        sat.extend(jobs)
        yield from enumerate(map(work, jobs))

    monkeypatch.setattr(sitting, 'spread', one_by_one)
    ablate(read_grid(path), folder, 1, nothing)
    assert [(job.history, job.seed) for job in sat] == [('gold', 2)]
    timed = re.compile('ms')
    after = rows(folder)
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in old.items() if not timed.search(k)} == {
            k: v for k, v in new.items() if not timed.search(k)
        }


def test_a_folder_with_another_run_is_refused(done):
    path, folder = done
    other = replace(read_grid(path), seconds=6)
    with pytest.raises(SettingsError, match=r'grid\.seconds: 5 there, 6 now'):
        ablate(other, folder, 1, nothing)
    path.write_text(GRID.replace('vision_window: [2,', 'vision_window: [3,'))
    with pytest.raises(
        SettingsError, match=r'identities\.1\.settings\.vision_window: 2 there, 3 now'
    ):
        ablate(read_grid(path), folder, 1, nothing)


def test_marks_that_were_damaged_are_told_by_name(tmp_path):
    (tmp_path / 'cell-00-gold-0.jsonl').write_text('{"second": 0}\n')
    with pytest.raises(SourceError, match=r'cell-00-gold-0\.jsonl holds nothing of an exam'):
        read_kept(tmp_path / 'cell-00-gold-0.jsonl')


def spent(cost, seconds: int = 200) -> list[Mark]:
    """A stream of which every second takes what `cost` says."""
    return [Mark(n, 'silence', SILENCE, '', 10, 3, 2, cost(n + 1)) for n in range(seconds)]


@pytest.mark.parametrize('power', [0, 0.5, 1, 2])
def test_the_exponent_of_a_cost_is_that_of_its_power_law(power):
    assert exponent(spent(lambda t: 0.02 * t**power), COSTS['ms']) == pytest.approx(power)


def test_windows_that_fill_in_the_first_quarter_do_not_count_as_growth():
    assert exponent(spent(lambda t: min(t, 40)), COSTS['ms']) == pytest.approx(0)


def test_a_short_stream_has_no_exponent():
    assert math.isnan(exponent(spent(lambda t: t, 9), COSTS['ms']))
    assert math.isnan(exponent(spent(lambda t: 0.0), COSTS['ms']))


def test_moments_lie_evenly_where_there_is_something_to_say():
    marks = [
        Mark(n, 'code', SILENCE if n % 10 else Meaning('code', ('red', 'one')), '', 1, 1)
        for n in range(120)
    ]
    assert moments(marks, 120) == (10, 30, 50, 70, 90, 110)


def test_a_cell_wins_against_the_base_what_it_tells_better(tmp_path):
    (tmp_path / 'grid.yaml').write_text(
        'streams: 2\nseconds: 40\nhistories: [free]\ntables: {t: {rows: {this: {rope: native}}}}'
    )
    grid = read_grid(tmp_path / 'grid.yaml')

    def told(share: float) -> list[Mark]:
        return [
            Mark(n, 'silence', SILENCE, '' if n % 20 < 20 * share else 'Oh.', 9, 3, 1, 0.1)
            for n in range(40)
        ]

    kept = {(0, 'free'): [told(0.5)] * 2, (1, 'free'): [told(0.9), told(0.5)]}
    found = rows_of(grid, identities_of(grid), kept)
    [row] = found
    assert row['right'] == pytest.approx(0.7)
    assert row['right_ci'] == [0.5, 0.9]
    assert row['wins'] == pytest.approx(0.75)
    assert (row['facts'], row['exponent_encoded'], row['ms']) == (None, 0, 100)
    assert '| 0.75 [0.50, 1.00] |' in told_tables(grid, found, OF_WORLDS)
