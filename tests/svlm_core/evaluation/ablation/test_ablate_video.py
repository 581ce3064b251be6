# SPDX-License-Identifier: Apache-2.0
"""`svlm ablate --video`: one's own video under all cells of a grid, side by side."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from svlm_core import cli
from svlm_core.card import EMBEDDED
from svlm_core.evaluation.ablation import video as watching
from svlm_core.evaluation.identity import file_hash
from svlm_core.records import Record
from svlm_core.synthetic.video import render_video

SECONDS = 6
MOMENTS = (1, 4)
GRID = """
seconds: 3
moments: [1, 4]
base: {{policy: streaming, text_refresh_interval: null, query: Tell me about the robots.}}
models: {{one: null, other: {other}}}
tables:
  policies:
    title: All of them
    rows:
      everything: {{policy: full_attention}}
      <anew>: {{policy: recompute}}
      brought back: {{retrieved: 2}}
      two seconds: {{chunk_seconds: 2}}
  models: {{over: {{model: [one, other], rope: [contiguous, native]}}}}
"""
HONEST = {
    'mode', 'policy', 'frames', 'pixels', 'positions', 'model', 'data', 'judge', 'seed',
    'settings', 'versions', 'revision',
}  # fmt: skip
CLOCK = re.compile(r'[\d.]+ m?s a token|width:\d+%')


def svlm(*words: object) -> int:
    return cli.main([*map(str, words), '--device', 'cpu'])


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('video')
    render_video(folder / 'world.mp4', SECONDS, 4, height=112, width=112)
    (folder / 'other').symlink_to(EMBEDDED)
    (folder / 'grid.yaml').write_text(GRID.format(other=folder / 'other'))
    return folder


@pytest.fixture(scope='module')
def done(place) -> Path:
    """The folder of the grid, carried out."""
    words = ('ablate', place / 'grid.yaml', '--video', place / 'world.mp4')
    assert svlm(*words, '--output', place / 'out') == 0
    return place / 'out'


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / 'results.json').read_text())['rows']


def captions(folder: Path, row: dict) -> list[Record]:
    return [Record.from_json(line) for line in (folder / row['captions']).open()]


def untimed(row: dict) -> dict:
    return {name: value for name, value in row.items() if 'ms' not in name}


class Tables(HTMLParser):
    """The tables of a page as rows of cells, each with its words, its class and its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.kinds: list[str] = []
        self.pictures = 0
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == 'table':
            self.tables.append([])
        if tag == 'tr':
            self.tables[-1].append([])
        if tag in ('td', 'th'):
            self.tables[-1][-1].append('')
            self.inside = True
        if tag == 'td':
            self.kinds.append(dict(attrs).get('class') or '')
        self.pictures += tag == 'img'

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in ('td', 'th')

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.tables[-1][-1][-1] += f'{data}\n'


def test_every_row_says_all_that_it_depends_on_and_what_it_cost(done, place):
    found = rows(done)
    assert [tuple(row['labels'].values()) for row in found] == [
        ('everything',), ('<anew>',), ('brought back',), ('two seconds',),
        ('one', 'contiguous'), ('one', 'native'), ('other', 'contiguous'), ('other', 'native'),
    ]  # fmt: skip
    for row in found:
        assert row.keys() >= HONEST
        assert row['data'] == {
            'name': 'world.mp4',
            'sha256': file_hash([place / 'world.mp4']),
            'seconds': SECONDS,
        }
        assert (row['seconds'], row['problem'], row['judge']) == (SECONDS, '', None)
        assert row['settings']['query'] == 'Tell me about the robots.'
        assert row['tokens'] == sum(record.tokens for record in captions(done, row))
        assert row['ms_per_token'] == pytest.approx(
            row['ms'] * row['seconds'] / row['tokens'], rel=1e-2
        )
    policies = [row['policy'] for row in found]
    assert policies == ['full_attention', 'recompute', 'retrieval', *['streaming'] * 5]
    everything, anew = found[:2]
    assert anew['encoded'] > 2 * everything['encoded']
    with (done / 'results.csv').open() as file:
        assert [line['captions'] for line in csv.DictReader(file)] == [
            row['captions'] for row in found
        ]
    told = (done / 'tables.md').read_text()
    assert '### policies: All of them\n' in told
    assert '| ms / token |' in told
    assert 'right' not in told


