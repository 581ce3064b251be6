# SPDX-License-Identifier: Apache-2.0
"""Words without a believable time get one from their neighbours; too many of them are too many."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

import matches
from svlm_core.curation.alignment import align
from svlm_core.curation.pipeline import Product
from svlm_core.curation.settings import Aligning
from svlm_core.errors import SettingsError

LENIENT = Aligning(max_faults=1)


def heard(*segments: dict[str, Any], duration: float = 100.0) -> dict[str, Any]:
    about = {'title': 'A vs B', 'category': '', 'duration': duration, 'language': 'en'}
    return {**about, 'segments': list(segments)}


def segment(start: float | None, end: float | None, *words: list) -> dict[str, Any]:
    return {'start': start, 'end': end, 'words': [[*w, None][:4] for w in words]}


def words(product: Product) -> list[list]:
    return [word for sentence in product.content['sentences'] for word in sentence['words']]


def test_words_that_stand_well_are_left_as_they_are():
    said = [1.0, 1.4, 'Kick'], [1.4, 2.0, 'off.'], [3.0, 3.5, 'Go!']
    product = align(heard(segment(1, 4, *said)), Aligning())
    assert words(product) == [list(word) for word in said]
    assert [s['end'] for s in product.content['sentences']] == [2.0, 3.5]
    assert {k: v for k, v in product.counts.items() if v} == {
        'words': 3, 'sentences': 2, 'gaps': 1, 'gap_seconds': 96.5,
    }  # fmt: skip
    assert (product.left_out, product.content['drift']) == ('', 0)


@pytest.mark.parametrize(
    ('bad', 'fault'),
    [
        ([None, None, '12'], 'untimed'),
        ([3.0, 2.0, '12'], 'reversed'),
        ([9.0, 9.2, '12'], 'drifted'),
    ],
)
def test_a_word_without_a_believable_time_gets_what_its_neighbours_leave(bad, fault):
    said = segment(1, 4, [1.0, 1.5, 'Now'], bad, bad, [3.5, 4.0, 'fans.'])
    product = align(heard(said), LENIENT)
    assert words(product)[1:3] == [[1.5, 2.5, '12'], [2.5, 3.5, '12']]
    assert product.counts[fault] == 2


def test_at_the_border_of_a_segment_the_segment_says_how_much_room_there_is():
    product = align(heard(segment(1, 4, [None, None, '12'], [2.0, 4.0, 'fans.'])), LENIENT)
    assert words(product)[0] == [1, 2.0, '12']
    whole = align(heard(segment(1, 3, [None, None, 'Not'], [None, None, 'aligned.'])), LENIENT)
    assert words(whole) == [[1.0, 2.0, 'Not'], [2.0, 3.0, 'aligned.']]
    nowhere = align(heard(segment(None, None, [None, None, 'Not'])), LENIENT)
    assert (nowhere.left_out, nowhere.counts['outside']) == ('no word of it can be placed', 1)


def test_words_after_the_end_of_the_video_go_but_a_little_late_is_no_fault():
    said = segment(8, 12, [9.0, 9.5, 'So'], [9.8, 10.3, 'long.'], [11.0, 11.5, 'Bye.'])
    product = align(heard(said, duration=10), LENIENT)
    assert words(product) == [[9.0, 9.5, 'So'], [9.8, 10, 'long.']]
    assert product.counts['outside'] == 1


def test_words_of_which_recognition_is_unsure_go_where_that_is_asked_for():
    said = segment(1, 4, [1.0, 1.5, 'Kick', 0.9], [2.0, 2.5, 'offal.', 0.2])
    assert len(words(align(heard(said), Aligning()))) == 2
    product = align(heard(said), Aligning(min_sure=0.5))
    assert words(product) == [[1.0, 1.5, 'Kick']]
    assert (product.counts['unsure'], product.left_out) == (1, '')


def test_words_that_go_back_in_time_are_counted_and_sorted():
    said = segment(1, 9, [5.0, 5.5, 'B'], [3.0, 3.5, 'A'], [7.0, 7.5, 'C.'])
    product = align(heard(said), LENIENT)
    assert [word[2] for word in words(product)] == ['A', 'B', 'C.']
    assert product.counts['backward'] == 1


def test_a_video_with_too_many_words_out_of_place_is_left_out_with_the_reason():
    said = segment(1, 9, [1, 2, 'a'], [3, 2, 'b'], [None, None, 'c'], [4, 5, 'd'])
    product = align(heard(said), Aligning(max_faults=0.49))
    assert product.left_out == '50% of its 4 words are out of place: 1 reversed, 1 untimed'
    assert align(heard(said), Aligning(max_faults=0.5)).left_out == ''


def test_words_that_lag_behind_their_segments_show_as_drift():
    late = [segment(n, n + 3, [n + 2.0, n + 2.5, 'late.']) for n in range(0, 30, 10)]
    product = align(heard(*late), Aligning())
    assert product.content['drift'] == product.counts['drift'] == 2.0
    unknown = align(heard(segment(None, None, [1.0, 1.5, 'Kick'])), Aligning())
    assert unknown.content['drift'] is None
    assert 'drift' not in unknown.counts


def test_the_video_that_drifts_most_is_told_and_drifts_are_not_added_up(
    season, curate, tmp_path, capsys
):
    for name, seconds, late in (('a_vs_b', 130, 0.25), ('cup/final', 61, -1.0)):
        found = matches.heard(seconds)
        for part in found['segments']:
            for word in part['words']:
                word['start'] += late
                word['end'] += late
        matches.save(tmp_path / 'words' / f'{name}.json', found)
    assert curate('', step='probe') == 0
    assert curate('', '--transcripts', str(tmp_path / 'words'), step='transcribe') == 0
    for _ in range(2):  # of what was done before it is told as well
        capsys.readouterr()
        assert curate('', step='align') == 0
        told = capsys.readouterr().out
        assert 'drift -0.38 s at the median of 2 videos, most -1.00 s: cup/final.mkv' in told
        assert told.count('drift ') == 1
    stages = [json.loads(line)['stages'] for line in (tmp_path / 'out/manifest.jsonl').open()]
    drifts = [found['align']['counts']['drift'] for found in stages if 'align' in found]
    assert drifts == [0.25, -1.0]


def test_sentences_end_at_full_stops_at_silence_and_where_nothing_ends_them():
    said = [[n * 0.5, n * 0.5 + 0.4, 'la'] for n in range(50)]
    said[3][2] = 'stop."'
    said[4:] = [[start + 5, end + 5, word] for start, end, word in said[4:]]
    product = align(heard(segment(0, 40, *said)), LENIENT)
    assert [len(s['words']) for s in product.content['sentences']] == [4, 40, 6]
    silence = [[0, 1, 'la'], [4.5, 5, 'la']]
    product = align(heard(segment(0, 6, *silence)), LENIENT)
    assert [len(s['words']) for s in product.content['sentences']] == [1, 1]


TIMES = st.one_of(st.none(), st.floats(-5, 130, allow_nan=False))
SAID = st.lists(st.tuples(TIMES, TIMES, st.sampled_from(['a', 'b.', ''])), min_size=1, max_size=8)


@how(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 20), SAID), min_size=1, max_size=4))
def test_whatever_was_recognised_words_come_out_in_order_within_the_video(found):
    segments = [segment(start, start + more, *map(list, said)) for start, more, said in found]
    product = align(heard(*segments), LENIENT)
    placed = words(product)
    assert all(0 <= start <= end <= 100 for start, end, _ in placed)
    assert all(a[0] <= b[0] for a, b in pairwise(placed))
    given_words = [word for _, _, said in found for *_, word in said if word]
    assert len(placed) == len(given_words) - product.counts['outside']


@pytest.mark.parametrize(
    'wrong', [{'max_drift': -1}, {'max_gap': 0}, {'min_sure': 2}, {'max_faults': -1}]
)
def test_settings_out_of_range_are_told(wrong):
    with pytest.raises(SettingsError, match='give --'):
        Aligning(**wrong)
