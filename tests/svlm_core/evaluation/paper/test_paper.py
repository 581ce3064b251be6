# SPDX-License-Identifier: Apache-2.0
"""`svlm paper`: what it lists, a small run of every item with stand-ins, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from svlm_core import cli
from svlm_core.benchmark import run
from svlm_core.evaluation import quiz
from svlm_core.evaluation.paper.items import COLUMNS, ITEMS, OURS, Contestant
from svlm_core.evaluation.paper.published import PARTS, PUBLISHED
from svlm_core.evaluation.paper.sources import GETS, Sources, needs
from svlm_core.evaluation.paper.standins import Size, scaled

HONEST = {
    'mode', 'policy', 'frames', 'pixels', 'positions', 'model', 'data', 'judge', 'seed',
    'settings', 'versions', 'revision',
}  # fmt: skip
NUMBERS = {
    'table-1', 'table-2', 'table-3', 'table-4', 'table-5-left', 'table-5-right', 'table-6',
    'table-7', 'table-8', 'fig-1', 'fig-6', 'fig-7', 'fig-8',
}  # fmt: skip


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """The command for a run of seconds, on one process."""
    folder = tmp_path_factory.mktemp('paper')
    return ['paper', '--tiny', '--output', str(folder / 'out'), '--streams', '1', '--seconds',
            '12', '--processes', '1', '--lab', str(folder / 'none')]  # fmt: skip


@pytest.fixture(scope='module')
def done(words):
    """All items, run by the command: their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quiz, 'CHUNKS', 1)
        patch.setitem(run.GRIDS, 180, (2, 3))  # of frames whose seconds are timed
        assert cli.main(words) == 0
    return Path(words[3])


def held(folder, name):
    return json.loads((folder / f'{name}.json').read_text())


def test_the_command_lists_every_item_with_what_it_lacks_and_how_to_get_it(capsys):
    assert cli.main(['paper']) == 0
    told = capsys.readouterr().out
    assert {line.split(':')[0] for line in told.splitlines() if ': ' in line} >= NUMBERS
    assert '-- weights streamingvlm' in told
    assert 'mit-han-lab/StreamingVLM' in told


def test_what_is_there_is_said_and_no_command_told_for_it(capsys, tmp_path):
    given = ['--items', 'fig-7', '--weights', f'streamingvlm={tmp_path}']
    assert cli.main(['paper', *given]) == 0
    told = capsys.readouterr().out
    assert '  ok weights streamingvlm' in told
    assert 'How to get' not in told


def test_what_can_make_captions_will_do_in_their_place(capsys, tmp_path):
    given = ['--items', 'fig-6', '--weights', f'livecc={tmp_path}', '--commentator', 'mini']
    assert cli.main(['paper', *given]) == 0
    told = capsys.readouterr().out
    assert '  ok weights livecc' in told
    assert '  ok endpoints gpt-4o-mini' in told
    assert 'captions' not in told


def test_every_need_of_every_item_has_a_command():
    for item in ITEMS.values():
        assert item.rows.keys() == PUBLISHED[item.name].keys()
        for need in needs(item, Sources()):
            assert GETS[need.kind][need.name]


def test_published_numbers_are_those_of_the_paper():
    assert PUBLISHED['table-1']['StreamingVLM∞'] == {
        'GPT-4o†': 66.18, 'LiveCC†': 87.81, 'LiveCC∞': 99.12, 'LLaVA': 47.33, 'GPT-4o': 45.59,
        'Gemini': 44.21, 'LiveCC': 56.19,
    }  # fmt: skip
    assert PUBLISHED['fig-6']['LiveCC, 500 s'] == {'GPT-4o†': 4.0}
    assert PUBLISHED['table-3']['StreamingVLM']['OVO-Bench real-time'] == 61.96
    assert list(PUBLISHED['table-1']['LiveCC-7B-Instruct∞']) == [
        'GPT-4o†', 'LLaVA', 'GPT-4o', 'Gemini',
    ]  # fmt: skip


def test_limits_are_scaled_to_what_svlm_tiny_learnt():
    settings = {'text_sink': 512, 'text_window': 512, 'reset_every': 100, 'vision_window': 8}
    one = scaled(Contestant('', 'chunks', 50, settings=settings), Size(1, 144))
    assert one.settings == {
        'text_sink': 64, 'text_window': 128, 'reset_every': 24, 'vision_window': 8,
    }  # fmt: skip
    assert one.chunk == 12
    assert scaled(OURS, Size(1, 144)).settings == {}


def test_every_item_is_run_and_every_row_says_how_and_that_it_is_a_stand_in(done):
    for name in NUMBERS:
        content = held(done, name)
        assert content['rows'], name
        for row in content['rows']:
            assert row.keys() >= HONEST
            assert 'stands in' in row['stand_in']
            assert row['label'].removesuffix(', last 4 frames') in ITEMS[name].rows


