# SPDX-License-Identifier: Apache-2.0
"""What a saved memory says of itself: its header, of which nothing is believed unseen.

Everything here raises ValueError, TypeError or LookupError for what no stream has ever saved.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from svlm_core.rope import Grid
from svlm_core.transcript import Role, Segment, Transcript

LARGEST = 2**53  # whole numbers that every reader of JSON knows exactly
LETTERS = dict(zip(Role, 'SPOTCUMVLARQ', strict=True))
OPENING = re.compile('SP?OT?C')
ROUND = re.compile('UMV?LAR(QAR)?|UVL')  # whole, or what stays of it for its frames

Seconds = tuple[float, float]
Row = tuple[Role, int, int | None, Grid | None, Seconds | None]


@dataclass(frozen=True)
class Outline:
    """A header. `rows` are segments with the number of their ids, `views` grids of patches by
    round; the other fields as in `snapshot.State` and `memory.Held`."""

    rows: tuple[Row, ...]
    encoded: int
    base: int
    rounds: int
    seconds: float
    query: str
    pins: tuple[str, ...]
    views: dict[int, Grid]

    @property
    def size(self) -> int:
        """Tokens in memory."""
        return sum(row[1] for row in self.rows)


def written(outline: Outline) -> dict[str, Any]:
    """An outline as JSON has it."""
    rows = [(role.name, *rest) for role, *rest in outline.rows]
    return {**vars(outline), 'rows': rows, 'views': list(outline.views.items())}


def read(raw: Mapping[str, Any]) -> Outline:
    """The outline in a header, every field of its type and in its range."""
    rows = tuple(_row(*row) for row in raw['rows'])
    encoded = _whole(raw['encoded'], 1, sum(row[1] for row in rows))
    return Outline(
        rows=rows,
        encoded=encoded,
        base=_whole(raw['base'], 0, encoded),
        rounds=_whole(raw['rounds'], 1),
        seconds=_number(raw['seconds']),
        query=_text(raw['query']),
        pins=tuple(_line(pin) for pin in raw['pins']),
        views={_whole(number): _grid(grid) for number, grid in raw['views']},
    )


def transcript(outline: Outline, ids: Sequence[int], turn_end: int) -> Transcript:
    """The transcript of these ids, in the order that a stream keeps; `turn_end` ends a reply."""
    segments, low = [], 0
    for role, size, number, grid, seconds in outline.rows:
        segments.append(Segment(role, tuple(ids[low : low + size]), number, grid, seconds))
        low += size
    found = Transcript(tuple(segments))
    _check_order(found, outline.rounds)
    for start, segment in zip(found.starts, segments, strict=False):
        _check_segment(segment, turn_end)
        if segment.role is Role.VISION and start + len(segment.ids) > outline.encoded:
            raise ValueError('frames without keys')
    return found


def _check_order(found: Transcript, rounds: int) -> None:
    groups = [
        (number, ''.join(LETTERS[segment.role] for segment in group))
        for number, group in groupby(found.segments, lambda segment: segment.round)
    ]
    (first, opening), *others = groups
    numbers = [number for number, _ in others]
    if not (
        first is None
        and OPENING.fullmatch(opening)
        and all(ROUND.fullmatch(roles) for _, roles in others)
        and numbers == sorted(set(numbers))
        and numbers[-1] == rounds - 1
    ):
        raise ValueError('its segments are in no order that a stream keeps')


def _check_segment(segment: Segment, turn_end: int) -> None:
    ids, grid = segment.ids, segment.grid
    if segment.role is Role.VISION:
        # Markers around the frames, and as published perhaps a line feed.
        sound = grid is not None and len(ids) - math.prod(grid) in (2, 3)
        sound = sound and segment.seconds is not None
    else:
        sound = grid is None and segment.seconds is None
    if not sound or (segment.role is Role.REPLY and turn_end not in ids):
        raise ValueError(f'a segment {segment.role.name} is not as a stream makes it')


def _row(role: str, size: int, number: int | None, grid: Any, seconds: Any) -> Row:
    return (
        Role[role],
        _whole(size),
        None if number is None else _whole(number),
        None if grid is None else _grid(grid),
        None if seconds is None else _seconds(*seconds),
    )


def _grid(value: Any) -> Grid:
    t, h, w = (_whole(count, 1) for count in value)
    return t, h, w


def _seconds(start: Any, end: Any) -> Seconds:
    return _number(start), _number(end)


def _whole(value: Any, low: int = 0, high: int = LARGEST) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f'{str(value)[:20]} where a whole number from {low} to {high} belongs')
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise ValueError(f'{str(value)[:20]} where a number belongs')
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{str(value)[:20]} where a text belongs')
    return value


def _line(value: Any) -> str:
    """A pinned sentence."""
    if not _text(value) or ' '.join(value.split()) != value:
        raise ValueError('a pinned sentence is no line of text')
    return value
