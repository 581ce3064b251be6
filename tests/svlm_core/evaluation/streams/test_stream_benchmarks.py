# SPDX-License-Identifier: Apache-2.0
"""The official files of two benchmarks of commentary: what is judged, and what is captioned."""

from __future__ import annotations

import json

import pytest

from games import event, inf_streams, lines, live_sports, words
from svlm_core.errors import SourceError
from svlm_core.evaluation.streams import infstreams, livesports
from svlm_core.evaluation.windows import read_captions


def test_a_game_is_captioned_in_chunks_or_without_end_after_what_was_really_said(tmp_path):
    benchmark = infstreams.read(inf_streams(tmp_path), begin=10, segment=5)
    chunks = [s for s in benchmark.stretches('chunks') if s.video == 'soccer/b.mp4']
    assert [(s.start, s.end) for s in chunks] == [(10, 15), (15, 20)]
    assert [s.previous.split()[-2:] for s in chunks] == [['w10', 'x10'], ['w15', 'x15']]
    assert chunks[0].previous.split()[:2] == ['w1', 'x1']
    (endless,) = (s for s in benchmark.stretches('endless') if s.video == 'soccer/b.mp4')
    assert (endless.start, endless.end, endless.title) == (10, 20, 'Reds vs Blues')
    assert endless.previous == chunks[0].previous
    assert {w.category for w in benchmark.windows} == {'basketball', 'soccer'}


def test_windows_are_the_published_ones_or_are_cut_from_the_words(tmp_path):
    folder = inf_streams(tmp_path)
    clips = infstreams.read(folder, begin=10).windows
    assert [(w.start, w.end) for w in clips if w.video == 'soccer/b.mp4'] == [(10, 15), (15, 20)]
    (folder / 'score_all_clips.jsonl').unlink()
    game = {'video': 'c.mp4', 'category': 'hockey', 'content': words(0, 300)}
    lines(folder / 'eval_all_metadata.jsonl', game)
    cut = infstreams.read(folder, begin=100)
    assert [(w.start, w.end, w.category) for w in cut.windows] == [
        (100, 200, 'hockey'), (200, 300, 'hockey'),
    ]  # fmt: skip
    assert [(s.start, s.end) for s in cut.stretches('windows')] == [(100, 200), (200, 300)]


def test_a_window_whose_first_word_is_being_said_when_captions_begin_is_judged(tmp_path):
    folder = inf_streams(tmp_path)
    clips = [
        json.loads(row) for row in (folder / 'score_all_clips.jsonl').read_text().splitlines()
    ]
    clips[0]['content'][0] = [9.8, 10.2, 'Now']
    lines(folder / 'score_all_clips.jsonl', *clips)
    every = infstreams.read(folder, begin=10)
    assert [(w.start, w.end) for w in every.windows[:2]] == [(10, 15), (15, 20)]
    assert every.windows[0].said[0].text == 'Now'
    assert every.stretches('windows')[0].start == 10
    # Later, something has been said before: it is not judged any more.
    later = infstreams.read(folder, begin=11)
    assert [w.start for w in later.windows if w.video == clips[0]['video']] == [15]


def test_no_chunk_is_captioned_in_which_nothing_is_judged(tmp_path):
    folder = inf_streams(tmp_path, 30)
    rows = (folder / 'score_all_clips.jsonl').read_text().splitlines()
    few = [json.loads(row) for row in rows][1:4:2]  # of the first game: 15 to 20 and 25 to 30
    lines(folder / 'score_all_clips.jsonl', *few)
    found = infstreams.read(folder, begin=10, segment=5).stretches('chunks')
    assert [(s.start, s.end) for s in found] == [(15, 20), (25, 30)]


def test_the_last_chunk_ends_with_the_last_window(tmp_path):
    found = infstreams.read(inf_streams(tmp_path), begin=10, segment=8).stretches('chunks')
    assert [(s.start, s.end) for s in found] == [(10, 18), (18, 20)] * 2


def test_an_event_is_one_stretch_with_its_title_and_the_words_before_it(tmp_path):
    benchmark = livesports.read(live_sports(tmp_path))
    first, second, last = benchmark.stretches('endless')
    assert benchmark.stretches('chunks') == [first, second, last]
    assert (first.video, first.start, first.end, first.event) == ('LEsNb.mp4', 2.5, 6.0, 1)
    assert (first.previous, last.previous) == ('Welcome.', '')
    assert 'Event 1' in benchmark.query(first)
    window = benchmark.windows[0]
    assert (window.start, window.end, window.category) == (2, 6, 'Cricket')
    assert window.subject == 'LEsNb_1'
    assert [said.text for said in window.said] == ['He runs 1.', 'He scores!']


