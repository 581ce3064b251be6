# SPDX-License-Identifier: Apache-2.0
"""What was said in a video, as speech recognition gives it: segments of words with times.

Transcripts of whisperX, faster-whisper and LiveCC are read; nothing is mended here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError
from svlm_core.shapes import Listed, Misfit, Number, OrNone, Table, Text
from svlm_core.timeline import lines_of


@dataclass(frozen=True)
class Word:
    """A word as recognised; None where the aligner gave no time, or nothing of how sure it is."""

    start: float | None
    end: float | None
    text: str
    sure: float | None = None


@dataclass(frozen=True)
class Segment:
    """Words in a row; `start` and `end` are None where the source has no segments."""

    start: float | None
    end: float | None
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Transcript:
    """All that was said in a video."""

    language: str
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        """The transcript as a stage stores it."""
        return {
            'language': self.language,
            'segments': [
                {
                    'start': segment.start,
                    'end': segment.end,
                    'words': [[w.start, w.end, w.text, w.sure] for w in segment.words],
                }
                for segment in self.segments
            ],
        }

    @classmethod
    def from_json(cls, content: Any) -> Transcript:
        """The transcript that `to_json` gave."""
        return cls(
            content['language'],
            tuple(
                Segment(s['start'], s['end'], tuple(Word(*word) for word in s['words']))
                for s in content['segments']
            ),
        )


_WHISPERX = Table(
    {
        'segments': Listed(
            Table(
                {'start': Number(), 'end': Number()},
                {
                    'text': Text(),
                    'words': Listed(
                        Table(
                            {'word': Text()},
                            {
                                'start': OrNone(Number()),
                                'end': OrNone(Number()),
                                'score': OrNone(Number()),
                                'probability': OrNone(Number()),
                            },
                        )
                    ),
                },
            )
        )
    },
    {'language': Text()},
)


class Recorded:
    """Transcripts that were made elsewhere.

    `source` is a folder with a JSON file for each video, of the same name (`a.mp4`: `a.json`), or
    a file of JSON lines `{"video", "content": [[start, end, word], ...]}`.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._rows = dict(_rows(source)) if source.is_file() else {}
        if not source.exists():
            raise SourceError(f'{source}: no such file or folder of transcripts')

    def content(self, name: str) -> Any:
        """The JSON about a video. Raises SourceError where there is none."""
        if self._source.is_file():
            if name not in self._rows:
                raise SourceError(f'{self._source.name} has no row for {name}')
            return self._rows[name]
        path = Path(name).with_suffix('.json')
        try:
            return json.loads((self._source / path).read_bytes())
        except OSError as error:
            raise SourceError(f'its words, {path}, cannot be read: {error.strerror}') from error
        except ValueError as error:
            raise SourceError(f'its words, {path}, are no JSON: {error}') from error

    def transcript(self, name: str) -> Transcript:
        """What was said in a video. Raises SourceError, naming the field that is wrong."""
        try:
            return read_transcript(self.content(name))
        except Misfit as error:
            raise SourceError(f'the transcript of {name}: {error}') from error


def read_transcript(content: Any) -> Transcript:
    """A transcript of whisperX, faster-whisper or LiveCC. Raises Misfit."""
    if isinstance(content, dict) and 'content' in content:
        content = content['content']
    if isinstance(content, list):
        return Transcript('', (Segment(None, None, tuple(_triples(content))),))
    _WHISPERX.check(content)
    segments = tuple(_segment(segment) for segment in content['segments'])
    return Transcript(content.get('language', ''), segments)


def _segment(content: Any) -> Segment:
    """A segment of whisperX; one that was not aligned has a text and no words."""
    start, end = float(content['start']), float(content['end'])
    plain = [{'word': word} for word in content.get('text', '').split()]
    words = (
        Word(
            word.get('start'),
            word.get('end'),
            word['word'].strip(),
            word.get('score', word.get('probability')),
        )
        for word in content.get('words') or plain
    )
    return Segment(start, end, tuple(words))


def _triples(content: list[Any]) -> Iterator[Word]:
    """Words of LiveCC; that some end before they start is for alignment to see."""
    for number, word in enumerate(content):
        field = f'content[{number}]'
        if not isinstance(word, list) or len(word) != 3:
            raise Misfit(field, 'is not [start, end, word]')
        for value in word[:2]:
            Number().check(value, field)
        Text().check(word[2], field)
        yield Word(float(word[0]), float(word[1]), word[2].strip())


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    shape = Table({'video': Text(filled=True)})
    try:
        lines = lines_of(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'{path} cannot be read: {error}') from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            shape.check(row)
        except (Misfit, ValueError) as error:
            raise SourceError(f'{path} line {number}: {error}') from error
        yield row['video'], row