def test_a_cell_says_what_svlm_caption_says_under_its_settings(done, place):
    words = ('caption', place / 'world.mp4', '--policy', 'full_attention')
    query = ('--query', 'Tell me about the robots.')
    assert svlm(*words, *query, '--jsonl', place / 'alone.jsonl') == 0
    alone = [Record.from_json(line) for line in (place / 'alone.jsonl').open()]
    both = captions(done, rows(done)[0]), alone
    here, there = [[(r.window_start, r.text, r.tokens) for r in records] for records in both]
    assert here == there
    assert len(here) == SECONDS
    assert any(text for _, text, _ in here)


def test_the_page_has_every_cell_and_what_it_said_at_the_moments(done):
    text = (done / 'side-by-side.html').read_text()
    page, found = Tables(text), rows(done)
    assert page.tables[0][0][0].split('\n')[0] == 'shown'
    assert page.pictures == len(page.tables) * len(MOMENTS)
    columns = [column for table in page.tables for column in list(zip(*table, strict=True))[1:]]
    assert len(columns) == len(found)
    for row, (head, *cells) in zip(found, columns, strict=True):
        named = ', '.join(
            value if row['table'] == 'policies' else f'{name} {value}'
            for name, value in row['labels'].items()
        )
        assert head.startswith(f'{named}\n')
        length = SECONDS / len(captions(done, row))
        for moment, cell in zip(MOMENTS, cells, strict=True):
            [said] = [
                record
                for record in captions(done, row)
                if record.window_start <= moment < record.window_start + length
            ]
            assert cell.startswith(f'{said.text or "silent"}\n')
            assert ' a token, ' in cell
    assert {'right', 'wrong'}.isdisjoint(page.kinds)
    assert 'world.mp4' in text
    assert 'svlm-tiny knows its synthetic world alone' in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)


def test_a_silent_moment_shows_what_was_said_last(done):
    records = captions(done, rows(done)[0])
    assert [bool(record.text) for record in records] == [n == 1 for n in range(SECONDS)]
    page = Tables((done / 'side-by-side.html').read_text())
    _, spoken, silent = (row[1] for row in page.tables[0])
    assert spoken.startswith(f'{records[1].text}\n')
    assert silent.startswith(f'silent\n0:01: {records[1].text}\n')


def test_a_run_goes_on_with_what_is_missing_and_ends_the_same(done, place, monkeypatch):
    before = {path: path.read_bytes() for path in done.rglob('*') if path.is_file()}
    found = rows(done)
    (done / 'costs' / 'cell-02.json').unlink()
    (done / 'side-by-side.html').unlink()
    watched, watch = [], watching.watch

    def spied(engine, cell, video, seen):
        watched.append(cell.settings['policy'])
        return watch(engine, cell, video, seen)

    monkeypatch.setattr(watching, 'watch', spied)
    words = ('ablate', place / 'grid.yaml', '--video', place / 'world.mp4', '--output', done)
    assert svlm(*words) == 0
    assert watched == ['recompute']
    assert {path for path in done.rglob('*') if path.is_file()} == before.keys()
    for path, content in before.items():
        if path.suffix == '.jsonl' or path.name == 'run.json':
            assert path.read_bytes() == content
    assert list(map(untimed, rows(done))) == list(map(untimed, found))
    page = (done / 'side-by-side.html').read_text()
    assert CLOCK.sub('', page) == CLOCK.sub('', before[done / 'side-by-side.html'].decode())


def test_other_moments_make_another_page_of_the_same_captions(done, place, monkeypatch):
    monkeypatch.setattr(watching, 'watch', None)  # nothing is captioned again
    other = place / 'later.yaml'
    other.write_text((place / 'grid.yaml').read_text().replace('moments: [1, 4]\n', ''))
    words = ('ablate', '--video', place / 'world.mp4', '--output', done)
    assert svlm(*words, other) == 0
    page = Tables((done / 'side-by-side.html').read_text())
    clocks = [row[0].split('\n')[0] for row in page.tables[0][1:]]
    assert clocks == ['0:00', '0:01', '0:02', '0:03', '0:04', '0:05']
    assert svlm(*words, place / 'grid.yaml') == 0


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (('recompute', 'window'), r'identities\.2\.policy: "recompute" there, "window" now'),
        (('All of them', 'All'), r'grid\.tables'),
    ],
)
def test_a_folder_with_another_grid_is_refused(done, place, capsys, change, told):
    other = place / 'other.yaml'
    other.write_text((place / 'grid.yaml').read_text().replace(*change))
    assert svlm('ablate', other, '--video', place / 'world.mp4', '--output', done) == 1
    assert re.search(f'holds a run with other settings .*{told}', capsys.readouterr().err)


