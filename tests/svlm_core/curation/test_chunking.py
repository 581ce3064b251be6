# SPDX-License-Identifier: Apache-2.0
"""Chunks overlap, and a word belongs to the second in which it ends; clips are dense and live."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from svlm_core.curation.annealing import anneal, clips
from svlm_core.curation.chunking import chunk, rows, turns
from svlm_core.curation.settings import Annealing, Chunking, Exporting
from svlm_core.endpoints.chat import Reply
from svlm_core.errors import SettingsError


def sentence(words: list[list]) -> dict[str, Any]:
    return {'start': words[0][0], 'end': words[-1][1], 'words': words}


def steady(seconds: int, rate: int = 3, first: int = 0) -> list[dict[str, Any]]:
    """A sentence of `rate` words for every second."""
    return [
        sentence([[s + n / rate, s + (n + 1) / rate, f'w{s}.{n}'] for n in range(rate)])
        for s in range(first, first + seconds)
    ]


def cleaned(sentences: list, duration: float = 100.0) -> dict[str, Any]:
    about = {'title': 'A vs B', 'category': 'Sports', 'duration': duration, 'language': 'en'}
    return {**about, 'sentences': sentences}


def test_a_video_is_cut_into_windows_that_overlap_up_to_its_end():
    product = chunk(cleaned(steady(60), 60.4), Chunking())
    cuts = product.content['chunks']
    assert [(cut['start'], cut['end']) for cut in cuts] == [
        (0, 24), (12, 36), (24, 48), (36, 60),
    ]  # fmt: skip
    assert product.counts == {'chunks': 4, 'sparse': 0, 'seconds': 96, 'silent_seconds': 0}


@pytest.mark.parametrize(('count', 'kept'), [(48, 1), (47, 0)])
def test_a_chunk_needs_48_words(count, kept):
    said = [sentence([[n / 2, n / 2 + 0.4, 'la'] for n in range(count)])]
    product = chunk(cleaned(said, 24), Chunking())
    assert len(product.content['chunks']) == kept
    assert bool(product.left_out) is not bool(kept)


def test_seconds_with_and_without_words_read_as_in_training():
    words = [[0.2, 0.9, 'Kick'], [0.9, 1.0, 'off.'], [1.8, 2.1, 'Wait.']]
    assert turns(words, 0, 4) == ['Kick off. ...', ' ...', 'Wait. ...', ' ...']


TIMES = st.floats(0, 99.9).map(lambda value: round(value, 3))


@how(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(st.tuples(TIMES, TIMES), max_size=60), st.integers(4, 30), st.integers(0, 3))
def test_chunks_hold_exactly_the_words_that_end_in_them(times, window, overlap):
    words = sorted([min(pair), max(pair), f'w{n}'] for n, pair in enumerate(times))
    sentences = [sentence([word]) for word in words]
    product = chunk(cleaned(sentences), Chunking(window, overlap, min_words=0)).content
    assert len(product['chunks']) == (100 - window) // (window - overlap) + 1
    for cut, row in zip(product['chunks'], rows('a.mp4', product, ''), strict=True):
        inside = {w for _, end, w in words if cut['start'] < end <= cut['end']}
        before = {w for _, end, w in words if end <= cut['start']}
        assert {word[2] for word in row[1]['content'][0]['text_stream']} == inside
        assert set(row[0]['content'][1]['previous'].split()) == before
        heard = {math.ceil(end) for _, end, w in words if w in inside}
        assert cut['silent'] == window - len(heard)


def test_a_row_has_every_field_of_the_published_files():
    product = chunk(cleaned(steady(36)), Chunking()).content
    row = list(rows('a.mp4', product, 'What happens?'))[1]
    assert row == [
        {
            'role': 'user',
            'content': [
                {'type': 'video', 'video': 'a.mp4', 'video_start': 12.0, 'video_end': 36.0},
                {
                    'type': 'text',
                    'text': 'What happens?',
                    'previous': ' '.join(f'w{s}.{n}' for s in range(12) for n in range(3)),
                    'title': 'A vs B',
                    'category': 'Sports',
                },
            ],
        },
        {
            'role': 'assistant',
            'content': [{'type': 'text_stream', 'text_stream': product['words'][36:108]}],
        },
    ]


@how(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.floats(0, 6), st.floats(0.1, 5), st.integers(1, 12)), min_size=1, max_size=40
    )
)
def test_clips_are_dense_never_long_silent_and_do_not_overlap(found):
    sentences, now = [], 0.0
    for pause, length, count in found:
        now += pause
        step = length / count
        sentences.append(
            sentence([[now + n * step, now + (n + 1) * step, 'la'] for n in range(count)])
        )
        now += length
    settings, free = Annealing(), 0
    for start, end, run in clips(sentences, now, settings):
        words = [word for of in run for word in of['words']]
        assert start >= free
        assert 16 <= end - start <= 64
        assert len(words) >= 2 * (end - start)
        assert start <= words[0][0]
        assert words[-1][1] <= end <= now
        assert all(b[0] - a[1] <= 3 for a, b in pairwise(words))
        free = end


def test_a_clip_is_as_long_as_it_can_be_and_the_next_one_follows():
    found = list(clips(steady(100), 100, Annealing()))
    assert [(start, end) for start, end, _ in found] == [(0, 64), (64, 100)]
    assert list(clips(steady(15), 100, Annealing())) == []
    assert list(clips(steady(30, rate=1), 100, Annealing())) == []


class Reader:
    """Calls the first `live` of the sentences of a clip live."""

    def __init__(self, live: int) -> None:
        self.live, self.asked = live, list[str]()

    def __call__(self, messages, schema=None):
        self.asked.append(messages[-1]['content'])
        count = self.asked[0].partition('Sentences:')[2].strip().count('\n') + 1
        flags = [{'sentence': n, 'live': n < self.live} for n in range(count)]
        return Reply(json.dumps({'sentences': flags[::-1]}))


@pytest.mark.parametrize(('live', 'kept'), [(17, 1), (16, 0)])
def test_a_clip_stays_when_more_than_80_percent_of_it_is_live(live, kept):
    product = anneal(cleaned(steady(20), 20), Reader(live), Annealing())
    assert len(product.content['chunks']) == kept
    assert product.counts['live'] == kept
    assert product.counts['not_live'] == 1 - kept
    (clip,) = product.content['chunks' if kept else 'others']
    assert (clip['share'], clip['live']) == (live / 20, [n < live for n in range(20)])


def test_the_reader_sees_each_second_with_its_silence():
    reader = Reader(0)
    said = [*steady(8), *steady(12, first=10)]
    anneal(cleaned(said, 22), reader, Annealing())
    lines = reader.asked[0].splitlines()
    assert lines[:2] == ['Title: A vs B', '0s: w0.0 w0.1 w0.2 ...']
    assert lines[9:11] == ['8s: ...', '9s: ...']
    assert lines[23:25] == ['Sentences:', '0: w0.0 w0.1 w0.2']


def test_a_clip_about_which_nobody_says_anything_of_use_is_not_taken():
    def silent(messages, schema=None):
        return Reply('{"sentences": [{"sentence": 0, "live": true}]}')

    product = anneal(cleaned(steady(20), 20), silent, Annealing())
    assert (product.content['chunks'], product.counts['invalid']) == ([], 1)
    (clip,) = product.content['others']
    assert clip['problem'] == 'sentences must hold each number from 0 to 19 once'


@pytest.mark.parametrize(
    ('kind', 'wrong'),
    [
        (Chunking, {'window': 0}),
        (Chunking, {'overlap': 24}),
        (Chunking, {'min_words': -1}),
        (Annealing, {'shortest': 70}),
        (Annealing, {'min_live': 2}),
        (Annealing, {'max_silence': 0}),
        (Exporting, {'valid': 1}),
    ],
)
def test_settings_out_of_range_are_told(kind, wrong):
    with pytest.raises(SettingsError, match='give --'):
        kind(**wrong)
