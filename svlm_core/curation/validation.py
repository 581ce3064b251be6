# SPDX-License-Identifier: Apache-2.0
"""Is a file as its format says? Whatever is not is named by file, line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.curation.formats import FORMATS, Format
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.records import Record
from svlm_core.shapes import Misfit
from svlm_core.timeline import lines_of
from svlm_core.training.annotations import AnnotationFile, BadRow

TRAINING, CAPTIONS = 'training rows', 'captions'
NAMES = (TRAINING, CAPTIONS, *dict.fromkeys(of.name for of in FORMATS))

_BETWEEN = re.compile(r'[\s,]*')


@dataclass(frozen=True)
class Findings:
    """What a file is, how many rows it has, and what is wrong, in order of lines."""

    format: str
    rows: int
    faults: tuple[str, ...]


def validate(path: Path, videos: Path | None = None, name: str = '') -> Findings:
    """Check a file, of the format `name`, or of the one that its first row looks like.

    `videos` is where rows of training have their videos; without it that is the file's folder.
    Raises SourceError when it cannot be read, or nobody knows what it is.
    """
    if name and name not in NAMES:
        raise SettingsError(f'--format {name!r} is unknown: choose one of {", ".join(NAMES)}')
    found = name or (TRAINING if _is_training(path) else '')
    if found == TRAINING:
        checks = list(AnnotationFile(path, videos).check())
        return Findings(found, len(checks), tuple(str(fault) for fault in checks if fault))
    faults, count = list[BadRow](), 0
    for line, content in located(path):
        count += 1
        found = found or _recognised(path, content)
        try:
            if isinstance(content, ValueError):
                raise Misfit('the row', f'is no JSON: {content}')
            _check(content, found)
        except Misfit as error:
            faults.append(BadRow(path, line, error.field, error.reason))
        except OutputError as error:
            faults.append(BadRow(path, line, 'the row', f'is {error}'))
    if not count:
        raise SourceError(f'{path} holds no rows')
    return Findings(found, count, tuple(map(str, faults)))


def located(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows of a JSON array or of JSON lines, with the line each begins in.

    A line that is no JSON gives the error in place of a row. Raises SourceError for a file that
    cannot be read, or an array that breaks off.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'{path} cannot be read: {error}') from error
    lines = [(number, line) for number, line in enumerate(lines_of(text), 1) if line.strip()]
    if lines and lines[0][1].lstrip().startswith('[') and not _is_json(lines[0][1]):
        yield from _items(path, text)
    elif len(lines) == 1 and _is_array_of_objects(lines[0][1]):
        yield from ((1, row) for row in json.loads(lines[0][1]))
    else:
        for number, line in lines:
            yield number, _loaded(line)


def _items(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The items of an array that stands on several lines."""
    decoder, place = json.JSONDecoder(), text.index('[') + 1
    while True:
        place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # it matches ''
        if text.startswith(']', place):
            return
        line = text.count('\n', 0, place) + 1
        try:
            item, place = decoder.raw_decode(text, place)
        except ValueError as error:
            raise SourceError(f'{path} line {line}: the list breaks off: {error}') from error
        yield line, item


def _check(content: Any, name: str) -> None:
    """Raise Misfit or OutputError for a row that is not of this format."""
    if name == CAPTIONS:
        Record.from_json(json.dumps(content))
        return
    of = _marked(content, name)
    of.rows.check(content)


def _marked(content: Any, name: str = '') -> Format:
    """The format of a row, by its marks; a row without them is held to what it should be."""
    fields = content.keys() if isinstance(content, dict) else set()
    named = [of for of in FORMATS if name in ('', of.name)]
    return next((of for of in named if fields >= set(of.marks)), named[0])


def _is_training(path: Path) -> bool:
    """Whether the first line is a row of training; such files may be too large to be held."""
    try:
        with path.open('rb') as file:
            content = json.loads(file.readline())
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError:
        return False
    return isinstance(content, list) and any(
        isinstance(message, dict) and 'role' in message for message in content
    )


def _recognised(path: Path, content: Any) -> str:
    """What a file is, by its first row."""
    if isinstance(content, dict):
        if {'stamp', 'window_start', 'sequence'} <= content.keys():
            return CAPTIONS
        if content.keys() >= set((of := _marked(content)).marks):
            return of.name
    raise SourceError(
        f'{path}: its first row is of no known format; name it with --format: {", ".join(NAMES)}'
    )


def _loaded(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return error


def _is_json(line: str) -> bool:
    return not isinstance(_loaded(line), ValueError)


def _is_array_of_objects(line: str) -> bool:
    """Whether a line is a whole file of rows, not one row of training."""
    content = _loaded(line)
    return isinstance(content, list) and all(isinstance(row, dict) for row in content)
