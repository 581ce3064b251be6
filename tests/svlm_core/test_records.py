# SPDX-License-Identifier: Apache-2.0
"""The record of a second: one line out, the same record in, and a name for whatever is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.caption import Caption
from svlm_core.errors import OutputError
from svlm_core.records import Record, file_record, kind_of
from svlm_core.video.sampling import Round

RECORD = Record(
    stamp=12.5,
    frame_id='camera',
    camera='/front',
    window_start=12.0,
    sequence=12,
    kind='caption',
    text='A box.\n"Red" 红 —>',
    delta=' —>',
    done=True,
    late=False,
    frames_used=2,
    frames_repeated=0,
    frames_dropped=22,
    tokens=7,
    latency=None,
)

times = st.floats(allow_nan=False, allow_infinity=False)


@given(st.text(), times, st.none() | times, st.integers(0, 2**63), st.booleans())
def test_every_record_comes_back_from_one_line(text, stamp, latency, number, flag):
    record = replace(
        RECORD, text=text, stamp=stamp, latency=latency, sequence=number, late=flag, kind='alert'
    )
    line = record.to_json()
    assert '\n' not in line
    assert Record.from_json(line) == record


def test_the_words_can_be_read_in_the_file():
    assert '红' in RECORD.to_json()


def test_the_fields_are_those_of_the_message():
    message = Path(__file__).parents[2] / 'msg' / 'Caption.msg'
    names = re.findall(r'^[\w/]+ ([a-z_]+)\s*#', message.read_text(), re.MULTILINE)
    expected = ['stamp', 'frame_id', *names[1:]]  # the header, spelled out
    assert names[0] == 'header'
    assert [spec.name for spec in fields(Record)] == expected


def test_a_second_without_words_is_silence():
    assert kind_of('') == 'silence'
    assert kind_of('a') == 'caption'


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'mood': 'good'}, 'unknown field mood'),
        ({'stamp': None}, 'field stamp cannot be None'),
        ({'stamp': '12'}, "field stamp cannot be '12'"),
        ({'sequence': 1.5}, 'field sequence cannot be 1.5'),
        ({'sequence': True}, 'field sequence cannot be True'),
        ({'done': 1}, 'field done cannot be 1'),
        ({'kind': 'song'}, "field kind cannot be 'song'"),
        ({'kind': ['caption']}, 'field kind cannot be'),
    ],
)
def test_a_wrong_field_is_named(change, complaint):
    row = json.loads(RECORD.to_json()) | change
    with pytest.raises(OutputError, match=complaint):
        Record.from_json(json.dumps(row))


def test_a_missing_field_is_named():
    row = json.loads(RECORD.to_json())
    del row['delta'], row['camera']
    with pytest.raises(OutputError, match='missing field camera, delta'):
        Record.from_json(json.dumps(row))


@pytest.mark.parametrize('line', ['', '{"stamp": 1', '[1, 2]', '7'])
def test_what_is_no_record_is_said_to_be_none(line):
    with pytest.raises(OutputError, match='not a caption record'):
        Record.from_json(line)


def test_a_number_that_is_none_is_not_written():
    with pytest.raises(OutputError, match='record 12'):
        replace(RECORD, latency=float('nan')).to_json()


@pytest.mark.parametrize(('text', 'kind'), [('A cat.', 'caption'), ('', 'silence')])
def test_a_caption_of_a_file_becomes_a_record(text, kind):
    caption = Caption(text, 3.0, 4.0, (5, 6, 7), 'end', held=100, seconds={'decode': 0.1})
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    shown = Round(3.0, 4.0, 3.5, frames, used=2, repeated=1, dropped=5)
    record = file_record(caption, shown, 3, 'clip.mp4')
    assert (record.kind, record.text, record.delta) == (kind, text, text)
    assert (record.window_start, record.stamp, record.sequence) == (3.0, 3.5, 3)
    assert (record.frames_used, record.frames_repeated, record.frames_dropped) == (2, 1, 5)
    assert (record.tokens, record.camera, record.latency) == (3, 'clip.mp4', None)
    assert record.done
    assert not record.late
