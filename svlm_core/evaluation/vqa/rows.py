# SPDX-License-Identifier: Apache-2.0
"""Rows of an official file, read field by field; what is wrong is told by file, row and field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.errors import SettingsError, SourceError
from svlm_core.shapes import Listed, Misfit, Number, Shape, Table, Text
from svlm_core.timeline import lines_of


class BadField(SourceError):
    """A field of an official file that is not as published."""


@dataclass(frozen=True)
class Row:
    """One object of a file; `place` says where it stands. Getters raise BadField."""

    file: Path
    place: str
    values: Mapping[str, Any]

    def bad(self, name: str, reason: str) -> BadField:
        return BadField(f'{self.file} {self.place}: {name} {reason}')

    def text(self, name: str) -> str:
        """A field that holds text which is not empty."""
        return str(self._get(name, Text(filled=True)))

    def number(self, name: str) -> float:
        """A field that holds a number of at least 0."""
        return float(self._get(name, Number(low=0)))

    def whole(self, name: str) -> int:
        """A field that holds a whole number of at least 0, which parquet may have as 3.0."""
        value = self.number(name)
        if value != int(value):
            raise self.bad(name, f'is {value:g}, not a whole number')
        return int(value)

    def one_of(self, name: str, choices: Iterable[str]) -> str:
        """A field that holds one of these words."""
        return str(self._get(name, Text(tuple(choices))))

    def texts(self, name: str, least: int = 2) -> tuple[str, ...]:
        """A field that holds a list of texts."""
        return tuple(self._get(name, Listed(Text(), least)))

    def clock(self, name: str) -> int:
        """A field that holds a time as hours:minutes:seconds, in seconds."""
        parts = self.text(name).split(':')
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            raise self.bad(name, f'is {self.values[name]!r}, not HH:MM:SS')
        hours, minutes, seconds = map(int, parts)
        return hours * 3600 + minutes * 60 + seconds

    def rows(self, name: str) -> Iterator[Row]:
        """A field that holds a list of objects."""
        for number, item in enumerate(self._get(name, Listed(Table({}), least=1))):
            yield Row(self.file, f'{self.place} {name}[{number}]', item)

    def rest(self, *used: str) -> dict[str, str]:
        """All other fields that hold a text or a number, as text."""
        kept = {n: v for n, v in self.values.items() if n not in used}
        return {n: str(v) for n, v in kept.items() if isinstance(v, str | int | float)}

    def _get(self, name: str, shape: Shape) -> Any:
        try:
            Table({name: shape}).check(self.values)
        except Misfit as error:
            raise self.bad(error.field, error.reason) from error
        return self.values[name]


def read_rows(path: Path) -> list[Row]:
    """The rows of a .json, .jsonl or .parquet file; lists within lists are one list.

    Raises SourceError for a file that is none, SettingsError where parquet cannot be read.
    """
    try:
        if path.suffix == '.parquet':
            content = _parquet(path)
        elif path.suffix == '.jsonl':
            lines = lines_of(path.read_text(encoding='utf-8'))
            content = [json.loads(line) for line in lines if line.strip()]
        else:
            content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise SourceError(f'{path} is no JSON: {error}') from error
    found = [Row(path, f'row {place}', value) for place, value in _flat(content, '')]
    if not found:
        raise SourceError(f'{path} holds no rows')
    for row in found:
        try:
            Table({}).check(row.values)
        except Misfit as error:
            raise SourceError(f'{path} {row.place}: {error}') from error
    return found


def first_of(folder: Path, *names: str) -> Path:
    """The first of these files that exists. Raises SourceError where none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f'{folder} has none of {", ".join(names)}: give the folder of the data set')


def _flat(content: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, list):
        yield place or '0', content
        return
    for number, item in enumerate(content):
        yield from _flat(item, f'{place}.{number}' if place else str(number))


def _parquet(path: Path) -> list[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise SettingsError(f"{path} needs pyarrow: pip install 'svlm[eval]'") from error
    try:
        return parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise SourceError(f'{path} is no parquet file: {error}') from error
