# SPDX-License-Identifier: Apache-2.0
"""What a piece of JSON must look like: said once, checked here, and sent to a model as its schema.

SEGMENT = Table({'start': Number(low=0), 'text': Text(), 'words': Listed(Text())})
SEGMENT.check(value)    # raises Misfit, which names the field: `words[3] is 7, not text`
SEGMENT.schema()        # the same as JSON Schema
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

THE_VALUE = 'the value'


class Misfit(ValueError):
    """A value that is not as it must be: which field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f'{field or THE_VALUE} {reason}')
        self.field = field or THE_VALUE
        self.reason = reason


class Shape(Protocol):
    """`check` raises Misfit for a value of another shape; `schema` is the shape as JSON Schema."""

    def check(self, value: Any, field: str = '') -> None: ...

    def schema(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Text:
    """Text; one of `choices`, like `pattern` where these are given, not empty where `filled`."""

    choices: tuple[str, ...] = ()
    filled: bool = False
    pattern: str = ''

    def check(self, value: Any, field: str = '') -> None:
        if not isinstance(value, str):
            raise Misfit(field, f'is {_short(value)}, not text')
        if self.choices and value not in self.choices:
            raise Misfit(field, f'is {_short(value)}, not one of {", ".join(self.choices)}')
        if self.filled and not value.strip():
            raise Misfit(field, 'is empty')
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise Misfit(field, f'is {_short(value)}, which is not written as it must be')

    def schema(self) -> dict[str, Any]:
        return {'type': 'string', 'enum': [*self.choices]} if self.choices else {'type': 'string'}


@dataclass(frozen=True)
class Number:
    """A finite number, of at least `low`; a `whole` one has no fraction."""

    low: float = -math.inf
    whole: bool = False

    def check(self, value: Any, field: str = '') -> None:
        kinds = (int,) if self.whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            raise Misfit(field, f'is {_short(value)}, not a {"whole " * self.whole}number')
        if value < self.low:
            raise Misfit(field, f'is {value:g}, less than {self.low:g}')

    def schema(self) -> dict[str, Any]:
        return {'type': 'integer' if self.whole else 'number'}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, field: str = '') -> None:
        if not isinstance(value, bool):
            raise Misfit(field, f'is {_short(value)}, not true or false')

    def schema(self) -> dict[str, Any]:
        return {'type': 'boolean'}


@dataclass(frozen=True)
class Listed:
    """A list of any length from `least` on, all of one shape."""

    of: Shape
    least: int = 0

    def check(self, value: Any, field: str = '') -> None:
        if not isinstance(value, list):
            raise Misfit(field, f'is {_short(value)}, not a list')
        if len(value) < self.least:
            raise Misfit(field, f'has {len(value)} items, fewer than {self.least}')
        for number, item in enumerate(value):
            self.of.check(item, f'{field}[{number}]')

    def schema(self) -> dict[str, Any]:
        return {'type': 'array', 'items': self.of.schema()}


@dataclass(frozen=True)
class Span:
    """[start, end, text] in seconds, with start <= end where that is to be `ordered`."""

    ordered: bool = True

    def check(self, value: Any, field: str = '') -> None:
        if not isinstance(value, list) or len(value) != 3:
            raise Misfit(field, f'is {_short(value)}, not [start, end, text]')
        shapes: tuple[Shape, ...] = (Number(), Number(), Text())
        for place, shape in enumerate(shapes):
            shape.check(value[place], f'{field}[{place}]')
        if self.ordered and value[0] > value[1]:
            raise Misfit(field, f'starts at {value[0]:g} s, after its end at {value[1]:g} s')

    def schema(self) -> dict[str, Any]:
        return {'type': 'array', 'minItems': 3, 'maxItems': 3}


@dataclass(frozen=True)
class Table:
    """An object with these fields, and perhaps some `more`; others are let be unless `closed`.

    A model is always told to give these fields and no others.
    """

    fields: Mapping[str, Shape]
    more: Mapping[str, Shape] = field(default_factory=dict)
    closed: bool = False

    def check(self, value: Any, field: str = '') -> None:
        if not isinstance(value, dict):
            raise Misfit(field, f'is {_short(value)}, not an object')
        for name, shape in (*self.fields.items(), *self.more.items()):
            if name in value:
                shape.check(value[name], f'{field}.{name}' if field else name)
            elif name in self.fields:
                raise Misfit(f'{field}.{name}' if field else name, 'is missing')
        unknown = value.keys() - self.fields.keys() - self.more.keys() if self.closed else ()
        if unknown:
            raise Misfit(field, f'has the unknown field {min(unknown)}')

    def schema(self) -> dict[str, Any]:
        return {
            'type': 'object',
            'properties': {name: shape.schema() for name, shape in self.fields.items()},
            'required': list(self.fields),
            'additionalProperties': False,
        }


@dataclass(frozen=True)
class OrNone:
    """A shape, or null."""

    of: Shape

    def check(self, value: Any, field: str = '') -> None:
        if value is not None:
            self.of.check(value, field)

    def schema(self) -> dict[str, Any]:
        return {'anyOf': [self.of.schema(), {'type': 'null'}]}


@dataclass(frozen=True)
class ByField:
    """An object whose other fields depend on what one of its fields says."""

    name: str
    shapes: Mapping[str, Shape]

    def check(self, value: Any, field: str = '') -> None:
        Table({self.name: Text(tuple(self.shapes))}).check(value, field)
        self.shapes[value[self.name]].check(value, field)

    def schema(self) -> dict[str, Any]:
        return {'anyOf': [shape.schema() for shape in self.shapes.values()]}


@dataclass(frozen=True)
class Either:
    """One of several shapes; what is told of a value is what it lacks for the last one."""

    shapes: tuple[Shape, ...]

    def check(self, value: Any, field: str = '') -> None:
        *others, last = self.shapes
        for shape in others:
            with suppress(Misfit):
                shape.check(value, field)
                return
        last.check(value, field)

    def schema(self) -> dict[str, Any]:
        return {'anyOf': [shape.schema() for shape in self.shapes]}


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]  # parquet has dates, too
