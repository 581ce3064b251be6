# SPDX-License-Identifier: Apache-2.0
"""Every answer of a run, a line each: what is in its files is not asked again.

A shard adds to a file of its own, answers.2-of-4.jsonl, until those of all shards are together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from svlm_core.curation.manifest import Shard, parts
from svlm_core.errors import OutputError
from svlm_core.evaluation.vqa.protocol import Reading
from svlm_core.timeline import as_line, write_lines

FILE = 'answers.jsonl'

Key = tuple[str, str]  # which question, and who answers


@dataclass(frozen=True)
class Answered:
    """What somebody answered to a question, and all that is needed to see why it counts so.

    `by` is who: streaming, offline, ... `run` is the digest of the identity. Where the question
    could not be asked there is no `response` but an `error`. `polls` are exchanges before it.
    """

    id: str
    by: str
    task: str
    video: str
    question: str
    options: Sequence[str]
    answer: str | None
    response: str | None
    official: Reading
    strict: Reading
    run: str
    error: str = ''
    asked: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    pixels: Sequence[int] = ()
    seen: Sequence[float] = ()
    tokens: int = 0
    polls: Sequence[Sequence[Any]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, line: str) -> Answered:
        """The answer of a line. Raises ValueError or TypeError for a line that is none."""
        values = json.loads(line)
        read = {name: Reading(**values[name]) for name in ('official', 'strict')}
        return cls(**{**values, **read})


class AnswerFile:
    """The answers in a folder, of every shard; new ones go to the file of this one.

    Those that failed are to be asked again: they, and a line that was cut off, are forgotten.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self._folder, self._path = folder, folder / (shard or Shard()).part(FILE)
        found = self._found()
        self.answers: dict[Key, Answered] = {k: a for k, a in found.items() if not a.error}
        if self._path.exists():
            write_lines(self._path, [asdict(a) for a in read_answers(self._path) if not a.error])

    def add(self, answer: Answered) -> None:
        """Write an answer; it stays, whatever happens next. Raises OutputError."""
        try:
            with self._path.open('a', encoding='utf-8') as file:
                file.write(as_line(asdict(answer)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f'{self._path} cannot be written: {error.strerror}') from error
        self.answers[answer.id, answer.by] = answer

    def together(self, order: Sequence[Key]) -> list[Answered]:
        """Put the answers of all shards into one file, in this order; none while some are due."""
        seen = {part: _state(part) for part in parts(self._folder, FILE)}
        found = self._found()
        if not all(key in found for key in order):
            return []
        answers = [found[key] for key in order]
        write_lines(self._folder / FILE, map(asdict, answers))
        for part, state in seen.items():
            if _state(part) == state:  # else another shard is at it, and will come by here
                part.unlink(missing_ok=True)
        return answers

    def _found(self) -> dict[Key, Answered]:
        """What is in the files now; an answer goes before a failure.

        The file of all is read last: a shard that has just written it removes those of the parts.
        """
        found: dict[Key, Answered] = {}
        for path in (*parts(self._folder, FILE), self._folder / FILE):
            for answer in read_answers(path):
                key = answer.id, answer.by
                if key not in found or not answer.error:
                    found[key] = answer
        return found


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written: its size and time; None where it is not there."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_size, told.st_mtime_ns


def read_answers(path: Path) -> Iterator[Answered]:
    """The answers in a file, those that failed included; none where it is not there.

    Raises OutputError.
    """
    try:
        lines = path.read_text(encoding='utf-8', errors='replace').split('\n')
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f'{path} cannot be read: {error.strerror}') from error
    for number, line in enumerate(lines[:-1], 1):  # behind the last line feed: cut off
        try:
            yield Answered.from_json(line)
        except (ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f'{path} line {number} is no answer: {error}; remove the line'
            ) from error
