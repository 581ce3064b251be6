# SPDX-License-Identifier: Apache-2.0
"""What can be read off the marks of one stream: a number each, nan where nothing was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from svlm_core.evaluation.exam import Mark, Spent
from svlm_core.synthetic.captions import NUMBERS, SILENCE
from svlm_core.synthetic.script import DOCKS

EVER = 10**9  # seconds

S = TypeVar('S', bound=Spent)


@dataclass(frozen=True)
class Span:
    """Seconds `since` to `until` of a stream."""

    since: int = 0
    until: int = EVER

    def of(self, marks: Sequence[S]) -> list[S]:
        """The marks within."""
        return [mark for mark in marks if self.since <= mark.second < self.until]


class Measure(Protocol):
    """A number for the marks, or answers to questions, of one stream; `span` is what counts."""

    @property
    def span(self) -> Span: ...

    def __call__(self, marks: Sequence[Any]) -> float: ...


@dataclass(frozen=True)
class Right:
    """The share told right, of seconds of these `skills` (none: all) in a span."""

    skills: tuple[str, ...] = ()
    span: Span = Span()

    def __call__(self, marks: Sequence[Mark]) -> float:
        asked = [m for m in self.span.of(marks) if not self.skills or m.skill in self.skills]
        return share([mark.right for mark in asked])


@dataclass(frozen=True)
class Silence:
    """How well it is known when to be silent: precision, or recall, over a span."""

    recall: bool
    span: Span = Span()

    def __call__(self, marks: Sequence[Mark]) -> float:
        held = self.span.of(marks)
        quiet = [mark.truth == SILENCE for mark in held]
        said = [not mark.said for mark in held]
        given, wanted = (quiet, said) if self.recall else (said, quiet)
        return share([w for w, g in zip(wanted, given, strict=True) if g])


@dataclass(frozen=True)
class Consistent:
    """The share of counts that are one more than the last one said of the same robot."""

    span: Span = Span()

    def __call__(self, marks: Sequence[Mark]) -> float:
        last: dict[str, int] = {}
        kept: list[bool] = []
        for mark in marks:
            if mark.truth.sentence != 'dock':
                continue
            robot, said = mark.truth.words[0], mark.meant
            known = said is not None and said.sentence == 'dock' and said.words[0] == robot
            now = NUMBERS.index(said.words[1]) if said is not None and known else None
            if mark.skill == 'count' and robot in last and self.span.of([mark]):
                kept.append(now == last[robot] % DOCKS + 1)
            if now is not None:
                last[robot] = now
        return share(kept)


@dataclass(frozen=True)
class Cost:
    """Tokens per second of stream over a span: those `held` and attended, or those encoded."""

    held: bool
    span: Span = Span()

    def __call__(self, marks: Sequence[Spent]) -> float:
        spent = [m.held if self.held else m.encoded for m in self.span.of(marks)]
        return sum(spent) / len(spent) if spent else float('nan')


def share(flags: Sequence[bool]) -> float:
    """The share that is true; nan of none."""
    return sum(flags) / len(flags) if flags else float('nan')