def test_a_folder_with_another_video_is_refused(done, place, capsys):
    (place / 'next').mkdir()
    other = render_video(place / 'next' / 'world.mp4', SECONDS, 4, seed=1, height=112, width=112)
    assert svlm('ablate', place / 'grid.yaml', '--video', other, '--output', done) == 1
    assert re.search(r'other settings \(identities\.\d\.data\.sha256', capsys.readouterr().err)


def test_a_moment_behind_the_end_is_told_before_anything_runs(place, capsys):
    late = place / 'late.yaml'
    late.write_text((place / 'grid.yaml').read_text().replace('[1, 4]', '[1, 6]'))
    words = ('ablate', late, '--video', place / 'world.mp4', '--output', place / 'late')
    assert svlm(*words) == 1
    told = capsys.readouterr().err
    assert told == f'svlm: {late}: moments: 6 is past the 6 seconds of a stream\n'
    assert not (place / 'late').exists()


def test_a_full_memory_keeps_what_was_said_until_then_and_tells(done, place, capsys):
    everything = rows(done)[0]
    costs = json.loads((done / 'costs' / 'cell-01.json').read_text())
    room = costs['rounds'][3]['held']
    full = place / 'full.yaml'
    limited = f'policy: full_attention, capacity: {room}'
    full.write_text(
        'moments: [1, 4]\nbase: {policy: recompute, query: Tell me about the robots.}\n'
        f'tables: {{policies: {{rows: {{everything: {{{limited}}}, anew: {{}}}}}}}}\n'
    )
    words = ('ablate', full, '--video', place / 'world.mp4', '--output', place / 'full')
    assert svlm(*words) == 1
    told = capsys.readouterr().out
    row, other = rows(place / 'full')
    said = captions(place / 'full', row)
    assert 1 <= len(said) < SECONDS
    assert said == captions(done, everything)[: len(said)]
    assert row['seconds'] == len(said)
    assert row['problem'].startswith('policy full_attention needs')
    assert f'policies, everything: {row["problem"]}' in told
    assert (other['seconds'], other['problem']) == (SECONDS, '')
    page = Tables((place / 'full' / 'side-by-side.html').read_text())
    assert row['problem'] in page.tables[0][0][1]
    assert page.tables[0][2][1] == 'ended before\n'
    assert svlm(*words) == 1  # what is there already ends the same


def test_a_damaged_video_is_shown_as_far_as_it_goes(place):
    whole = render_video(place / 'whole.mkv', SECONDS, 4, height=112, width=112).read_bytes()
    (place / 'cut.mkv').write_bytes(whole[: len(whole) * 2 // 3])
    grid = place / 'one.yaml'
    grid.write_text('moments: [0, 5]\ntables: {t: {rows: {this: {}}}}')
    assert svlm('ablate', grid, '--video', place / 'cut.mkv', '--output', place / 'cut') == 1
    [row] = rows(place / 'cut')
    assert row['problem'].startswith('cut.mkv is cut short')
    assert 0 < row['seconds'] < SECONDS
    page = Tables((place / 'cut' / 'side-by-side.html').read_text())
    assert (page.pictures, page.kinds) == (1, ['', 'ended'])


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('--video', 'nothing.mp4'), 'nothing.mp4: no such file'),
        (('--video', '.'), '. is a folder: give a video file'),
        (('--video', 'world.mp4', '--processes', '2'), '--processes is for worlds'),
        (('--device', 'cpu'), '--device is for --video'),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(place, monkeypatch, capsys, words, told):
    monkeypatch.chdir(place)
    assert cli.main(['ablate', 'policies', *words, '--output', 'no']) == 1
    assert capsys.readouterr().err.startswith(f'svlm: {told}')
    assert not Path('no').exists()
