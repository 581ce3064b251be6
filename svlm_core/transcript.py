# SPDX-License-Identifier: Apache-2.0
"""What the memory holds, as a table of segments, and plans that change it. No torch here.

A segment is a run of tokens with one role. The transcript is the ordered list of them; nobody
ever searches token ids for patterns. A plan is pure data: which pieces of which segments stay,
in which order. The cache carries a plan out on keys and values; this module does so on ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from itertools import accumulate, chain

from svlm_core.rope import Grid, Run


class Role(Enum):
    """What a run of tokens is for."""

    SYSTEM = auto()
    PINNED = auto()  # the query, kept for good
    PREVIOUS_OPEN = auto()  # header of the block of previous text
    PREVIOUS = auto()  # its content: sink and recent text
    PREVIOUS_CLOSE = auto()
    USER = auto()  # header of a round
    TIME = auto()  # its span in stream seconds
    VISION = auto()  # start marker, one token per merged patch, end marker
    TAIL = auto()  # what follows the frames, and the end of the user's turn
    ASSISTANT = auto()  # header of the reply
    REPLY = auto()  # the reply with its end marker
    QUESTION = auto()  # a user's turn without frames; its answer is a reply of the round before


ROUND_ROLES = frozenset(
    {
        Role.USER,
        Role.TIME,
        Role.VISION,
        Role.TAIL,
        Role.ASSISTANT,
        Role.REPLY,
        Role.QUESTION,
    }
)


@dataclass(frozen=True)
class Segment:
    """A run of tokens with one role; `round` numbers the rounds of a stream from 0.

    A vision segment carries the `grid` of merged patches that stands behind its start marker,
    and the `seconds` of stream, start and end, that it shows.
    """

    role: Role
    ids: tuple[int, ...]
    round: int | None = None
    grid: Grid | None = None
    seconds: tuple[float, float] | None = None

    def runs(self) -> Iterator[Run]:
        """Runs of (tokens, grid) in the order in which positions are laid."""
        if self.grid is None:
            yield len(self.ids), None
        else:
            seen = math.prod(self.grid)
            yield from ((1, None), (seen, self.grid), (len(self.ids) - 1 - seen, None))


@dataclass(frozen=True)
class Piece:
    """Tokens `low` to `high` of segment number `source`, to be kept under `role`."""

    source: int
    low: int
    high: int
    role: Role


@dataclass(frozen=True)
class Plan:
    """What happens to the memory before a round: what is kept, in its new order.

    With `reuse` the keys and values of the kept tokens are kept too, else all are encoded anew.
    `opening` marks a restart: the next round opens the conversation again.
    """

    pieces: tuple[Piece, ...]
    reuse: bool = True
    opening: bool = False


@dataclass(frozen=True)
class Transcript:
    """The segments in memory, in order."""

    segments: tuple[Segment, ...] = ()

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """All token ids in order."""
        return tuple(chain.from_iterable(segment.ids for segment in self.segments))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The index of the first token of every segment, and the length at the end."""
        return tuple(accumulate((len(segment.ids) for segment in self.segments), initial=0))

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def before_rounds(self) -> int:
        """How many tokens stand before the first round."""
        rounds = zip(self.starts, self.segments, strict=False)
        return next((start for start, s in rounds if s.round is not None), len(self))

    @property
    def seen(self) -> tuple[float, float] | None:
        """Seconds of stream from the oldest frames to the newest; None without any."""
        shown = [segment.seconds for segment in self.segments if segment.seconds is not None]
        return (shown[0][0], shown[-1][1]) if shown else None

    def runs_from(self, start: int) -> Iterator[Run]:
        """Runs of the tokens from index `start` on, which must not split a vision segment."""
        for first, segment in zip(self.starts, self.segments, strict=False):
            if first >= start:
                yield from segment.runs()
            elif first + len(segment.ids) > start:
                yield first + len(segment.ids) - start, None

    def find(self, role: Role) -> int | None:
        """The number of the first segment with this role, if there is one."""
        return next((n for n, s in enumerate(self.segments) if s.role is role), None)

    def extended(self, segments: Iterable[Segment]) -> Transcript:
        """This transcript with segments appended."""
        return Transcript((*self.segments, *segments))

    def applied(self, plan: Plan) -> Transcript:
        """The transcript after a plan; neighbouring pieces of previous text become one."""
        kept: list[Segment] = []
        for piece in plan.pieces:
            segment = self.segments[piece.source]
            ids = segment.ids[piece.low : piece.high]
            if piece.role is segment.role and len(ids) == len(segment.ids):
                new = segment
            elif piece.role is Role.PREVIOUS:
                new = Segment(Role.PREVIOUS, ids)
            else:
                new = replace(segment, ids=ids, role=piece.role)
            if kept and new.role is kept[-1].role is Role.PREVIOUS:
                kept[-1] = replace(new, ids=kept[-1].ids + ids)
            else:
                kept.append(new)
        return Transcript(tuple(kept))

    def spans(self, plan: Plan) -> list[range]:
        """Where the kept tokens stand now, in their new order, as few ranges as possible."""
        spans: list[range] = []
        for piece in plan.pieces:
            start = self.starts[piece.source]
            low, high = start + piece.low, start + piece.high
            if spans and spans[-1].stop == low:
                spans[-1] = range(spans[-1].start, high)
            elif low < high:
                spans.append(range(low, high))
        return spans
