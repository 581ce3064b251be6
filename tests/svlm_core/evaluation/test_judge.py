# SPDX-License-Identifier: Apache-2.0
"""Two caption files before a judge: every vote counts once in each order, and none is invented."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from chat_server import chat_server
from svlm_core import cli
from svlm_core.endpoints.chat import Reply
from svlm_core.errors import SourceError
from svlm_core.evaluation.bootstrap import DRAWS, ratio_interval
from svlm_core.evaluation.identity import digest, revision, versions
from svlm_core.evaluation.judges import LONGEST, agreement, by_agreement, by_model
from svlm_core.evaluation.judging import Bout, Judge, Ruling, Vote, both_orders
from svlm_core.evaluation.windows import Said, Window, bout, read_captions, read_windows
from told import told

TRUTH = ('Kick off.', '', '', 'Smith scores!', '', 'What a goal.')
GOOD = ('Kick off.', '', '', 'Smith scores!', '', '')
LATE = ('', '', '', 'Kick off.', '', '')
WRONG = ('A dog.', 'A cat.', 'A dog.', 'A cat.', 'A dog.', 'A cat.')
SILENT = ('',) * 6


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def test_the_judge_without_a_network_prefers_what_agrees_in_words_and_in_time():
    ranking = [TRUTH, GOOD, LATE, SILENT]
    for better, worse in pairwise(ranking):
        assert by_agreement(Bout(TRUTH, better, worse)).vote == 1
        assert by_agreement(Bout(TRUTH, worse, better)).vote == 0
    assert by_agreement(Bout(TRUTH, GOOD, GOOD)).vote == 0.5
    assert by_agreement(Bout(TRUTH, GOOD, WRONG)).vote == 1


def test_agreement_is_the_mean_of_that_of_words_and_that_of_events():
    assert agreement(TRUTH, TRUTH) == agreement(SILENT, SILENT) == 1
    assert agreement(SILENT, TRUTH) == 0
    # 4 of 7 words on one side and all 4 on the other; 2 events of 3 and all 2
    assert agreement(GOOD, TRUTH) == pytest.approx((2 * 4 / 11 + 2 * 2 / 5) / 2)
    # 'kick off' comes 3 s late: words are near enough, one event meets that of 'scores'
    assert agreement(LATE, TRUTH) == pytest.approx((2 * 2 / 9 + 2 * 1 / 4) / 2)


class Model:
    """A chat that says what it is told to say."""

    def __init__(self, *said: str) -> None:
        self.said, self.asked = list(said), list[list]()

    def __call__(self, messages, schema=None):
        self.asked.append(messages)
        return Reply(self.said.pop(0))


@pytest.mark.parametrize(('said', 'vote'), [('A', 1), (' B.', 0), ('**a**', 1), ('"B"', 0)])
def test_a_model_votes_with_a_letter(said, vote):
    assert by_model(Model(said))(Bout(TRUTH, GOOD, WRONG)).vote == vote


@pytest.mark.parametrize('said', ['', 'Both.', 'As I see it, B', 'AB', 'C', 'error 500'])
def test_what_is_no_letter_is_asked_again_and_then_no_vote_for_anybody(said):
    again = Model(said, 'A')
    assert by_model(again)(Bout(TRUTH, GOOD, WRONG)).vote == 1
    assert 'must be a single letter' in again.asked[1][-1]['content']
    ruling = by_model(Model(said, said, said))(Bout(TRUTH, GOOD, WRONG))
    assert ruling.vote is None
    assert ruling.answer.replies == (said,) * 3


def test_the_model_sees_title_reference_and_both_texts_each_clipped_as_published():
    model = Model('A')
    by_model(model)(Bout(('r' * 9000,), ('a' * 9000,), ('b' * 9000,), 'Final, 3 May'))
    told = model.asked[0][1]['content']
    assert told.startswith('Title: Final, 3 May\n\nReference:\nrrr')
    assert told.index('Commentary A:\naaa') < told.index('Commentary B:\nbbb')
    assert LONGEST == 8000
    assert [told.count(letter * 8000) for letter in 'rab'] == [1, 1, 1]
    assert not any(letter * 8001 in told for letter in 'rab')


def test_silence_never_wins_and_no_model_is_asked_about_it():
    judge = by_model(Model())
    assert judge(Bout(TRUTH, GOOD, SILENT)) == Ruling(1)
    assert judge(Bout(TRUTH, SILENT, GOOD)) == Ruling(0)
    assert judge(Bout(TRUTH, SILENT, SILENT)) == Ruling(0.5)


def test_both_orders_are_votes_for_the_same_side():
    def votes(judge: Judge) -> tuple[Vote, Vote]:
        ab, ba = both_orders(judge, Bout(TRUTH, GOOD, WRONG))
        return ab.vote, ba.vote

    assert votes(lambda bout: Ruling(1.0)) == (1, 0)
    assert votes(by_agreement) == (1, 1)
    assert votes(lambda bout: Ruling(None)) == (None, None)


def answers(video: str, text: str, *spans: tuple[int, int], every: int = 2) -> list[dict]:
    """What a model said of some spans of a video, a text every so many seconds."""
    return [
        {
            'video': video,
            'chunk_start': start,
            'chunk_end': end,
            'items': [
                {'response': text, 'start_time': float(s), 'end_time': s + 1.0}
                for s in range(start, end, every)
            ],
        }
        for start, end in spans
    ]


def clip(video: str, start: int, end: int) -> dict:
    content = [[float(s), s + 2.0, f'He shoots {s}.'] for s in range(start, end, 2)]
    return {'video': video, 'title': f'Match {video}', 'content': content, 'preasr': 'Before.'}


def test_a_window_has_what_ends_in_it_in_whole_seconds_as_published(tmp_path):
    (window,) = read_windows(lines(tmp_path / 'r.jsonl', clip('a.mp4', 10, 16)), 100, 200)
    assert (window.start, window.end, window.title) == (10, 16, 'Match a.mp4')
    row = answers('a.mp4', '', (0, 100))[0]
    ends = (10.9, 11.2, 16.4, 17.0)  # 10 is not after the start; 16.4 is 16 in whole seconds
    row['items'] = [
        {'response': f'w{end}', 'start_time': end - 1, 'end_time': end} for end in ends
    ]
    captions = read_captions(lines(tmp_path / 'a.jsonl', row), ['a.mp4'])['a.mp4']
    seen = bout(window, captions, captions)
    assert ' '.join(seen.first).split() == ['w11.2', 'w16.4']
    assert len(seen.first) == len(seen.truth) == 6
    assert seen.truth == ('He', 'shoots 10.', 'He', 'shoots 12.', 'He', 'shoots 14.')


def test_words_of_whole_videos_are_cut_into_windows_with_enough_of_them(tmp_path):
    many = [[n / 3, n / 3 + 0.2, 'la'] for n in range(600)]  # 3 a second up to 200 s
    few = [[200 + n, 200.5 + n, 'la'] for n in range(100)]
    odd = [[299.9, 299.5, 'turned']]  # published files have words that end before they start
    row = {'video': 'a.mp4', 'content': many + few + odd}
    windows = read_windows(lines(tmp_path / 'r.jsonl', row), 100, 200)
    assert [(w.start, w.end, len(w.said)) for w in windows] == [(0, 100, 300), (100, 200, 300)]
    three = read_windows(lines(tmp_path / 'r.jsonl', row), 100, 101)
    assert [len(w.said) for w in three] == [300, 300, 101]


def judged(tmp_path: Path, *words: str, output: str = 'out') -> int:
    files = str(tmp_path / 'a'), str(tmp_path / 'b')
    given = '--references', str(tmp_path / 'clips.jsonl'), '--output', str(tmp_path / output)
    return cli.main(['judge', *files, *given, *words])


def results(tmp_path: Path) -> tuple[list[dict], dict]:
    rows = (tmp_path / 'out' / 'scores.jsonl').read_text().splitlines()
    return [json.loads(row) for row in rows], json.loads(
        (tmp_path / 'out' / 'summary.json').read_text()
    )


@pytest.fixture
def league(tmp_path: Path) -> Path:
    """Three windows of two videos; `a` tells the truth in those of the first, b in the other."""
    clips = clip('one.mp4', 0, 20), clip('one.mp4', 20, 40), clip('two.mp4', 0, 20)
    lines(tmp_path / 'clips.jsonl', *clips)
    lines(
        tmp_path / 'a' / 'shard-1.jsonl',
        *answers('one.mp4', 'He shoots.', (20, 40), (0, 20)),
    )
    lines(tmp_path / 'a' / 'shard-2.jsonl', *answers('two.mp4', 'A dog.', (0, 100)))
    lines(
        tmp_path / 'b' / 'all.jsonl',
        *answers('one.mp4', 'A dog.', (0, 40)),
        *answers('two.mp4', 'He shoots.', (0, 20)),
    )
    return tmp_path


def test_without_a_network_two_folders_are_compared_and_every_window_is_kept(league, capsys):
    assert judged(league) == 0
    rows, summary = results(league)
    assert rows[0] == {
        'video': 'one.mp4', 'title': 'Match one.mp4', 'start': 0, 'end': 20, 'winner': 'A',
        'votes': {'A': 2.0, 'B': 0.0},
        'judge': {'model': 'agreement of words and events', 'vote_ab': 'A', 'vote_ba': 'A'},
        'run': digest(json.loads((league / 'out' / 'run.json').read_text())),
    }  # fmt: skip
    assert [row['winner'] for row in rows] == ['A', 'A', 'B']
    assert summary['per_video']['one.mp4'] == {'win_rate_A': 1, 'win_rate_B': 0, 'votes': 4}
    assert summary['global']['win_rate_A'] == pytest.approx(4 / 6)
    assert summary['global']['interval_A'] == [0, 1]  # of two videos, one may be drawn twice
    assert 'A wins 66.67% of the votes' in capsys.readouterr().out
    assert cli.main(['curate', 'validate', str(league / 'out' / 'scores.jsonl')]) == 0


def first_is_better(request: dict[str, Any]) -> str:
    return 'A'


def test_a_model_that_always_prefers_the_first_place_gives_nobody_an_advantage(league):
    with chat_server(first_is_better) as server:
        assert judged(league, '--base-url', server.url, '--model', 'm') == 0
        assert len(server.requests) == 6
    rows, summary = results(league)
    assert {row['winner'] for row in rows} == {'equal'}
    assert {(row['judge']['vote_ab'], row['judge']['vote_ba']) for row in rows} == {('A', 'B')}
    assert summary['global']['win_rate_A'] == 0.5


def test_invalid_votes_are_recorded_and_count_for_nobody(league):
    def confused(request: dict[str, Any]) -> str:
        told = request['messages'][1]['content']
        return (
            'B'
            if told.index('He shoots.', told.index('Commentary A')) < told.index('Commentary B')
            else 'Neither is.'
        )

    with chat_server(confused) as server:
        assert judged(league, '--base-url', server.url, '--model', 'm') == 0
    rows, summary = results(league)
    assert [(row['judge']['vote_ab'], row['judge']['vote_ba']) for row in rows] == [
        ('B', None), ('B', None), (None, 'A'),
    ]  # fmt: skip
    assert summary['global']['invalid_votes'] == 3
    assert summary['global']['votes'] == 3
    assert summary['global']['win_rate_A'] == pytest.approx(1 / 3)


def test_what_a_judge_answered_is_kept_word_by_word_with_who_it_was(league):
    def moody(request: dict[str, Any]) -> str | dict[str, Any]:
        told = request['messages'][1]['content']
        if 'Match two.mp4' in told:
            return {'content': None, 'refusal': 'I watch no sports.'}
        return 'Neither is.' if told.index('He shoots.', told.index('Commentary A')) > told.index(
            'Commentary B') else '**A**'  # fmt: skip

    with chat_server(moody, 400) as server:
        server.complaint, server.model = 'Unsupported parameter: temperature', 'm-2026-01-31'
        words = '--base-url', server.url, '--model', 'm', '--workers', '1'
        assert judged(league, *words) == 0
        asked = len(server.requests)
        before = (league / 'out' / 'scores.jsonl').read_bytes()
        assert judged(league, *words) == 0  # from the cache, which keeps all of it
        assert len(server.requests) == asked
    assert (league / 'out' / 'scores.jsonl').read_bytes() == before
    rows, summary = results(league)
    by = {'model': 'm-2026-01-31', 'dropped': ['temperature']}
    unclear = 'the answer must be a single letter, A or B'
    assert rows[0]['judge'] == {
        'model': 'm', 'vote_ab': 'A', 'vote_ba': None,
        'said': {
            'ab': {**by, 'replies': ['**A**'], 'outcome': 'ok'},
            'ba': {**by, 'replies': ['Neither is.'] * 3, 'outcome': 'invalid', 'problem': unclear},
        },
    }  # fmt: skip
    no = 'I watch no sports.'
    refused = {**by, 'replies': [no], 'outcome': 'refused', 'problem': no}
    assert rows[2]['judge']['said'] == {'ab': refused, 'ba': refused}
    assert summary['global']['judge_reported'] == {
        'models': ['m-2026-01-31'], 'dropped': ['temperature'],
    }  # fmt: skip
    assert cli.main(['curate', 'validate', str(league / 'out' / 'scores.jsonl')]) == 0


def test_a_run_that_was_stopped_goes_on_and_nothing_is_asked_twice(league, capsys, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    words = '--model', 'm', '--workers', '1', '--tries', '2'
    with chat_server(first_is_better) as server:

        def stops(request: dict[str, Any]) -> str:
            if len(server.requests) == 3:
                server.faults.extend([503, 503])
            return 'A'

        server.answer = stops
        assert judged(league, '--base-url', server.url, *words) == 1
        assert 'Run the same command again' in capsys.readouterr().err
        assert not (league / 'out' / 'summary.json').exists()
        server.answer = first_is_better
        assert judged(league, '--base-url', server.url, *words) == 0
        assert len(server.requests) == 6 + 2
    assert len(results(league)[0]) == 3


def test_results_of_other_settings_are_not_mixed_in_one_folder(league, capsys):
    assert judged(league) == 0
    assert judged(league) == 0
    assert judged(league, '--seed', '1') == 1
    assert 'other settings (seed: 0 there, 1 now): choose another' in capsys.readouterr().err
    lines(league / 'b' / 'all.jsonl', *answers('one.mp4', 'A cat.', (0, 40)))
    assert judged(league) == 1
    assert 'other settings (b.sha256: ' in capsys.readouterr().err


def test_a_result_says_by_whom_the_captions_were_if_their_folder_does(league):
    (league / 'a' / 'run.json').write_text('{"mode": "streaming"}')
    assert judged(league) == 0
    made = results(league)[1]['made']
    assert made == json.loads((league / 'out' / 'run.json').read_text())
    assert (made['a']['made'], made['b']['made']) == ({'mode': 'streaming'}, None)
    assert (made['versions'], made['revision']) == (versions(), revision())


def test_windows_that_one_side_was_not_shown_are_named(league, capsys):
    lines(league / 'b' / 'all.jsonl', *answers('one.mp4', 'A dog.', (0, 30)))
    assert judged(league) == 0
    rows, summary = results(league)
    assert len(rows) == 1
    assert summary['global']['windows_not_shown'] == [
        {'video': 'one.mp4', 'start': 20, 'end': 40},
        {'video': 'two.mp4', 'start': 0, 'end': 20},
    ]
    assert '2 windows not judged' in capsys.readouterr().out
    lines(league / 'b' / 'all.jsonl', *answers('three.mp4', 'A dog.', (0, 30)))
    assert judged(league, output='other') == 1
    assert 'no window of the references that both sides were shown' in capsys.readouterr().err


def test_captions_of_svlm_are_compared_as_they_are(tmp_path):
    def record(second: int, text: str) -> dict:
        return json.loads(told(second, text, 'one.mp4').to_json())

    lines(tmp_path / 'clips.jsonl', clip('games/one.mp4', 0, 20))
    lines(
        tmp_path / 'a' / 'one.jsonl',
        *(record(n, '' if n % 2 else 'He shoots.') for n in range(20)),
    )
    lines(tmp_path / 'b' / 'one.jsonl', *(record(n, 'A dog.') for n in range(20)))
    assert judged(tmp_path) == 0
    assert results(tmp_path)[0][0]['winner'] == 'A'


def spoken(folder: Path, name: str, *texts: str) -> None:
    """What svlm leaves of a video of a folder, second by second."""
    rows = [json.loads(told(second, text, name).to_json()) for second, text in enumerate(texts)]
    lines(folder / f'{name}.jsonl', *rows)


def test_files_of_a_folder_are_found_by_name_and_those_of_other_videos_passed_over(tmp_path):
    lines(tmp_path / 'clips.jsonl', clip('x/cam.mp4', 0, 4), clip('y/cam.mp4', 0, 4))
    for name, text in (('x/cam.mp4', 'x'), ('y/cam.mp4', 'y'), ('z/other.mp4', 'z')):
        spoken(tmp_path / 'a', name, *[text] * 4)
    found = read_captions(tmp_path / 'a', ['x/cam.mp4', 'y/cam.mp4'])
    assert {v: {said.text for said in of.said} for v, of in found.items()} == {
        'x/cam.mp4': {'x'},
        'y/cam.mp4': {'y'},
    }
    one = read_captions(tmp_path / 'a', ['x/cam.mp4'])  # no other is taken for the only one
    assert {said.text for said in one['x/cam.mp4'].said} == {'x'}
    with pytest.raises(SourceError, match=r'name it as one of the videos: film\.mp4'):
        read_captions(tmp_path / 'a', ['film.mp4'])
    alone = read_captions(tmp_path / 'a/z/other.mp4.jsonl', ['film.mp4'])  # given by itself
    assert {said.text for said in alone['film.mp4'].said} == {'z'}
    with pytest.raises(SourceError, match=r'several videos: x/cam\.mp4, y/cam\.mp4'):
        read_captions(tmp_path / 'a/x/cam.mp4.jsonl', ['x/cam.mp4', 'y/cam.mp4'])


def test_words_within_one_second_make_a_window_of_it(tmp_path):
    row = {'video': 'a.mp4', 'content': [[5.2, 5.5, 'He'], [5.5, 5.9, 'shoots.']], 'preasr': ''}
    (window,) = read_windows(lines(tmp_path / 'r.jsonl', row), 100, 200)
    assert (window.start, window.end) == (5, 6)
    spoken(tmp_path, 'a.mp4', *map(str, range(8)))
    captions = read_captions(tmp_path / 'a.mp4.jsonl', ['a.mp4'])['a.mp4']
    seen = bout(window, captions, captions)
    assert (seen.truth, seen.first) == (('He shoots.',), ('5',))


def test_what_is_said_of_a_short_event_belongs_to_it(tmp_path):
    row = {'video_id': 'v', 'event_id': 3, 'begin': 10.2, 'end': 10.9, 'pred': 'A goal.'}
    captions = read_captions(lines(tmp_path / 'p.jsonl', row), [])['v_3']
    window = Window('v', '', 10, 11, (Said(10.2, 10.9, 'Goal!'),), event='3')
    assert captions.covers(window)
    assert bout(window, captions, captions).first == ('A goal.',)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'items': 3}, 'shard-1.jsonl line 1: items is 3, not a list'),
        ({'items': [{'response': 'x'}]}, 'line 1: items[0].start_time is missing'),
        ({'chunk_end': 'late'}, 'line 1: chunk_end is "late", not a number'),
    ],
)
def test_a_caption_file_of_another_shape_is_named_by_line_and_field(league, change, told, capsys):
    lines(league / 'a' / 'shard-1.jsonl', {**answers('one.mp4', 'x', (0, 9))[0], **change})
    assert judged(league) == 1
    assert told in capsys.readouterr().err


@how(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6),
    st.integers(0, 1000),
)
def test_the_interval_draws_whole_videos_and_holds_what_can_be_drawn(found, seed):
    parts, wholes = [min(p, w) for p, w in found], [w for _, w in found]
    low, high = ratio_interval(parts, wholes, seed)
    rates = [p / w for p, w in zip(parts, wholes, strict=True)]
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9
    # the same draws, one by one
    drawn = np.random.default_rng(seed).integers(len(wholes), size=(DRAWS, len(wholes)))[:50]
    slow = [sum(parts[n] for n in of) / sum(wholes[n] for n in of) for of in drawn]
    assert all(min(rates) - 1e-9 <= rate <= max(rates) + 1e-9 for rate in slow)


def test_an_interval_of_nothing_is_not_a_number():
    assert all(math.isnan(value) for value in ratio_interval([], [], 0))
    assert all(math.isnan(value) for value in ratio_interval([0], [0], 0))
    assert ratio_interval([3, 0], [4, 0], 0) == (0.75, 0.75)
