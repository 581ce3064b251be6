# SPDX-License-Identifier: Apache-2.0
"""When a live frame was taken, on our own clock.

Cameras tell how far apart their frames were taken, on a clock of their own; we know when each
arrived. The frame that travelled quickest ties the two together: spacing is the camera's, and a
frame that was held up is as old as it is.
"""

from __future__ import annotations

DRIFT = 2e-4  # a camera's second may be longer than ours by so much; quartz keeps within half
LAG = 10_000_000_000  # ns; a frame that seems older has a clock that jumped or runs wrong


class Stamps:
    """The stamps of one connection; all times are whole nanoseconds."""

    def __init__(self) -> None:
        self._offset = self._shown = self._arrival = self._stamp = 0  # of the frame before
        self._tied = False

    def stamp(self, shown: int | None, arrival: int) -> int:
        """When a frame was taken that is shown at `shown` on the camera's clock.

        Never after `arrival`, and after the frame before. Where the camera tells no time, or one
        that jumps or stands still, the time of arrival counts.
        """
        stamp = arrival
        if shown is not None:
            offset = arrival - shown
            if self._tied and shown > self._shown:
                slack = round(DRIFT * (arrival - self._arrival))
                offset = min(offset, self._offset + slack)
                if not max(self._stamp, arrival - LAG) < shown + offset:
                    offset = arrival - shown
            stamp = shown + offset
            self._tied, self._shown, self._offset = True, shown, offset
        self._arrival, self._stamp = arrival, max(stamp, self._stamp + 1)
        return self._stamp