def test_a_row_of_another_training_than_that_of_its_stand_in_says_so(done):
    told = {row['label']: row['stand_in'] for row in held(done, 'table-8')['rows']}
    other = {label for label, text in told.items() if 'svlm-tiny, not trained so,' in text}
    assert other == {'sink 64', 'sink 128', 'sink 256', 'sink 1024'}  # it learnt 512, scaled
    unlimited = [
        row['stand_in']
        for row in held(done, 'table-5-left')['rows']
        if row['label'] == 'sink ∞, window ∞, trained so'
    ]
    assert unlimited
    assert all('not trained so' in text for text in unlimited)
    assert all('judged by agreement of words and events, not by gpt-5' in t for t in unlimited)


def test_questions_are_asked_of_the_end_of_a_chunk_too(done):
    rows = {row['label']: row for row in held(done, 'table-3')['rows']}
    assert list(rows) == [
        label for name in ITEMS['table-3'].rows for label in (name, f'{name}, last 4 frames')
    ]
    whole, end = rows['StreamingVLM'], rows['StreamingVLM, last 4 frames']
    assert end['questions'] == whole['questions']
    assert (end['published'], end['mode']) == (None, 'last 4 frames of single chunks')


def test_values_stand_beside_the_published_ones(done):
    rows = {(r['label'], r['column']): r for r in held(done, 'table-1')['rows']}
    assert len(rows) == sum(map(len, PUBLISHED['table-1'].values()))
    for (label, column), row in rows.items():
        assert row['published'] == PUBLISHED['table-1'][label][column]
        assert 0 <= row['value'] <= 100
        assert row['benchmark'] == COLUMNS[column].benchmark


def test_a_figure_over_time_judges_each_part_by_itself(done):
    rows = held(done, 'fig-8')['rows']
    windows = {row['column']: row['windows'] for row in rows}
    every = held(done, 'fig-1')['rows'][0]['windows']
    assert set(windows) == set(PARTS)
    assert sum(windows.values()) == every


def test_what_was_trained_otherwise_is_told_to_be_lacking(done):
    gaps = held(done, 'table-7')['missing']
    assert {gap['label'] for gap in gaps} == {'non-overlapping∞'}
    assert 'training/lab.py' in str(gaps[0]['lacks'])
    assert {row['label'] for row in held(done, 'table-7')['rows']} == {
        'overlapped∞', 'overlapped∞, last 4 frames',
    }  # fmt: skip
    assert {gap['label'] for gap in held(done, 'table-6')['missing']} == {
        '+ Live-WhisperX-526K∞', '+ Inf-Streams-Train∞',
    }  # fmt: skip


def test_the_report_shows_all_and_needs_nothing_but_itself(done):
    page = (done / 'report.html').read_text()
    for name in NUMBERS:
        assert f'id="{name}"' in page
    assert 'Stand-ins:' in page
    assert 'published 66.18' in page
    assert '<th>StreamingVLM, last 4 frames</th>' in page
    assert 'ReKV is 64 blocks' in page
    assert 'training/lab.py' in page
    assert not re.search(r'<(script|img|link|iframe)|(src|href)=|url\(|@import', page)


def test_a_second_run_makes_nothing_anew(done, words, monkeypatch):
    def broken(*_, **__):
        raise AssertionError('a model was loaded')

    before = {p: p.read_bytes() for p in done.rglob('*') if p.is_file()}
    monkeypatch.setattr('svlm_core.evaluation.paper.captions.make', broken)
    monkeypatch.setattr('svlm_core.evaluation.paper.speed.load', broken)
    assert cli.main([*words, '--items', 'table-1', 'fig-7', 'fig-8']) == 0
    after = {p: p.read_bytes() for p in done.rglob('*') if p.is_file()}
    changed = {path.name for path in before if before[path] != after.get(path)}
    assert changed <= {'report.html'}


@pytest.mark.parametrize(
    ('more', 'told'),
    [
        (['--seed', '1'], 'other settings (seed: 0 there, 1 now)'),
        (['--seconds', '24'], 'other settings (stand-ins.seconds: 12 there, 24 now)'),
        (['--items', 'table-9'], "no item 'table-9'"),
        (['--weights', 'streamingvlm'], 'give NAME=PATH'),
        (['--data', 'inf-streams=no-such-folder'], 'no-such-folder is not there'),
        (['--seconds', '3'], 'at least'),
        (['--commentator', 'mini'], 'name a model: --base-url'),
        (['--events-model', 'mini'], 'a second judge: name --base-url'),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(done, words, more, told, capsys):
    assert cli.main([*words, *more]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
