# SPDX-License-Identifier: Apache-2.0
"""Videos with words, as LiveCC and Inf-Stream-Train publish them: one JSON row per line.

    [{"role": "user", "content": [
        {"type": "video", "video": "a.mp4", "video_start": 120.0, "video_end": 144.0},
        {"type": "text", "text": "", "previous": "Welcome back."}]},
     {"role": "assistant", "content": [
        {"type": "text_stream", "text_stream": [[120.3, 120.6, "Kick"], [120.6, 120.9, "off."]]}]}]

Beside `text_stream` some rows of Inf-Stream-Train have `qa_stream`, questions within the row as
`[[0, 125.0, "Who has the ball?", "Smith."]]`: anything, the second at which it is asked, question
and answer. They are checked, not learnt.

An index of where lines begin is the last line of the file (LiveCC) or a file beside it, whose
name ends in `_seeks.jsonl` (Inf-Stream-Train); where there is none it is made while reading.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError

LONGEST = 240  # seconds; published training takes at most 480 frames of a video
SLACK = 1e-6


class BadRow(SourceError):
    """A row that cannot be learnt from; its text names file, line and field."""

    def __init__(self, file: Path, line: int, field: str, reason: str) -> None:
        super().__init__(f'{file} line {line}: {field} {reason}')


@dataclass(frozen=True)
class Row:
    """Seconds `start` to `end` of a video, and `words`, each (start, end, word), said in it.

    `previous` is what was said before, `query` what was asked; both may be empty.
    """

    video: Path
    start: float
    end: float
    query: str
    previous: str
    words: tuple[tuple[float, float, str], ...]

    def said(self, seconds: float) -> list[str]:
        """What is said in each round of `seconds`: a word belongs to the round in which it ends.

        A part of a round at the end is left out, with its words.
        """
        rounds: list[list[str]] = [
            [] for _ in range(int((self.end - self.start) / seconds + SLACK))
        ]
        for _, end, word in self.words:
            number = max(0, math.ceil((end - self.start) / seconds - SLACK) - 1)
            if number < len(rounds):
                rounds[number].append(word)
        return [' '.join(words) for words in rounds]


class AnnotationFile:
    """The rows of one file, by number.

    `videos` is where relative names of videos begin; None is the folder of the file. Raises
    SourceError when the file cannot be read or its index does not fit it.
    """

    def __init__(self, path: Path | str, videos: Path | str | None = None) -> None:
        self.path = Path(path)
        self._videos = self.path.parent if videos is None else Path(videos)
        try:
            self._offsets = _offsets(self.path)
        except OSError as error:
            raise SourceError(f'{error.filename} cannot be read: {error.strerror}') from error

    def __len__(self) -> int:
        return len(self._offsets)

    def row(self, number: int) -> Row:
        """The row `number` from 0. Raises BadRow where it is not as it should be."""
        with self.path.open('rb') as file:
            file.seek(self._offsets[number])
            line = file.readline()
        check = _Check(self.path, number + 1)
        try:
            content = json.loads(line)
        except ValueError as error:
            raise check.bad('the row', f'is no JSON: {error}') from error
        row = _row(content, check, self._videos)
        try:
            size = row.video.stat().st_size
        except OSError as error:
            raise check.bad(VIDEO, f'{row.video} cannot be read: {error.strerror}') from error
        if not size:
            raise check.bad(VIDEO, f'{row.video} is empty (0 bytes)')
        return row

    def check(self) -> Iterator[BadRow | None]:
        """Row by row, what is wrong with it; None where it is fine."""
        for number in range(len(self)):
            try:
                self.row(number)
            except BadRow as error:
                yield error
            else:
                yield None


VIDEO = '[0].content video'


@dataclass(frozen=True)
class _Check:
    """Takes values out of a row, and complains of them by name."""

    file: Path
    line: int

    def bad(self, field: str, reason: str) -> BadRow:
        return BadRow(self.file, self.line, field, reason)

    def a(self, kind: type | tuple[type, ...], value: Any, field: str, what: str) -> Any:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.bad(field, f'is {json.dumps(value)[:60]}, not {what}')
        return value

    def seconds(self, value: Any, field: str) -> float:
        number = float(self.a((int, float), value, field, 'a number of seconds'))
        if not math.isfinite(number):
            raise self.bad(field, f'is {number}, not a number of seconds')
        return number

    def message(self, row: list, number: int, role: str) -> list[dict]:
        """The parts of a message of the row."""
        message = self.a(dict, row[number], f'[{number}]', 'a message')
        if message.get('role') != role:
            raise self.bad(f'[{number}].role', f'is {message.get("role")!r}, not {role!r}')
        parts = self.a(list, message.get('content'), f'[{number}].content', 'a list')
        for place, part in enumerate(parts):
            self.a(dict, part, f'[{number}].content[{place}]', 'an object')
        return parts

    def part(self, parts: list[dict], number: int, kind: str) -> dict:
        """The part of a message that has this type."""
        for part in parts:
            if part.get('type') == kind:
                return part
        raise self.bad(f'[{number}].content', f'has no part of type {kind!r}')


def _row(content: Any, check: _Check, videos: Path) -> Row:
    """A row from its JSON."""
    messages = check.a(list, content, 'the row', 'a list of two messages')
    if len(messages) != 2:
        raise check.bad('the row', f'has {len(messages)} messages, not two')
    asked, answered = check.message(messages, 0, 'user'), check.message(messages, 1, 'assistant')
    video = check.part(asked, 0, 'video')
    name = check.a(str, video.get('video'), VIDEO, 'the name of a file')
    start = check.seconds(video.get('video_start'), '[0].content video_start')
    end = check.seconds(video.get('video_end'), '[0].content video_end')
    if not 0 <= start < end or end - start > LONGEST:
        raise check.bad(
            '[0].content video_end',
            f'{end:g} must be after video_start {start:g}, by at most {LONGEST} s',
        )
    text = next((part for part in asked if part.get('type') == 'text'), {})
    stream = check.part(answered, 1, 'text_stream')
    said = check.a(list, stream.get('text_stream'), '[1].content text_stream', 'a list')
    _check_questions(stream.get('qa_stream', []), check)
    return Row(
        video=videos / name,
        start=start,
        end=end,
        query=check.a(str, text.get('text') or '', '[0].content text', 'text'),
        previous=check.a(str, text.get('previous') or '', '[0].content previous', 'text'),
        words=tuple(_word(w, check, n, start, end) for n, w in enumerate(said)),
    )


def _word(
    content: Any, check: _Check, number: int, low: float, high: float
) -> tuple[float, float, str]:
    field = f'[1].content text_stream[{number}]'
    if not isinstance(content, list) or len(content) != 3:
        raise check.bad(field, 'is not [start, end, word]')
    start, end = (check.seconds(value, field) for value in content[:2])
    word = check.a(str, content[2], field, 'a word')
    if start > end:
        raise check.bad(field, f'starts at {start:g} s, after its end at {end:g} s')
    if end < low or start > high:
        raise check.bad(field, f'{start:g} to {end:g} s lies outside of {low:g} to {high:g} s')
    return start, end, word


def _check_questions(content: Any, check: _Check) -> None:
    """Raise BadRow for questions of another shape; what the first item is nobody has told."""
    field = '[1].content qa_stream'
    for number, item in enumerate(check.a(list, content, field, 'a list')):
        place = f'{field}[{number}]'
        if not isinstance(item, list) or len(item) != 4:
            raise check.bad(place, 'is not [..., second, question, answer]')
        check.seconds(item[1], f'{place}[1]')
        for part, what in ((2, 'a question'), (3, 'an answer')):
            check.a(str, item[part], f'{place}[{part}]', what)


def _offsets(path: Path) -> Sequence[int]:
    """Where every row begins. Raises SourceError for an index that does not fit the file."""
    if not path.stat().st_size:
        raise SourceError(f'{path} is empty (0 bytes)')
    beside = path.with_name(path.stem.removesuffix('_with_seeks') + '_seeks.jsonl')
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = len(content)
        if beside.is_file():
            return _fitting(_index(beside.read_bytes()), content, end, beside, path)
        last = content.rfind(b'\n', 0, end - 1) + 1
        index = _index(content[last:end])
        if index is not None:
            return _fitting(index, content, last, path, path)
        return list(_lines(content, end))


def _lines(content: mmap.mmap, end: int) -> Iterator[int]:
    """Where every line begins that is not blank."""
    start = 0
    while start < end:
        stop = content.find(b'\n', start, end)
        stop = end if stop < 0 else stop
        if content[start:stop].strip():
            yield start
        start = stop + 1


def _index(line: bytes) -> list[int] | None:
    """The index in a line, if it holds one."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    fits = isinstance(found, list) and found and all(type(place) is int for place in found)
    return found if fits else None


def _fitting(
    index: list[int] | None, content: mmap.mmap, end: int, holder: Path, path: Path
) -> list[int]:
    """An index, if it names the beginning of every line up to `end`."""
    if index is None or index != list(_lines(content, end)):
        raise SourceError(
            f'the index in {holder} does not fit the lines of {path}: remove it, and it is made '
            'while reading'
        )
    return index
