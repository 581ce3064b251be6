# SPDX-License-Identifier: Apache-2.0
"""`svlm paper` on official files, models by folder and an endpoint: all of it small, none of it
a stand-in for the command. svlm-tiny has the place of every checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import official_files
from chat_server import chat_server
from games import CLUBS, film, inf_streams, lines, live_sports
from svlm_core import cli
from svlm_core.card import EMBEDDED
from svlm_core.errors import MemoryFull, SourceError
from svlm_core.evaluation.judges import ALIGNED, TASK
from svlm_core.evaluation.paper import speed, wins
from svlm_core.evaluation.paper.items import Item
from svlm_core.evaluation.paper.published import (
    EXAMS,
    LIVECC,
    LIVECC_ALL,
    MOMENTS,
    PARTS,
    PUBLISHED,
)
from svlm_core.evaluation.paper.sources import GETS
from svlm_core.evaluation.streams import infstreams
from svlm_core.evaluation.streams.table import Side

BEGIN = 10  # seconds; the official games have 1000
EVENTS = ('llava', 'gpt-4o', 'gemini')
BENCHMARKS = ('mvbench', 'videomme', 'longvideobench', 'ovobench')
OTHERS = ('table-2', 'table-4', 'table-5-left', 'table-5-right', 'table-6', 'table-7', 'table-8',
          'fig-1', 'fig-6')  # fmt: skip


@pytest.fixture(scope='module')
def given(tmp_path_factory) -> dict[str, list[str]]:
    """What a user would name, by flag: checkpoints, official files, captions of others."""
    folder = tmp_path_factory.mktemp('real')
    data = {
        'inf-streams': inf_streams(folder / 'games'),
        'livesports': live_sports(folder / 'events'),
        **{name: official_files.MADE[name](folder / name) for name in BENCHMARKS},
    }
    events = [('LEsNb', 1), ('LEsNb', 2), ('ZZ', 7)]
    captions = {
        name: lines(
            folder / f'{name}.jsonl',
            *({'video_id': v, 'event_id': n, 'begin': 0, 'end': 9, 'pred': f'{name} tells'}
              for v, n in events),
        )
        for name in EVENTS
    }  # fmt: skip
    return {
        '--weights': [f'{name}={EMBEDDED}' for name in ('streamingvlm', 'qwen', 'livecc')],
        '--data': [f'{name}={path}' for name, path in data.items()],
        '--captions': [f'{name}={path}' for name, path in captions.items()],
    }


@pytest.fixture
def paper(given, monkeypatch, tmp_path):
    """The command with all that is given, on games of seconds."""
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))
    monkeypatch.setattr(infstreams, 'BEGIN', BEGIN)
    monkeypatch.setattr(speed, 'SECONDS', 3)

    def run(output: Path, *words: object, **more: list[str]) -> int:
        named = [word for flag, of in {**given, **more}.items() for word in (flag, *of)]
        return cli.main(
            ['paper', '--output', str(output), '--device', 'cpu', *named, *map(str, words)]
        )

    return run


def item(folder: Path, name: str) -> dict:
    return json.loads((folder / f'{name}.json').read_text())


def mini(folder: Path) -> Path:
    """Captions of both games by another model, a text for each window."""
    folder.mkdir(exist_ok=True)
    return lines(
        folder / 'mini.jsonl',
        *(
            {'video': video, 'chunk_start': start, 'chunk_end': start + 5,
             'items': [{'response': 'They play.', 'start_time': start, 'end_time': start + 5}]}
            for video in CLUBS
            for start in range(10, 35, 5)
        ),
    )  # fmt: skip


def one_game(folder: Path, seconds: int) -> Path:
    """Games of which one alone has windows."""
    clips = inf_streams(folder, seconds) / infstreams.CLIPS
    rows = [row for row in map(json.loads, clips.open()) if row['video'] == next(iter(CLUBS))]
    lines(clips, *rows)
    return folder


def answer(request: dict) -> str:
    """A vote for the first where a judge is asked, else a comment."""
    return 'A' if request['messages'][0]['content'] in (TASK, ALIGNED) else 'A man in blue runs.'


def test_table_1_is_made_from_checkpoints_official_files_and_an_endpoint(paper, tmp_path):
    with chat_server(answer) as server:
        words = ('--items', 'table-1', '--base-url', server.url, '--model', 'judge-of-games',
                 '--events-model', 'judge-of-events', '--commentator', 'mini')  # fmt: skip
        assert paper(tmp_path / 'out', *words) == 0
        asked = Counter(
            (request['model'], request['messages'][0]['content']) for request in server.requests
        )
        assert {model for model, _ in asked} == {'mini', 'judge-of-games', 'judge-of-events'}
        assert asked['mini', next(told for model, told in asked if model == 'mini')] == 4
        assert not asked['judge-of-games', ALIGNED] + asked['judge-of-events', TASK]
        content = item(tmp_path / 'out', 'table-1')
        assert content['missing'] == content['problems'] == []
        rows = {(row['label'], row['column']): row for row in content['rows']}
        assert rows.keys() == {
            (label, column) for label, of in PUBLISHED['table-1'].items() for column in of
        }
        told = {column: row['stand_in'] for (_, column), row in rows.items()}  # of the last row
        judged = 'judged by judge-of-games, not by gpt-5'
        assert told['GPT-4o†'] == f'{judged}; captions of mini, not of gpt-4o-mini'
        assert told['LiveCC†'] == f'{judged}; LiveCC captioned by svlm, not by its own code'
        assert told['LLaVA'] == 'judged by judge-of-events, not by gpt-4o-mini'
        # Every vote was for the first that was shown, so nobody wins more than half.
        assert {row['value'] for row in rows.values()} <= {0, 50, 100}
        assert rows['StreamingVLM∞', 'GPT-4o†']['against']['model']['name'] == 'mini'
        assert rows['StreamingVLM∞', 'LiveCC†']['judge'] == 'judge-of-games'
        ours = rows['StreamingVLM∞', 'LLaVA']
        assert ours['judge'] == 'judge-of-events'
        assert (ours['value'], ours['value_ci']) == (ours['official'], ours['official_interval'])
        assert ours['value_ci'][0] <= ours['value'] <= ours['value_ci'][1]
        # Nothing is asked or captioned again.
        before = len(server.requests)
        assert paper(tmp_path / 'out', *words) == 0
        assert len(server.requests) == before
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'Judge: judge-of-games and judge-of-events' in page
    assert 'Stand-in: captions of mini, not of gpt-4o-mini.' in page
    assert 'Stand-ins:' not in page


def test_tables_of_questions_and_the_figure_of_times_need_no_endpoint(paper, tmp_path):
    assert paper(tmp_path / 'out', '--items', 'table-3', 'fig-7') == 0
    rows = item(tmp_path / 'out', 'table-3')['rows']
    assert [(row['label'], row['column']) for row in rows] == [
        (line, column)
        for label in PUBLISHED['table-3']
        for column in EXAMS
        for line in (label, f'{label}, last 4 frames')
    ]
    assert {row['stand_in'] for row in rows} == {''}
    for model, baseline in zip(rows[::2], rows[1::2], strict=True):
        assert 0 <= model['value'] <= 100 >= baseline['value'] >= 0
        assert model['published'] == PUBLISHED['table-3'][model['label']][model['column']]
        assert (model['mode'], baseline['mode']) == ('offline', 'last 4 frames')
        assert (baseline['published'], baseline['model']) == (None, model['model'])
        assert (
            baseline['name']
            == model['name']
            == ('realtime' if model['column'] == 'OVO-Bench real-time' else 'total')
        )
    assert '<th>StreamingVLM, last 4 frames</th>' in (tmp_path / 'out/report.html').read_text()
    times = item(tmp_path / 'out', 'fig-7')['rows']
    assert {row['column'] for row in times} == set(MOMENTS)
    assert {row['seconds'] for row in times} == {3}


def test_a_video_that_cannot_be_read_is_a_problem_until_it_is_there(paper, tmp_path, capsys):
    folder, out = official_files.mvbench(tmp_path / 'mvbench'), tmp_path / 'out'
    video = folder / 'video/clevrer/video_validation/video_10009.mp4'
    aside = video.rename(tmp_path / video.name)
    words, more = ('--items', 'table-3'), {'--captions': [], '--data': [f'mvbench={folder}']}
    assert paper(out, *words, **more) == 1
    problems = item(out, 'table-3')['problems']
    assert [line.partition(':')[0] for line in problems] == [
        'MVBench of Qwen2.5-VL-7B-Instruct', 'MVBench of StreamingVLM',
    ]  # fmt: skip
    assert all('2 of 6 answers could not be had: ' in line for line in problems)
    assert all('video_10009.mp4' in line for line in problems)
    assert f'problem: {problems[0]}' in capsys.readouterr().out
    aside.rename(video)
    assert paper(out, *words, **more) == 0
    assert item(out, 'table-3')['problems'] == []
    assert {row['failed'] for row in item(out, 'table-3')['rows']} == {0}


def test_a_stretch_that_is_captioned_in_part_is_a_problem_until_it_is_not(paper, tmp_path, capsys):
    games, out = inf_streams(tmp_path / 'games', seconds=15), tmp_path / 'out'
    (broken, _) = CLUBS
    film(games / broken, 12)  # its words go on to second 15
    captions = [f'gpt-4o-mini={mini(tmp_path)}']
    more = {'--data': [f'inf-streams={games}'], '--captions': captions}
    for _ in range(2):  # the second run makes no captions, and tells it all the same
        assert paper(out, '--items', 'table-4', **more) == 1
        problems = item(out, 'table-4')['problems']
        made = {path.name for path in (out / 'captions').iterdir()}
        assert {line.partition(':')[0] for line in problems} == made
        for line in problems:
            assert f'1 of 2 stretches are not captioned in full: {broken} from 10 s: ' in line
            assert line.endswith(f'{broken} ends before 15 s')
        assert f'problem: {problems[0]}' in capsys.readouterr().out
    # The other game is judged.
    assert {row['windows'] for row in item(out, 'table-4')['rows']} == {1}
    film(games / broken, 15)
    shutil.rmtree(out / 'captions')
    assert paper(out, '--items', 'table-4', **more) == 0
    assert item(out, 'table-4')['problems'] == []
    assert {row['windows'] for row in item(out, 'table-4')['rows']} == {2}


def test_a_policy_without_room_for_one_second_is_a_problem(paper, tmp_path, monkeypatch):
    def full(*given):
        raise MemoryFull('the device has no room')

    monkeypatch.setattr(speed, 'watch', full)
    assert paper(tmp_path, '--items', 'fig-7') == 1
    told = item(tmp_path, 'fig-7')
    assert (told['rows'], told['missing']) == ([], [])
    assert told['problems'] == [
        f'{label}: not one second was timed: the device has no room'
        for label in PUBLISHED['fig-7']
    ]


def test_one_whose_captions_are_not_finished_keeps_no_other_from_being_judged(
    paper, tmp_path, monkeypatch
):
    first, *others = PUBLISHED['table-4']
    ours = wins._ours

    def unfinished(item: Item, label: str, *more: object) -> Side:
        if label == first:
            raise SourceError('its captions are not finished')
        return ours(item, label, *more)

    monkeypatch.setattr(wins, '_ours', unfinished)
    captions = [f'gpt-4o-mini={mini(tmp_path)}']
    paper(tmp_path / 'out', '--items', 'table-4', **{'--captions': captions})
    told = item(tmp_path / 'out', 'table-4')
    assert [*dict.fromkeys(row['label'] for row in told['rows'])] == others
    lacks = [of for of in told['missing'] if of['label'] == first]
    assert {of['column'] for of in lacks} == set(PUBLISHED['table-4'][first])
    assert {of['lacks']['captions'] for of in lacks} == {'its captions are not finished'}


def test_a_column_of_one_group_of_questions_is_missing_where_that_group_is(paper, tmp_path):
    folder = official_files.ovobench(tmp_path / 'ovobench')
    official_files.write(folder / 'ovo_bench_new.json', official_files.OVOBENCH[:1])  # backward
    more = {'--captions': [], '--data': [f'ovobench={folder}']}
    assert paper(tmp_path / 'out', '--items', 'table-3', **more) == 0
    content = item(tmp_path / 'out', 'table-3')
    assert content['rows'] == []
    told = {gap['column']: str(gap['lacks']) for gap in content['missing']}
    assert 'has no questions of group realtime' in told['OVO-Bench real-time']


def test_an_item_waits_for_what_it_lacks_and_is_left_alone_once_it_is_complete(
    paper, tmp_path, capsys
):
    out, items = tmp_path / 'out', ('--items', 'fig-7', 'table-7')
    none = {'--captions': [], '--data': []}
    assert paper(out, *items, **none) == 0
    told = capsys.readouterr().out
    assert f'lacks weights overlapped: {GETS["weights"]["overlapped"]}' in told
    done = (out / 'fig-7.json').read_bytes()
    assert paper(out, *items) == 0  # data of another item make it no other
    assert (out / 'fig-7.json').read_bytes() == done
    assert item(out, 'table-7')['missing']
    assert paper(out, *items, **{'--weights': [f'streamingvlm={out}']}) == 1
    assert 'fig-7.json was made of other sources' in capsys.readouterr().err


def test_every_other_item_is_made_of_official_files(paper, given, tmp_path):
    # All checkpoints are there, and captions of GPT-4o mini come from a file.
    games = inf_streams(tmp_path / 'games', seconds=15)  # a window each
    more = {
        '--data': [f'inf-streams={games}', *given['--data'][1:]],
        '--weights': [f'{name}={EMBEDDED}' for name in GETS['weights']],
        '--captions': [*given['--captions'], f'gpt-4o-mini={mini(tmp_path)}'],
    }
    assert paper(tmp_path / 'out', '--items', *OTHERS, **more) == 0
    found = {name: item(tmp_path / 'out', name) for name in OTHERS}
    assert {name: (of['missing'], of['problems']) for name, of in found.items()} == {
        name: ([], []) for name in OTHERS
    }
    rows = {(r['item'], r['label'], r['column']): r for of in found.values() for r in of['rows']}
    assert rows.keys() == {
        (name, line, column)
        for name in OTHERS
        for label, of in PUBLISHED[name].items()
        for column in of
        for line in ([label, f'{label}, last 4 frames'] if column in EXAMS else [label])
    }
    for (_, label, column), row in rows.items():
        counted = 'judged by agreement of words and events'
        assert row['stand_in'].startswith('' if column in EXAMS else counted)
        made = label.startswith('LiveCC') or column in (LIVECC, LIVECC_ALL, 'LiveCC')
        assert row['stand_in'].endswith('LiveCC captioned by svlm, not by its own code') == made
    assert all(0 <= row['value'] <= 100 for row in rows.values())
    of_games = {
        (name, label): row for (name, label, column), row in rows.items() if column == 'GPT-4o†'
    }

    def told(name: str) -> list[dict]:
        return [of_games[name, label] for label in PUBLISHED[name]]

    # Each row was made as it says.
    assert [row['settings']['retrieved'] for row in told('table-2')] == [4, 4, 0]
    assert [(row['mode'], row['positions']) for row in told('table-4')] == [
        ('chunks', 'native'), ('endless', 'native'), ('endless', 'contiguous'),
    ]  # fmt: skip
    assert [row['settings'].get('vision_window') for row in told('table-5-right')][:2] == [0, 1]
    assert [row['policy'] for row in told('fig-1')] == [
        'full_attention', 'window', 'recompute', 'streaming',
    ]  # fmt: skip
    assert [row['settings']['chunk'] for row in told('fig-6')[:4]] == [25, 50, 100, 500]
    # A subset is judged where the paper has one, and all of it elsewhere.
    assert {row['windows'] for row in told('table-8')} == {1}
    assert {row['windows'] for row in told('fig-1')} == {2}


def test_a_video_is_judged_in_five_parts_and_a_part_without_a_window_is_told(
    paper, given, tmp_path
):
    captions = [*given['--captions'], f'gpt-4o-mini={mini(tmp_path)}']

    def judged(games: Path, output: Path) -> dict:
        data = [f'inf-streams={games}']
        more = {'--data': data, '--captions': captions}
        assert paper(output, '--items', 'fig-8', **more) == 0
        return item(output, 'fig-8')

    whole = judged(one_game(tmp_path / 'long', seconds=35), tmp_path / 'whole')
    assert not whole['missing']
    windows = {(row['label'], row['column']): row['windows'] for row in whole['rows']}
    assert windows == {(label, part): 1 for label in PUBLISHED['fig-8'] for part in PARTS}
    halves = judged(one_game(tmp_path / 'short', seconds=20), tmp_path / 'halves')
    assert {row['column'] for row in halves['rows']} == {'0-20 %', '40-60 %'}
    assert {gap['column'] for gap in halves['missing']} == set(PARTS) - {'0-20 %', '40-60 %'}
    assert {what for gap in halves['missing'] for what in gap['lacks']} == {'captions'}
