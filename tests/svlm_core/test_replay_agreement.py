# SPDX-License-Identifier: Apache-2.0
"""Agreement of two commentaries, worked out by hand; and references in every form they come in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('rosbags')

from svlm_core.bags.reader import open_bag
from svlm_core.bags.types import CAPTION, SECOND, header, message, time
from svlm_core.bags.writer import BagWriter
from svlm_core.errors import SourceError
from svlm_core.replay.agreement import agreement, words
from svlm_core.replay.references import read_reference
from told import told

NO_BAG = SimpleNamespace(topic=lambda name: None, topics=())


def test_only_rounds_of_both_are_compared() -> None:
    found = agreement({1: 'go', 2: 'stop'}, {0: 'go', 1: 'go'})
    assert (found.rounds, found.words, found.reference_words) == (1, 1, 1)
    nothing = agreement({0: 'go'}, {7: 'go'})
    assert (nothing.rounds, nothing.f1, nothing.exact) == (0, None, None)


def test_words_are_counted_without_case_and_punctuation() -> None:
    assert words("The robot's arm, 3 boxes — GRÖSSE!") == [
        'the',
        "robot's",
        'arm',
        '3',
        'boxes',
        'grösse',
    ]


def test_a_worked_example() -> None:
    said = {0: 'a red box', 1: '', 2: 'it stops', 3: ''}
    reference = {0: 'red box falls', 1: 'it', 2: '', 3: ''}
    found = agreement(said, reference, tolerance=1)
    # 'red' and 'box' match in round 0, 'it' one round off; 'a', 'stops' and 'falls' do not.
    assert (found.words, found.reference_words) == (5, 4)
    assert found.precision == 3 / 5
    assert found.recall == 3 / 4
    assert found.f1 == pytest.approx(2 * 3 / 9)
    assert found.exact == 1 / 4
    assert found.silence == 2 / 4
    assert found.per_round == {0: 4 / 6, 1: 1.0, 2: 1 / 2, 3: None}
    assert agreement(said, reference, tolerance=0).precision == 2 / 5


def test_a_word_is_matched_once() -> None:
    found = agreement({0: 'go go go'}, {0: 'go'})
    assert (found.precision, found.recall) == (1 / 3, 1.0)


def test_the_nearest_word_does_not_rob_a_later_one() -> None:
    found = agreement({0: '', 1: 'go', 2: 'go', 3: ''}, {0: 'go', 1: '', 2: '', 3: 'go'})
    assert found.f1 == 1.0


TEXTS = st.dictionaries(
    st.integers(0, 12), st.lists(st.sampled_from('ab'), max_size=3).map(' '.join), max_size=8
)


@given(TEXTS, TEXTS, st.integers(0, 3))
def test_agreement_is_symmetric_and_whole_with_itself(
    one: dict[int, str], other: dict[int, str], tolerance: int
) -> None:
    there, back = agreement(one, other, tolerance), agreement(other, one, tolerance)
    assert (there.precision, there.recall, there.f1) == (back.recall, back.precision, back.f1)
    same = agreement(one, one, tolerance)
    assert same.exact in (1.0, None)
    assert same.f1 in (1.0, None)


# References

VTT = """WEBVTT

NOTE made by hand

00:00.000 --> 00:01.000
A <b>red</b> box &amp; a cart

first
01:00:02.000 --> 01:00:04.000 align:start
one two
three four
"""
SRT = """1
00:00:00,000 --> 00:00:01,000
hello

2
00:00:02,500 --> 00:00:03,500
x < y
"""


def test_subtitles_count_from_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / 'a.vtt').write_text(VTT)
    reference = read_reference(str(tmp_path / 'a.vtt'), NO_BAG)
    texts = reference.texts(1.7e9, 1.0, {0, 1, 3602, 3603})
    assert texts == {0: 'A red box & a cart', 1: '', 3602: 'one two', 3603: 'three four'}
    (tmp_path / 'a.srt').write_bytes(SRT.replace('\n', '\r\n').encode())
    reference = read_reference(str(tmp_path / 'a.srt'), NO_BAG)
    assert reference.texts(5.0, 1.0, {0, 1, 2, 3}) == {0: 'hello', 1: '', 2: 'x', 3: '< y'}


def record(start: float, text: str) -> str:
    return told(start, text, 'c', stamp=start, sequence=0, tokens=1).to_json()


@pytest.mark.parametrize('begin', [0.0, 1_700_000_000.25, 3.5])
def test_records_may_keep_the_clock_of_the_bag_or_count_from_zero(
    begin: float, tmp_path: Path
) -> None:
    rows = [record(begin, 'one'), record(begin + 1, ''), record(begin + 3, 'four')]
    (tmp_path / 'a.jsonl').write_text('\n'.join(rows))
    reference = read_reference(str(tmp_path / 'a.jsonl'), NO_BAG)
    origin = begin or 1_700_000_000.25
    assert reference.texts(origin, 1.0, {0, 1, 2, 3}) == {0: 'one', 1: '', 3: 'four'}


def test_a_caption_topic_of_the_bag_is_a_reference(tmp_path: Path) -> None:
    rows = [(0, 'a', False, 0), (0, 'a box', True, 0), (1, '', True, 3), (1, 'yes', True, 1)]
    with BagWriter(tmp_path / 'bag', {'/said': CAPTION}) as bag:
        for number, (second, text, done, kind) in enumerate(rows):
            content = message(
                CAPTION, header=header(1, ''), camera='', window_start=time((7 + second) * SECOND),
                sequence=second, kind=kind, text=text, delta='', done=done, late=False,
                frames_used=2, frames_repeated=0, frames_dropped=0, tokens=1, latency=0.0,
            )  # fmt: skip
            bag.write('/said', content, number)
        bag.finish()
    with open_bag(tmp_path / 'bag') as bag:
        reference = read_reference('/said', bag)
        # Parts of a caption are not the caption, and an answer is no commentary.
        assert reference.texts(7.0, 1.0, {0, 1, 2}) == {0: 'a box', 1: ''}
        with pytest.raises(SourceError, match='it holds /said'):
            read_reference('/other', bag)


def test_references_that_cannot_be_used_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'bad.jsonl').write_text(record(0, 'one') + '\n{"text": 1}\n')
    (tmp_path / 'empty.vtt').write_text('WEBVTT\n\n')
    (tmp_path / 'empty.jsonl').touch()
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / 'noise.srt').write_bytes(b'\xff\xfe\x00\x81')
    for name, reason in (
        ('bad.jsonl', 'line 2'),
        ('empty.vtt', 'holds no captions'),
        ('empty.jsonl', 'holds no captions'),
        ('notes.txt', 'give a .jsonl, .vtt or .srt file'),
        ('noise.srt', 'cannot be read'),
        ('nowhere', 'neither a file nor a topic'),
    ):
        with pytest.raises(SourceError) as caught:
            read_reference(str(tmp_path / name), NO_BAG)
        assert reason in str(caught.value)
        assert '\n' not in str(caught.value)
