# SPDX-License-Identifier: Apache-2.0
"""Which of two commentaries is better, window by window: what the paper calls a win rate.

A judge sees one window of both and never learns whose they are; each window is put to it in both
orders, so that no preference for a place remains. A judge is a function: one that knows the truth
and counts is here, those that compare with a reference are in `judges.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from svlm_core.endpoints.asking import Answer
    from svlm_core.evaluation.exam import Mark
    from svlm_core.evaluation.quiz import Answered

WINDOW = 20  # seconds


@dataclass(frozen=True)
class Bout:
    """One window: what is true, and what two commentators said of it, second by second.

    `about` is what a judge may know besides, such as a title.
    """

    truth: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    about: str = ''


# 1: the first is better; 0: the second is; 0.5: a draw; None: the judge gives no valid vote
Vote = float | None


@dataclass(frozen=True)
class Ruling:
    """The vote of a judge, and what was answered where it asked a model for it."""

    vote: Vote
    answer: Answer[float] | None = None


Judge = Callable[[Bout], Ruling]


COUNTING = 'seconds told right'  # the name of the judge that follows


def count_right(bout: Bout) -> Ruling:
    """The deterministic judge: who has told more seconds right is better."""
    first, second = (
        sum(said == true for said, true in zip(of, bout.truth, strict=True))
        for of in (bout.first, bout.second)
    )
    return Ruling(0.5 if first == second else float(first > second))


def both_orders(judge: Judge, bout: Bout) -> tuple[Ruling, Ruling]:
    """Two votes for the first commentator, who is shown first, and then second."""
    straight = judge(bout)
    swapped = judge(replace(bout, first=bout.second, second=bout.first))
    return straight, replace(swapped, vote=None if swapped.vote is None else 1 - swapped.vote)


def win_rate(
    ours: Sequence[Mark | Answered],
    theirs: Sequence[Mark | Answered],
    judge: Judge = count_right,
) -> float:
    """The share of valid votes that `ours` wins, a draw being half; both tell the same seconds.

    nan where there is none. Raises ValueError for marks of different seconds.
    """
    if [m.second for m in ours] != [m.second for m in theirs]:
        raise ValueError('two commentaries of different seconds cannot be compared')
    won: list[float] = []
    for low in range(0, len(ours) - WINDOW + 1, WINDOW):
        pair = ours[low : low + WINDOW], theirs[low : low + WINDOW]
        truth = tuple(str(mark.truth) for mark in pair[0])
        a, b = (tuple(_plain(mark) for mark in marks) for marks in pair)
        rulings = both_orders(judge, Bout(truth, a, b))
        won += [ruling.vote for ruling in rulings if ruling.vote is not None]
    return sum(won) / len(won) if won else float('nan')


def _plain(mark: Mark | Answered) -> str:
    """What was said, in the spelling of the truth where it means the same."""
    return str(mark.truth) if mark.right else mark.said
