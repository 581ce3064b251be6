# SPDX-License-Identifier: Apache-2.0
"""Caption files that grow while a stream runs: WebVTT, SubRip, and JSON Lines.

Each record is appended in one write and brought to the disk before the next: whatever kills the
process, every finished record can be read. A file of the same name is replaced at opening.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from svlm_core.errors import OutputError
from svlm_core.records import Record


class Writer(Protocol):
    """Takes the finished records of a stream, in order. Methods raise OutputError."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class LiveFile:
    """A text file that is safe on the disk after each `append`."""

    def __init__(self, path: str | Path, head: str = '') -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open('wb', buffering=0)
        except OSError as error:
            raise self._failure(error) from error
        # A pipe or /dev/stdout has no disk to be brought to.
        self._on_disk = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self.append(head)

    def append(self, text: str) -> None:
        """Add `text` and wait until it is on the disk."""
        data = memoryview(text.encode('utf-8', errors='replace'))
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
            if self._on_disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; what was written is on the disk already."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f'{self.path} cannot be written: {error.strerror}')


class JsonlWriter(LiveFile):
    """One JSON object a line and second, silent seconds included."""

    def write(self, record: Record) -> None:
        self.append(f'{record.to_json()}\n')


class VttWriter(LiveFile):
    """WebVTT cues of `seconds` each; silent seconds leave no cue. `note` is a comment on top."""

    def __init__(self, path: str | Path, seconds: float = 1.0, note: str = '') -> None:
        self._seconds = seconds
        super().__init__(path, 'WEBVTT\n\n' + (f'NOTE {_vtt(note)}\n\n' if note else ''))

    def write(self, record: Record) -> None:
        if text := _vtt(record.text):
            start, end = record.window_start, record.window_start + self._seconds
            self.append(f'{_clock(start, ".")} --> {_clock(end, ".")}\n{text}\n\n')


class SrtWriter(LiveFile):
    """SubRip cues of `seconds` each, numbered from 1; silent seconds leave no cue."""

    def __init__(self, path: str | Path, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._cues = 0
        super().__init__(path)

    def write(self, record: Record) -> None:
        # The format has no escapes; an arrow in the text would look like a time line.
        if text := _lines(record.text).replace('-->', '->'):
            self._cues += 1
            start, end = record.window_start, record.window_start + self._seconds
            self.append(f'{self._cues}\n{_clock(start, ",")} --> {_clock(end, ",")}\n{text}\n\n')


def _clock(seconds: float, point: str) -> str:
    """hours:minutes:seconds with milliseconds behind `point`; both formats begin at 0."""
    total = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f'{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}'


def _vtt(text: str) -> str:
    """Escape what WebVTT would take for a tag, an entity, or the arrow of a time line."""
    return _lines(text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def _lines(text: str) -> str:
    """Drop empty lines, which would end a cue, and the characters that no file may hold."""
    lines = (line.strip() for line in text.replace('\0', '').splitlines())
    return '\n'.join(line for line in lines if line)
