# SPDX-License-Identifier: Apache-2.0
"""A line of JSON ends at a line feed: other breaks of Unicode may stand in what somebody said."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from svlm_core.curation.manifest import Entry, Manifest
from svlm_core.curation.transcripts import Recorded, Word
from svlm_core.curation.validation import validate
from svlm_core.evaluation.kept import keep, read_kept
from svlm_core.evaluation.quiz import Answered
from svlm_core.evaluation.vqa.rows import read_rows
from svlm_core.replay.references import read_reference
from svlm_core.replay.report import FORMAT, JSONL, REPORT, read_other
from svlm_core.timeline import lines_of, write_lines
from told import told

# Line separator, paragraph separator, next line: JSON does not escape them as it does controls.
BROKEN = 'one\u2028two\u2029three\x85four\x0b\x0c\x1c\x1d\x1efive\r\nsix'
CLIP = {'video': 'a.mp4', 'title': BROKEN, 'content': [[1.0, 1.4, BROKEN]], 'preasr': BROKEN}


def records(path: Path) -> Path:
    path.write_text(''.join(f'{told(n, BROKEN).to_json()}\n' for n in range(3)), encoding='utf-8')
    return path


@pytest.mark.parametrize(
    ('text', 'lines'),
    [('', []), ('a', ['a']), ('a\n', ['a']), ('a\n\nb\n', ['a', '', 'b']), ('\n', [''])],
)
def test_a_line_feed_ends_a_line_and_the_last_may_lack_it(text, lines):
    assert lines_of(text) == lines


def test_rows_that_were_written_are_read(tmp_path):
    path = write_lines(tmp_path / 'rows.jsonl', [CLIP, CLIP])
    assert [json.loads(line) for line in lines_of(path.read_text('utf-8'))] == [CLIP, CLIP]
    assert [row.text('title') for row in read_rows(path)] == [BROKEN] * 2


def test_they_are_valid_rows_and_a_fault_is_told_of_its_own_line(tmp_path):
    path = write_lines(tmp_path / 'clips.jsonl', [CLIP, {**CLIP, 'video': 3}])
    found = validate(path)
    assert (found.format, found.rows, len(found.faults)) == ('clips', 2, 1)
    assert 'clips.jsonl line 2: video' in found.faults[0]
    array = tmp_path / 'clips.json'
    array.write_text(json.dumps([CLIP, CLIP], ensure_ascii=False, indent=1), encoding='utf-8')
    assert validate(array).rows == 2


def test_transcripts_have_them(tmp_path):
    path = write_lines(tmp_path / 'words.jsonl', [{**CLIP, 'video': name} for name in 'ab'])
    [segment] = Recorded(path).transcript('b').segments
    assert segment.words == (Word(1.0, 1.4, BROKEN),)


def test_a_manifest_has_them_in_names_and_reasons(tmp_path):
    entry = Entry('s', 'c', 'i', 'o', BROKEN, {})
    manifest = Manifest(tmp_path)
    for name in ('a.mp4', f'{BROKEN}.mp4'):
        manifest.record(name, 'probe', entry)
    again = Manifest(tmp_path)
    assert [again[name]['probe'] for name in ('a.mp4', f'{BROKEN}.mp4')] == [entry, entry]


def test_what_came_of_an_exam_has_them(tmp_path):
    said = [Answered(n, 'colour', 'red', BROKEN, False) for n in range(2)]
    keep(tmp_path / 'quiz.jsonl', said)
    assert read_kept(tmp_path / 'quiz.jsonl') == said


def test_captions_to_compare_with_have_them(tmp_path):
    path = records(tmp_path / JSONL)
    no_bag: Any = SimpleNamespace(topics=())
    assert [cue.text for cue in read_reference(str(path), no_bag).cues] == [BROKEN] * 3
    (tmp_path / REPORT).write_text(json.dumps({'format': FORMAT}))
    assert list(read_other(tmp_path).texts.values()) == [BROKEN] * 3
