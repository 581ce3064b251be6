# SPDX-License-Identifier: Apache-2.0
"""Every answer of a run, a line each: what is in the file is not asked again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from svlm_core.errors import OutputError
from svlm_core.evaluation.vqa.protocol import Reading
from svlm_core.timeline import as_line, write_lines

FILE = 'answers.jsonl'


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
    """The answers in a folder. Those that failed, and a line that was cut off, are forgotten."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.answers: dict[tuple[str, str], Answered] = {}
        if self._path.exists():
            kept = [answer for answer in self._read() if not answer.error]
            self.answers = {(a.id, a.by): a for a in kept}
            self._write(kept)

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

    def sort(self, order: Sequence[tuple[str, str]]) -> list[Answered]:
        """Bring the file into this order, which after a broken run it has not; the answers."""
        answers = [self.answers[key] for key in order]
        self._write(answers)
        return answers

    def _read(self) -> Iterator[Answered]:
        try:
            lines = self._path.read_text(encoding='utf-8', errors='replace').split('\n')
        except OSError as error:
            raise OutputError(f'{self._path} cannot be read: {error.strerror}') from error
        for number, line in enumerate(lines[:-1], 1):  # behind the last line feed: cut off
            try:
                yield Answered.from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise OutputError(
                    f'{self._path} line {number} is no answer: {error}; remove the line'
                ) from error

    def _write(self, answers: Sequence[Answered]) -> None:
        write_lines(self._path, map(asdict, answers))
