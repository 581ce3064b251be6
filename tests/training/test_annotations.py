# SPDX-License-Identifier: Apache-2.0
"""Rows of LiveCC and Inf-Stream-Train are read as published; bad ones are named, never used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from footage import film, row, write_rows
from lessons import composer
from svlm_core import StreamingVLM, preset
from svlm_core.errors import SourceError
from svlm_core.training.annotations import AnnotationFile, BadRow
from svlm_core.training.recipe import Annotations
from svlm_core.training.videos import VideoSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a video of 10 seconds."""
    film(tmp_path / 'a.mp4', 10)
    return tmp_path


@pytest.mark.parametrize('index', ['', 'inside', 'beside'])
@pytest.mark.parametrize('name', ['train.jsonl', 'train_with_seeks.jsonl'])
def test_every_row_is_found_with_either_index_or_none(folder: Path, index: str, name: str) -> None:
    rows = [row(previous=f'Row {n}. Ünïcödé.') for n in range(3)]
    found = AnnotationFile(write_rows(folder / name, rows, index))
    expected = [f'Row {n}. Ünïcödé.' for n in range(3)]
    assert [found.row(n).previous for n in range(len(found))] == expected


def test_an_index_that_does_not_fit_is_refused(folder: Path) -> None:
    path = write_rows(folder / 'train.jsonl', [row(), row()], 'beside')
    (folder / 'train_seeks.jsonl').write_text('[0, 17]')
    with pytest.raises(SourceError, match=r'train_seeks.jsonl does not fit .*: remove it'):
        AnnotationFile(path)
    (folder / 'train_seeks.jsonl').write_text('[0]')
    with pytest.raises(SourceError, match='does not fit'):
        AnnotationFile(path)
    (folder / 'train_seeks.jsonl').write_text('who knows')
    with pytest.raises(SourceError, match='does not fit'):
        AnnotationFile(path)


def test_a_file_that_is_not_there_or_empty_is_said(folder: Path) -> None:
    with pytest.raises(SourceError, match=r'none.jsonl cannot be read: No such file'):
        AnnotationFile(folder / 'none.jsonl')
    (folder / 'empty.jsonl').touch()
    with pytest.raises(SourceError, match=r'empty.jsonl is empty'):
        AnnotationFile(folder / 'empty.jsonl')


def spoilt(change: str) -> list | str:
    """A row with one thing wrong."""
    bad: dict[str, list | str] = {
        'no json': '[{"role": "user"',
        'object': '{"role": "user"}',
        'one message': row()[:1],
        'role': [row()[1], row()[0]],
        'no video': [{'role': 'user', 'content': [row()[0]['content'][1]]}, row()[1]],
        'no words': [row()[0], {'role': 'assistant', 'content': []}],
        'start': row(start='two'),
        'infinite': json.dumps(row(end=-1)).replace('-1', 'Infinity'),
        'no time': row(start=8.0, end=8.0),
        'too long': row(start=0, end=241),
        'backward': row(words=[[2.1, 2.4, 'Kick'], [5.0, 4.5, 'off.']]),
        'outside': row(words=[[9.1, 9.4, 'Kick']]),
        'number': row(words=[[2.1, 2.4, 7]]),
        'pair': row(words=[[2.1, 'Kick']]),
        'missing': row(video='b.mp4'),
        'empty': row(video='empty.mp4'),
        'previous': row(previous=['x']),
    }
    return bad[change]