@pytest.mark.parametrize('spans', ['', None])
def test_an_event_without_times_has_its_words_evenly(tmp_path, spans):
    row = event(1, 2.0, 6.0, event_asr=spans)
    if spans is None:
        del row['event_asr']
    (tmp_path / 'LiveSports-3K-CC.jsonl').write_text(json.dumps(row) + '\n')
    (window,) = livesports.read(tmp_path).windows
    (said,) = window.said
    assert (said.start, said.end, said.text) == (2, 6, 'He runs 1. He scores!')


def test_released_predictions_are_read_as_captions_of_events(tmp_path):
    rows = [
        {'video_id': 'LEsNb', 'event_id': 1, 'begin': 2.5, 'end': 6.0, 'pred': 'He runs...'},
        {'video_id': 'LEsNb', 'event_id': 2, 'begin': 8.0, 'end': 11.2, 'pred': ''},
    ]
    captions = read_captions(lines(tmp_path / 'GPT-4o.jsonl', *rows), [])
    windows = livesports.read(live_sports(tmp_path / 'data')).windows
    assert [captions[w.subject].covers(w) for w in windows[:2]] == [True, True]
    assert windows[2].subject not in captions


def test_what_is_captioned_twice_is_not_counted_twice(tmp_path):
    row = {'video_id': 'LEsNb', 'event_id': 1, 'begin': 2.5, 'end': 6.0, 'pred': 'He runs...'}
    with pytest.raises(SourceError, match='a stretch of LEsNb_1 is captioned twice'):
        read_captions(lines(tmp_path / 'GPT-4o.jsonl', row, row), [])


@pytest.mark.parametrize(
    ('field', 'value', 'told'),
    [
        ('event_asr_text', None, 'line 2: event_asr_text is missing'),
        ('begin', '2.5', 'line 2: begin is "2.5", not a number'),
        ('end', 1.0, 'line 2: end is 1, not after begin'),
        ('class', 3, 'line 2: class is 3, not text'),
        ('event_asr', '[[1, 2]]', 'line 2: event_asr[0] is [1, 2], not [start, end, text]'),
        ('event_asr', '[[1, 2', 'line 2: event_asr is no JSON'),
        ('video', '../x.mp4', "video '../x.mp4' leads out of the folder"),
    ],
)
def test_an_event_that_is_not_as_published_is_told_by_line_and_field(tmp_path, field, value, told):
    bad = {**event(2, 2.0, 6.0), field: value}
    if value is None:
        del bad[field]
    path = lines(tmp_path / 'LiveSports-3K-CC.jsonl', event(1, 2.0, 6.0), bad)
    with pytest.raises(SourceError) as error:
        livesports.read(tmp_path)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_no_event_may_be_there_twice(tmp_path):
    lines(tmp_path / 'LiveSports-3K-CC.jsonl', event(1, 2.0, 6.0), event(1, 7.0, 9.0))
    with pytest.raises(SourceError, match='line 2: event_id 1 is there twice'):
        livesports.read(tmp_path)


@pytest.mark.parametrize(
    ('row', 'told'),
    [
        ({'content': []}, 'eval_all_metadata.jsonl line 1: video is missing'),
        ({'video': 'a.mp4', 'content': [[1, 'x', 'hey']]}, 'line 1: content[0][1] is "x", not a'),
        ({'video': 'a.mp4', 'content': []}, 'has no words of soccer/b.mp4'),
    ],
)
def test_a_game_that_is_not_as_published_is_told_by_line_and_field(tmp_path, row, told):
    folder = inf_streams(tmp_path)
    clips = (folder / 'score_all_clips.jsonl').read_text().splitlines()[2:]
    (folder / 'score_all_clips.jsonl').write_text('\n'.join(clips))
    lines(folder / 'eval_all_metadata.jsonl', row)
    with pytest.raises(SourceError) as error:
        infstreams.read(folder, begin=10)
    assert told in str(error.value)


def test_published_words_that_end_before_they_start_are_turned_round(tmp_path):
    folder = inf_streams(tmp_path)
    turned = [[end, start, word] for start, end, word in words(0, 20)]
    games = [{'video': video, 'content': turned} for video in ('basketball/a.mp4', 'soccer/b.mp4')]
    lines(folder / 'eval_all_metadata.jsonl', *games)
    chunk = infstreams.read(folder, begin=10, segment=5).stretches('chunks')[0]
    assert chunk.previous.split()[-1] == 'x10'


def test_a_benchmark_that_begins_after_its_last_window_says_so(tmp_path):
    with pytest.raises(SourceError, match='has no window from 1000 s on'):
        infstreams.read(inf_streams(tmp_path))
