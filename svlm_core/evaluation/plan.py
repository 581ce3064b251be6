# SPDX-License-Identifier: Apache-2.0
"""Which exams a set of claims needs, how long they are, and what came of them by condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from svlm_core.evaluation.claims import Claim, Streams
from svlm_core.evaluation.conditions import CONDITIONS
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.quiz import Quiz
from svlm_core.evaluation.sitting import Paper
from svlm_core.synthetic.story import seed_to_test

COSTLY_STREAMS, COSTLY_MINUTES = 4, 8  # of conditions whose cost per second grows, or is high
APART = 1000  # worlds that one seed of the claims has to itself


Planned = Mapping[tuple[str, bool], Sequence[Paper]]  # by condition, and whether free


@dataclass(frozen=True)
class Size:
    """How much is tried: streams, and minutes of each."""

    streams: int = 16
    minutes: float = 30.0


def papers(
    needed: Iterable[tuple[str, bool]], model: Path | None, seed: int, size: Size
) -> dict[tuple[str, bool], list[Paper]]:
    """The exams of every condition that is needed; all conditions have the same worlds."""
    return {
        (condition, free): [
            Paper(model, condition, world(seed, number), seconds, free) for number in range(count)
        ]
        for condition, free in needed
        for count, seconds in [_share(condition, free, size)]
    }


def world(seed: int, number: int) -> int:
    """The seed of a world that claims of a seed are tried on."""
    return seed_to_test(seed * APART + number)


def needs(claims: Sequence[Claim]) -> list[tuple[str, bool]]:
    """The conditions of these claims, each once with gold history and once free."""
    names = dict.fromkeys(side.condition for claim in claims for side in (claim.a, claim.b))
    return [(name, free) for name in names for free in (False, True)]


def gathered(
    planned: Planned,
    marks: Mapping[Paper | Quiz, Sequence[Mark]],
) -> Streams:
    """The marks of every condition, stream by stream."""
    return {key: [marks[paper] for paper in of] for key, of in planned.items()}


def _share(name: str, free: bool, size: Size) -> tuple[int, int]:
    """Streams and seconds of a condition."""
    condition = CONDITIONS[name]
    if not condition.costly:
        limits = (size.minutes, condition.minutes, condition.free_minutes if free else None)
        return size.streams, round(60 * min(limit for limit in limits if limit is not None))
    # Larger sizes make costly conditions larger in proportion.
    scale = max(1.0, size.streams / Size.streams), max(1.0, size.minutes / Size.minutes)
    count = min(size.streams, round(COSTLY_STREAMS * scale[0]))
    return count, round(60 * min(size.minutes, COSTLY_MINUTES * scale[1]))
