# SPDX-License-Identifier: Apache-2.0
"""Frames that never arrived, told from the stamps of those that did."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

SEEN = 16  # intervals that are remembered
ENOUGH = 4  # of them, before anything is said


class Gaps:
    """Knows a camera's usual interval, and how many frames a longer one leaves out.

    The usual interval is the lower quartile of the newest ones, so that it is still right when
    half of the frames are lost. A silence longer than `longest()` ns is a camera that was gone.
    """

    def __init__(self, longest: Callable[[], float]) -> None:
        self._longest = longest
        self._intervals: deque[int] = deque(maxlen=SEEN)
        self._newest: int | None = None

    def missing(self, stamp: int) -> int:
        """Frames that should have come between the one before and this one, of `stamp` ns."""
        interval = 0 if self._newest is None else stamp - self._newest
        self._newest = stamp
        if not 0 < interval <= self._longest():
            return 0
        self._intervals.append(interval)
        known = sorted(self._intervals)
        if len(known) < ENOUGH:
            return 0
        usual = known[len(known) // 4]
        judged = self._intervals if len(known) == ENOUGH else (interval,)  # all, once they suffice
        return sum(max(0, round(length / usual) - 1) for length in judged)