@pytest.mark.parametrize(
    ('change', 'field', 'reason'),
    [
        ('no json', 'the row', 'is no JSON'),
        ('object', 'the row', 'not a list of two messages'),
        ('one message', 'the row', 'has 1 messages, not two'),
        ('role', '[0].role', "is 'assistant', not 'user'"),
        ('no video', '[0].content', "has no part of type 'video'"),
        ('no words', '[1].content', "has no part of type 'text_stream'"),
        ('start', '[0].content video_start', 'is "two", not a number of seconds'),
        ('infinite', '[0].content video_end', 'is inf, not a number of seconds'),
        ('no time', '[0].content video_end', '8 must be after video_start 8'),
        ('too long', '[0].content video_end', 'by at most 240 s'),
        ('backward', '[1].content text_stream[1]', 'starts at 5 s, after its end at 4.5 s'),
        ('outside', '[1].content text_stream[0]', '9.1 to 9.4 s lies outside of 2 to 8 s'),
        ('number', '[1].content text_stream[0]', 'is 7, not a word'),
        ('pair', '[1].content text_stream[0]', 'is not [start, end, word]'),
        ('missing', '[0].content video', 'b.mp4 cannot be read: No such file'),
        ('empty', '[0].content video', 'empty.mp4 is empty (0 bytes)'),
        ('previous', '[0].content previous', 'is ["x"], not text'),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(
    folder: Path, change: str, field: str, reason: str
) -> None:
    (folder / 'empty.mp4').touch()
    path = write_rows(folder / 'rows.jsonl', [row(), spoilt(change)])
    file = AnnotationFile(path)
    assert file.row(0).start == 2
    with pytest.raises(BadRow) as caught:
        file.row(1)
    assert str(caught.value).startswith(f'{path} line 2: {field} ')
    assert reason in str(caught.value)


def test_a_word_belongs_to_the_second_in_which_it_ends(folder: Path) -> None:
    read = AnnotationFile(write_rows(folder / 'rows.jsonl', [row(end=7.9)])).row(0)
    assert read.said(1) == ['Kick off.', 'Wait.', '', '', '']
    assert read.said(2) == ['Kick off. Wait.', '']


def test_the_sample_of_a_row_is_what_inference_would_hold(
    engine: StreamingVLM, folder: Path
) -> None:
    maker = composer(engine, preset('robot', query='Who plays?'))
    rows = [row(previous=' Welcome\nback.', text='Where is the ball?'), row(text='')]
    file = write_rows(folder / 'rows.jsonl', rows)
    videos = VideoSource(Annotations(str(file)), maker)
    asked, plain = (engine.tokenizer.decode(videos[n].ids.tolist()) for n in range(2))
    assert 'previous text\n Welcome back.\n' in asked
    assert 'Where is the ball?' in asked
    assert 'Who plays?' in plain
    assert 'Time=2.0-3.0s\nassistant\n Kick off. ...\nuser\nTime=3.0-4.0s' in plain.replace(
        '  ', ' '
    )


def test_frames_are_those_that_inference_takes(engine: StreamingVLM, folder: Path) -> None:
    maker = composer(engine, preset('robot'))
    file = write_rows(folder / 'rows.jsonl', [row()])
    sample = VideoSource(Annotations(str(file)), maker)[0]
    assert len(sample.film) == 2 * 6
    brightness = sample.film.float().mean(dim=(1, 2, 3))
    expected = torch.tensor([10.0 + 10 * second for second in range(2, 8) for _ in range(2)])
    torch.testing.assert_close(brightness, expected, rtol=0, atol=2.5)


def test_good_rows_are_used_and_bad_ones_counted(engine: StreamingVLM, folder: Path) -> None:
    rows = [spoilt('missing'), row(), spoilt('backward'), row(end=7.5)]
    file = write_rows(folder / 'rows.jsonl', rows)
    videos = VideoSource(Annotations(str(file)), composer(engine, preset('robot')))
    assert len(videos) == 2
    assert [problem.split(': ')[0][-6:] for problem in videos.problems] == ['line 1', 'line 3']


def test_a_video_that_fails_when_its_row_is_due_gives_a_line_instead(
    engine: StreamingVLM, folder: Path
) -> None:
    (folder / 'torn.mp4').write_bytes((folder / 'a.mp4').read_bytes()[:3000])
    rows = [row(video='torn.mp4'), row(start=2.0, end=15.0), row(start=2.0, end=2.5, words=[])]
    file = write_rows(folder / 'rows.jsonl', rows)
    videos = VideoSource(Annotations(str(file)), composer(engine, preset('robot')))
    torn, short, instant = (videos[n] for n in range(3))
    assert 'line 1: video' in torn
    assert 'line 2: [0].content video_end 15 lies behind the end of the video' in short
    assert 'line 3: [0].content video_end leaves no whole round' in instant


def test_videos_may_lie_elsewhere(engine: StreamingVLM, folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'notes').mkdir()
    file = write_rows(tmp_path / 'notes' / 'rows.jsonl', [row()])
    maker = composer(engine, preset('robot'))
    assert len(VideoSource(Annotations(str(file)), maker)) == 0
    assert len(VideoSource(Annotations(str(file), str(folder)), maker)) == 1
