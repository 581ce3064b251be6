# SPDX-License-Identifier: Apache-2.0
"""Whether a camera is alive: says once that frames stay away, and once that they are back."""

from __future__ import annotations

from collections.abc import Callable


class Watch:
    """Follows arrivals on a clock that never jumps; all times are seconds of that clock.

    `timeout()` is the longest silence, at this moment.
    """

    def __init__(self, timeout: Callable[[], float], now: float) -> None:
        self._timeout = timeout
        self._since = now  # the latest arrival, or the beginning
        self._arrived = False
        self._told = False

    def arrived(self, now: float) -> float | None:
        """A frame came: the seconds without one, if `overdue` had told of them."""
        silence, told = now - self._since, self._told
        self._since, self._arrived, self._told = now, True, False
        return silence if told else None

    def overdue(self, now: float) -> float | None:
        """The seconds without a frame, the first time that they exceed the timeout."""
        if self._told or now - self._since <= self._timeout():
            return None
        self._told = True
        return now - self._since

    def alive(self, now: float) -> bool:
        """Whether a frame came within the timeout."""
        return self._arrived and now - self._since <= self._timeout()
