# SPDX-License-Identifier: Apache-2.0
"""The table of win rates: every pair, every category, and how each number came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_server import chat_server
from games import CLUBS, inf_streams, lines, live_sports, words
from svlm_core import cli

A, B = CLUBS  # a game of basketball, and one of soccer


@pytest.fixture
def league(tmp_path: Path) -> Path:
    """Three commentators of two games: one is right in basketball, one in soccer, one never."""
    inf_streams(tmp_path / 'data')
    right = {
        video: [
            {'response': ' '.join(w for _, _, w in words(s - 1, s)), 'start_time': s - 1.0,
             'end_time': float(s)}
            for s in range(11, 21)
        ]
        for video in CLUBS
    }  # fmt: skip
    wrong = [
        {'response': 'A dog.', 'start_time': end - 5.0, 'end_time': end} for end in (15.0, 20.0)
    ]

    def told(name: str, **items: list) -> None:
        rows = [
            {'video': video, 'chunk_start': 10, 'chunk_end': 20, 'items': items[CLUBS[video][0]]}
            for video in CLUBS
        ]
        lines(tmp_path / f'{name}.jsonl', *rows)

    told('ours', L=right[A], R=wrong)
    told('theirs', L=wrong, R=right[B])
    told('bad', L=wrong, R=wrong)
    return tmp_path


def table(folder: Path, *flags: str, name: str = 'inf-streams', output: str = 'out') -> int:
    place = '--data', str(folder / 'data'), '--output', str(folder / output)
    return cli.main(['streams', 'table', name, *place, '--begin', '10', *flags])


def sides(folder: Path, ours: str, *theirs: str) -> list[str]:
    against = [f'{name}={folder / name}.jsonl' for name in theirs]
    return ['--captions', f'{ours}={folder / ours}.jsonl', '--against', *against]


def results(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / 'out' / 'results.json').read_text())['rows']


def test_the_table_has_a_line_for_each_category_and_a_column_for_each_competitor(
    league, capsys, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '160')
    assert table(league, *sides(league, 'ours', 'theirs', 'bad')) == 0
    rates = {(row['b'], row['category']): row['win_rate'] for row in results(league)}
    assert rates == {
        ('theirs', 'all'): 50, ('theirs', 'basketball'): 100, ('theirs', 'soccer'): 0,
        ('bad', 'all'): 75, ('bad', 'basketball'): 100, ('bad', 'soccer'): 50,
    }  # fmt: skip
    shown = capsys.readouterr().out
    for word in ('against theirs', 'against bad', 'basketball', '75.00 (50.0 to 100.0)'):
        assert word in shown


def test_the_interval_is_over_videos_and_draws_are_half_a_vote(league):
    assert table(league, *sides(league, 'ours', 'bad')) == 0
    every, basketball, _ = results(league)
    assert every['interval'] == [50, 100]  # of two games, one may be drawn twice
    assert basketball['interval'] == [100, 100]
    # both games have two windows and four votes; those of soccer are draws
    assert (every['videos'], every['windows'], every['votes'], every['draws']) == (2, 4, 8, 4)
    assert every['official'] == 50  # where a draw is not won
    assert every['official_interval'] == [0, 100]
    assert basketball['official_interval'] == [100, 100]
    scores = (league / 'out' / 'scores' / 'ours against bad.jsonl').read_text().splitlines()
    assert [json.loads(row)['winner'] for row in scores] == ['A', 'A', 'equal', 'equal']
    assert json.loads(scores[0])['category'] == 'basketball'


def test_every_row_says_how_it_came_about(league):
    assert table(league, *sides(league, 'ours', 'bad')) == 0
    row = results(league)[0]
    assert (row['mode'], row['policy'], row['frames']) == ('imported', None, 'not known')
    assert row['judge'] == 'agreement of words and events'
    assert row['data']['name'] == 'inf-streams'
    assert len(row['data']['sha256']) == 64
    assert row['captions']['a'].startswith('ours.jsonl ')
    assert {'seed', 'versions', 'revision', 'settings', 'model'} <= row.keys()


def test_captions_of_svlm_bring_how_they_were_made(league):
    folder = league / 'run'
    folder.mkdir()
    made = {
        'mode': 'chunks †', 'policy': 'streaming', 'frames': '2 fps, all', 'pixels': 'small',
        'positions': 'native', 'model': {'name': 'tiny'}, 'data': {}, 'seed': 42,
        'settings': {'previous': 'truth'}, 'judge': None, 'versions': {}, 'revision': None,
    }  # fmt: skip
    (folder / 'run.json').write_text(json.dumps(made))
    given = ['--captions', f'svlm={folder}', '--against', f'bad={league / "bad.jsonl"}']
    assert table(league, *given) == 1  # it is not finished
    (folder / 'captions.jsonl').write_bytes((league / 'ours.jsonl').read_bytes())
    assert table(league, *given) == 0
    row = results(league)[0]
    assert (row['mode'], row['positions'], row['model']) == (
        'chunks †',
        'native',
        {'name': 'tiny'},
    )
    assert row['settings'] == {'previous': 'truth'}
    assert row['against'] == {}


def first(request: dict[str, Any]) -> str:
    return 'A'


def test_a_model_judges_each_benchmark_by_what_that_benchmark_asks(league):
    with chat_server(first) as server:
        asked = '--base-url', server.url, '--model', 'm'
        assert table(league, *sides(league, 'ours', 'bad'), *asked) == 0
        assert {row['win_rate'] for row in results(league)} == {50}
        assert 'live commentary' in server.requests[0]['messages'][0]['content']
        # 2 windows in both orders; in the other 2 both say the same: one question in any order
        assert len(server.requests) == 6
        assert table(league, *sides(league, 'ours', 'bad'), *asked) == 0
        assert len(server.requests) == 6  # of the second run, all are in the cache


def predictions(path: Path, **preds: str) -> Path:
    rows = [
        {'video_id': video, 'event_id': int(number), 'begin': begin, 'end': end, 'pred': text}
        for name, text in preds.items()
        for video, _, number in [name.partition('_')]
        for begin, end in [{'1': (2.5, 6.0), '2': (8.0, 11.2), '7': (1.0, 5.0)}[number]]
    ]
    return lines(path, *rows)


def test_in_livesports_who_says_nothing_loses_and_what_is_missing_is_told(tmp_path):
    live_sports(tmp_path / 'data')
    predictions(tmp_path / 'ours.jsonl', LEsNb_1='He runs 1. He scores!', LEsNb_2='', ZZ_7='A dog')
    predictions(tmp_path / 'GPT-4o.jsonl', LEsNb_1='A dog.', LEsNb_2='A dog.')
    with chat_server(first) as server:
        asked = '--base-url', server.url, '--model', 'm'
        given = *sides(tmp_path, 'ours', 'GPT-4o'), *asked
        assert table(tmp_path, *given, name='livesports') == 0
        assert len(server.requests) == 2  # silence needs no judge
        assert 'closer to it' in server.requests[0]['messages'][0]['content']
        told = server.requests[0]['messages'][1]['content']
        assert 'Reference:\nHe runs 1. He scores!' in told
    every, cricket, golf = results(tmp_path)
    # the first place wins event 1 once for each; event 2 is lost twice
    assert (every['win_rate'], every['official'], every['windows']) == (25, 25, 2)
    assert every['official_interval'] == [25, 25]  # of one video
    assert (cricket['category'], cricket['win_rate']) == ('Cricket', 25)
    assert (golf['win_rate'], golf['interval'], golf['windows']) == (None, None, 0)
    assert (golf['official'], golf['official_interval']) == (None, None)
    assert every['not_shown'] == [{'video': 'ZZ', 'start': 1, 'end': 5, 'event': '7'}]


def undecided(request: dict[str, Any]) -> str:
    """The first of two is better, but nothing can be said of a dog."""
    return 'Hard to say.' if 'A dog.' in request['messages'][1]['content'] else 'A'


def official_count(votes: Path, model: str) -> tuple[int, int]:
    """Votes that a model has won, of how many: as the authors of LiveSports-3K count a file."""
    rows = [json.loads(line) for line in votes.open()]
    winners = [row[order] for row in rows for order in ('ab_winner', 'ba_winner')]
    return winners.count(model), 2 * len(rows)


def test_votes_of_livesports_are_there_for_the_official_count(tmp_path):
    live_sports(tmp_path / 'data')
    predictions(tmp_path / 'ours.jsonl', LEsNb_1='He runs.', LEsNb_2='A dog.', ZZ_7='')
    predictions(tmp_path / 'GPT-4o.jsonl', LEsNb_1='He ran.', LEsNb_2='He stands.', ZZ_7='')
    with chat_server(undecided) as server:
        asked = '--base-url', server.url, '--model', 'm'
        given = *sides(tmp_path, 'ours', 'GPT-4o'), *asked
        assert table(tmp_path, *given, name='livesports') == 0
    votes = tmp_path / 'out' / 'votes' / 'ours against GPT-4o.jsonl'
    assert [json.loads(line) for line in votes.open()] == [
        {'video_event_id': 'LEsNb_1', 'ab_winner': 'ours', 'ba_winner': 'GPT-4o'},
        {'video_event_id': 'LEsNb_2', 'ab_winner': 'invalid', 'ba_winner': 'invalid'},
        {'video_event_id': 'ZZ_7', 'ab_winner': 'tie', 'ba_winner': 'tie'},
    ]
    won, of = official_count(votes, 'ours')
    assert (won, of) == (1, 6)
    assert results(tmp_path)[0]['official'] == pytest.approx(100 * won / of)
    assert cli.main(['curate', 'validate', str(votes)]) == 0


def test_games_have_no_vote_file(league):
    assert table(league, *sides(league, 'ours', 'bad')) == 0
    assert not (league / 'out' / 'votes').exists()


@pytest.mark.parametrize(
    ('ours', 'told'),
    [
        ('ours.jsonl', "'ours.jsonl': give captions as NAME=PATH"),
        ('a/b=ours.jsonl', 'without / in the name'),
        ('tie=bad.jsonl', 'tie stands for no winner'),
        ('bad=bad.jsonl', 'there is nothing to compare'),
        ('x=nowhere.jsonl', 'nowhere.jsonl cannot be read'),
    ],
)
def test_a_mistake_in_the_captions_is_told_in_a_line(league, capsys, monkeypatch, ours, told):
    monkeypatch.chdir(league)
    given = ['--captions', ours, '--against', f'bad={league / "bad.jsonl"}']
    assert table(league, *given) == 1
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_pair_that_shares_no_window_is_named(league, capsys):
    lines(league / 'few.jsonl', {'video': A, 'chunk_start': 0, 'chunk_end': 3, 'items': []})
    assert table(league, *sides(league, 'ours', 'few')) == 1
    assert 'ours against few: there is no window' in capsys.readouterr().err
