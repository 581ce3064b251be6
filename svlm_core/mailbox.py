# SPDX-License-Identifier: Apache-2.0
"""Newest-wins mailbox between a camera's callback and the inference thread; knows no ROS.

Frames come in with the time they were taken; rounds come out, sampled at fixed instants of
stream time: t, t + 1/fps, ... Stream time is 0 at the first frame. An instant takes the frame
nearest to it, and is settled when the first frame at or after it arrives; it looks at most half a
sampling interval ahead, and else shows the last frame again. A round is ready when its last
instant is settled, and replaces one that nobody took. So nothing queues: at most one ready round,
one in the making and the newest frame are held, whatever the camera does.

Time that jumps back, as when a bag plays in a loop, begins a new stream at 0; so does `restart`.

Every frame is accounted for: received = used + dropped + pending.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from threading import Condition
from typing import Any

SECOND = 1_000_000_000  # stamps are whole nanoseconds, as in ROS
JUMP = SECOND  # a stamp that lies further back than this is no disorder: time began anew


class Arrival(Enum):
    """What became of a frame."""

    TAKEN = 'taken in'
    STALE = 'dropped: its stamp is not after the one before'
    RESTARTED = 'taken in as the first of a new stream: time went back'


@dataclass(eq=False)
class Frame:
    """A camera message as it came, and when it was taken (ns)."""

    message: Any
    stamp: int
    sampled: bool = False  # an instant has chosen it


@dataclass(frozen=True)
class Round:
    """What one second of stream looked like: a frame for each sampling instant.

    `index` counts seconds (chunks) since the first frame, skipped ones included; `start` is in
    seconds of stream and `origin` the stamp of stream time 0 (ns). `repeated` frames stand in for
    ones that did not come in time; `dropped` were received since the round before, never shown.
    `era` counts the streams that began before: rounds of two eras have no memory in common.
    """

    index: int
    start: float
    origin: int
    frames: tuple[Frame, ...]
    repeated: int
    dropped: int = 0
    era: int = 0


@dataclass(frozen=True)
class Counts:
    """Frames since the start. Each received frame is used, pending, or dropped for one reason."""

    received: int = 0
    used: int = 0
    repeated: int = 0  # showings of a frame that had been shown before
    pending: int = 0
    unsampled: int = 0  # dropped: another frame was nearer to the sampling instant
    skipped: int = 0  # dropped: its round was replaced by a newer one, or its stream ended
    stale: int = 0  # dropped: its stamp was not after the stamp of the frame before
    unreadable: int = 0  # dropped: unknown encoding, wrong size

    @property
    def dropped(self) -> int:
        """Frames received that no round will ever show."""
        return self.unsampled + self.skipped + self.stale + self.unreadable


class Mailbox:
    """See the module. One thread puts, one thread takes; every method may be called by any."""

    def __init__(self, fps: float, frames_per_round: int, *, restarts: bool = True) -> None:
        self._fps = fps
        self._interval = SECOND / fps
        self._size = frames_per_round
        self._restarts = restarts  # whether a clock that jumps back begins a new stream
        self._condition = Condition()
        self._closed = False
        self._held = False
        self._era = 0
        self._origin: int | None = None
        self._next = 0  # the first sampling instant that is not settled; instant i is i / fps
        self._newest: Frame | None = None
        self._building: list[Frame] = []
        self._repeated = 0  # of those in the making
        self._ready: Round | None = None
        self._pending: list[Frame] = []  # held, and in no round taken so far
        self._counts = dict.fromkeys(Counts.__dataclass_fields__, 0)
        self._reported = 0  # drops told with rounds taken so far

    def put(self, message: Any, stamp: int, received: int) -> Arrival:
        """Take in a frame, unless its stamp is not newer than the one before.

        `stamp` and `received` are nanoseconds; a camera that leaves the stamp 0 gets `received`.
        """
        frame = Frame(message, stamp or received)
        with self._condition:
            self._counts['received'] += 1
            back = 0 if self._newest is None else self._newest.stamp - frame.stamp
            restarted = self._restarts and back > JUMP
            if restarted:
                self._begin_anew()
            elif self._newest is not None and back >= 0:
                self._counts['stale'] += 1
                return Arrival.STALE
            if self._origin is None:
                self._origin = frame.stamp
            self._pending.append(frame)
            self._sample(frame, self._origin)
            self._newest = frame
            self._release()
            if self._ready is not None:
                self._condition.notify()
            return Arrival.RESTARTED if restarted else Arrival.TAKEN

    def refuse(self) -> None:
        """Count a frame that cannot be read: received and dropped."""
        with self._condition:
            self._counts['received'] += 1
            self._counts['unreadable'] += 1

    def spoil(self) -> None:
        """Count a frame of a round already taken as unreadable rather than used."""
        with self._condition:
            self._counts['used'] -= 1
            self._counts['unreadable'] += 1

    def take(self, called: Callable[[], bool] = lambda: False) -> Round | None:
        """Wait for the newest complete round and take it; None once the mailbox is closed.

        Also None, at once, while no round is to be had and `called()` is true: a taker with other
        duties is told of them by `wake`.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._takeable or called())
            if self._closed or self._ready is None or self._held:
                return None
            taken, self._ready = self._ready, None
            for frame in set(taken.frames).intersection(self._pending):
                self._pending.remove(frame)
                self._counts['used'] += 1
            self._counts['repeated'] += taken.repeated
            dropped = self._snapshot().dropped
            fresh, self._reported = dropped - self._reported, dropped
            return replace(taken, dropped=fresh)

    def wake(self) -> None:
        """Let whoever waits in `take` look whether it is called."""
        with self._condition:
            self._condition.notify_all()

    def hold(self, held: bool) -> None:
        """Keep rounds from being taken, or no longer; frames come and go as ever."""
        with self._condition:
            self._held = held
            self._condition.notify_all()

    def restart(self) -> int:
        """Begin a new stream with the next frame; the era of its rounds."""
        with self._condition:
            self._begin_anew()
            return self._era

    def close(self) -> None:
        """End every wait, now and later."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def waiting(self) -> bool:
        """Whether a complete round waits to be taken."""
        with self._condition:
            return self._ready is not None

    @property
    def counts(self) -> Counts:
        """The account of all frames at this moment."""
        with self._condition:
            return self._snapshot()

    @property
    def held(self) -> bool:
        """Whether rounds are kept from being taken."""
        with self._condition:
            return self._held

    @property
    def _takeable(self) -> bool:
        return self._ready is not None and not self._held

    def _begin_anew(self) -> None:
        self._era += 1
        self._origin = self._newest = self._ready = None
        self._next, self._building, self._repeated = 0, [], 0
        self._release()

    def _snapshot(self) -> Counts:
        return Counts(**{**self._counts, 'pending': len(self._pending)})

    def _sample(self, frame: Frame, origin: int) -> None:
        """Settle every instant that `frame` decides."""
        position = frame.stamp - origin
        early = 0.01 * self._interval  # stamps of a steady camera are not exact
        self._leap(position)
        while position >= (instant := self._next * self._interval) - early:
            self._choose(self._nearest(frame, position, instant))
            self._next += 1
            if len(self._building) == self._size:
                self._complete(origin)
                self._leap(position)

    def _leap(self, position: int) -> None:
        # After a long silence, go on with the round of this frame: those between have no frame
        # of their own, and there may be very many of them.
        target = math.ceil(position / self._interval - 0.5) // self._size * self._size
        if not self._building and self._newest is not None and self._newest.sampled:
            self._next = max(self._next, target)

    def _nearest(self, frame: Frame, position: int, instant: float) -> Frame:
        """Choose between the frame just come and the one before it."""
        before, ahead = self._newest, position - instant
        if before is None or self._origin is None:
            return frame
        behind = instant - (before.stamp - self._origin)
        return frame if ahead <= self._interval / 2 and ahead < behind else before

    def _choose(self, frame: Frame) -> None:
        self._repeated += frame.sampled
        frame.sampled = True
        self._building.append(frame)

    def _complete(self, origin: int) -> None:
        frames, repeated = tuple(self._building), self._repeated
        self._building, self._repeated = [], 0
        if repeated == self._size:
            return  # nothing new was seen in this second: there is nothing to say about it
        index = self._next // self._size - 1
        start = index * self._size / self._fps
        self._ready = Round(index, start, origin, frames, repeated, era=self._era)

    def _release(self) -> None:
        """Drop what no round can show any more."""
        held = {*self._building, *(self._ready.frames if self._ready else ()), self._newest}
        for frame in [frame for frame in self._pending if frame not in held]:
            self._pending.remove(frame)
            self._counts['skipped' if frame.sampled else 'unsampled'] += 1
