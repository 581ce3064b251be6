# SPDX-License-Identifier: Apache-2.0
"""Mailbox between a camera's callback and the inference thread; knows no ROS.

Frames come in with the time they were taken; rounds come out, sampled at fixed instants of
stream time: t, t + 1/fps, ... Stream time is 0 at the first frame. An instant takes the frame
nearest to it, at most half a sampling interval ahead. It is settled when the first frame at or
after it arrives, or at its deadline, half an interval later: then the last frame stands in for
the missing one, up to `max_age` seconds after it was taken. A round without such a frame is
skipped and counted.

Newest wins: a complete round replaces one that nobody took. So nothing queues: at most one ready
round, one in the making and the newest frame are held, whatever the camera does. For bags a queue
of more rounds can be had, with a bound too.

Time that jumps, as when a bag plays in a loop or a camera's clock is set, begins a new stream at
0; so does `restart`.

Every frame is accounted for: received = used + dropped + pending.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from threading import Condition
from typing import Any

SECOND = 1_000_000_000  # stamps are whole nanoseconds, as in ROS
JUMP_BACK = SECOND  # a stamp that lies further back than this is no disorder: time began anew
JUMP_AHEAD = 24 * 3600 * SECOND  # nor is one so far ahead a long silence: a clock was set
MAX_AGE = 2.0  # seconds
NEWEST = 1  # rounds that are kept for the taker


class Arrival(Enum):
    """What became of a frame."""

    TAKEN = 'taken in'
    STALE = 'dropped: its stamp is not after the one before'
    RESTARTED = 'taken in as the first of a new stream: time jumped'


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
    """Since the start. Each received frame is used, pending, or dropped for one reason."""

    received: int = 0
    used: int = 0
    repeated: int = 0  # showings of a frame that had been shown before
    pending: int = 0
    unsampled: int = 0  # dropped: another frame was nearer to the sampling instant
    skipped: int = 0  # dropped: its round was skipped or replaced, or its stream ended
    stale: int = 0  # dropped: its stamp was not after the stamp of the frame before
    unreadable: int = 0  # dropped: unknown encoding, wrong size
    rounds_blind: int = 0  # skipped: an instant had no frame that was fresh enough
    rounds_replaced: int = 0  # complete, and never taken because newer ones came

    @property
    def dropped(self) -> int:
        """Frames received that no round will ever show."""
        return self.unsampled + self.skipped + self.stale + self.unreadable


class Mailbox:
    """See the module. One thread puts, one thread takes; every method may be called by any.

    Keeps the newest `queue` complete rounds (None: all). `bell` rings when there is something to
    take; mailboxes that one thread takes from share it (`svlm_core.desk`).
    """

    def __init__(
        self,
        fps: float,
        frames_per_round: int,
        *,
        max_age: float = MAX_AGE,
        queue: int | None = NEWEST,
        restarts: bool = True,
        bell: Condition | None = None,
    ) -> None:
        self.max_age = max_age  # may be changed at any time
        self._fps = fps
        self._interval = SECOND / fps
        self._size = frames_per_round
        self._queue = queue
        self._restarts = restarts  # whether a clock that jumps begins a new stream
        self._bell = bell or Condition()
        self._held = False
        self._era = 0
        self._origin: int | None = None
        self._begin = 0.0  # seconds of stream at the first frame to come
        self._next = 0  # the first sampling instant that is not settled; instant i is i / fps
        self._newest: Frame | None = None
        self._arrived = 0  # when the newest frame did, ns of the receiver's clock
        self._building: list[Frame] = []
        self._repeated = 0  # of those in the making
        self._ready: deque[Round] = deque()
        self._pending: list[Frame] = []  # held, and in no round taken so far
        self._counts = dict.fromkeys(Counts.__dataclass_fields__, 0)
        self._reported = 0  # drops told with rounds taken so far

    def put(self, message: Any, stamp: int, received: int) -> Arrival:
        """Take in a frame, unless its stamp is not newer than the one before.

        `stamp` and `received` are nanoseconds; a camera that leaves the stamp 0 gets `received`.
        """
        frame = Frame(message, stamp or received)
        with self._bell:
            self._counts['received'] += 1
            ahead = 1 if self._newest is None else frame.stamp - self._newest.stamp
            restarted = self._restarts and not -JUMP_BACK <= ahead <= JUMP_AHEAD
            if restarted:
                self._begin_anew(0.0)
            elif ahead <= 0:
                self._counts['stale'] += 1
                return Arrival.STALE
            if self._origin is None:
                self._origin = frame.stamp - round(self._begin * SECOND)
            self._pending.append(frame)
            early = 0.01 * self._interval  # stamps of a steady camera are not exact
            self._settle(frame.stamp - self._origin + early, frame)
            self._newest, self._arrived = frame, received
            self._release()
            return Arrival.RESTARTED if restarted else Arrival.TAKEN

    def tick(self, now: int) -> None:
        """Let time pass to `now`, ns of the clock of `received`: deadlines may have passed."""
        with self._bell:
            if self._newest is None or self._origin is None:
                return
            position = self._newest.stamp - self._origin + now - self._arrived
            self._settle(position - self._interval / 2, None)
            self._release()

    def refuse(self) -> None:
        """Count a frame that cannot be read: received and dropped."""
        with self._bell:
            self._counts['received'] += 1
            self._counts['unreadable'] += 1

    def spoil(self) -> None:
        """Count a frame of a round already taken as unreadable rather than used."""
        with self._bell:
            self._counts['used'] -= 1
            self._counts['unreadable'] += 1

    def take(self) -> Round | None:
        """The oldest complete round, if there is one and rounds are not held back."""
        with self._bell:
            if not self.takeable:
                return None
            taken = self._ready.popleft()
            for frame in set(taken.frames).intersection(self._pending):
                self._pending.remove(frame)
                self._counts['used'] += 1
            self._counts['repeated'] += taken.repeated
            dropped = self._snapshot().dropped
            fresh, self._reported = dropped - self._reported, dropped
            return replace(taken, dropped=fresh)

    def hold(self, held: bool) -> None:
        """Keep rounds from being taken, or no longer; frames come and go as ever."""
        with self._bell:
            self._held = held
            self._bell.notify_all()

    def restart(self, at: float = 0.0) -> int:
        """Begin a new stream with the next frame, `at` so many seconds; the era of its rounds."""
        with self._bell:
            self._begin_anew(at)
            return self._era

    @property
    def waiting(self) -> bool:
        """Whether a complete round waits to be taken."""
        with self._bell:
            return bool(self._ready)

    @property
    def takeable(self) -> bool:
        """Whether `take` would give a round."""
        with self._bell:
            return bool(self._ready) and not self._held

    @property
    def counts(self) -> Counts:
        """The account of all frames at this moment."""
        with self._bell:
            return self._snapshot()

    @property
    def held(self) -> bool:
        """Whether rounds are kept from being taken."""
        with self._bell:
            return self._held

    def _begin_anew(self, at: float) -> None:
        self._era += 1
        self._next = math.ceil(at * self._fps / self._size - 1e-6) * self._size
        self._begin = self._next / self._fps
        self._origin = self._newest = None
        self._building, self._repeated = [], 0
        self._ready.clear()
        self._release()

    def _snapshot(self) -> Counts:
        return Counts(**{**self._counts, 'pending': len(self._pending)})

    def _settle(self, position: float, coming: Frame | None) -> None:
        """Decide every instant up to `position` (ns of stream); `coming` is the frame just come.

        Without one, time alone has passed.
        """
        while (instant := self._next * self._interval) <= position:
            chosen = self._choice(instant, coming)
            if chosen is None:
                self._skip(position, coming)
            else:
                self._show(chosen)

    def _choice(self, instant: float, coming: Frame | None) -> Frame | None:
        """The frame to show at an instant: the nearer of those around it, if it is near enough."""
        assert self._origin is not None
        near = self._interval / 2
        before, behind, ahead = self._newest, math.inf, math.inf
        if before is not None:
            behind = instant - (before.stamp - self._origin)
        if coming is not None:
            ahead = coming.stamp - self._origin - instant
        if ahead <= near and ahead < behind:
            return coming
        return before if behind <= max(self.max_age * SECOND, near) else None

    def _show(self, frame: Frame) -> None:
        self._repeated += frame.sampled
        frame.sampled = True
        self._building.append(frame)
        self._next += 1
        if len(self._building) == self._size:
            self._complete()

    def _complete(self) -> None:
        assert self._origin is not None
        index = self._next // self._size - 1
        start = index * self._size / self._fps
        frames, repeated = tuple(self._building), self._repeated
        self._building, self._repeated = [], 0
        self._ready.append(Round(index, start, self._origin, frames, repeated, era=self._era))
        if self._queue is not None and len(self._ready) > self._queue:
            self._ready.popleft()
            self._counts['rounds_replaced'] += 1
        self._bell.notify_all()

    def _skip(self, position: float, coming: Frame | None) -> None:
        """Go on with the next round that can be whole; a silence may have lasted very long."""
        assert self._origin is not None
        current = self._next // self._size
        if coming is None:
            upcoming = math.floor(position / self._interval) // self._size + 1
        else:
            served = math.ceil((coming.stamp - self._origin) / self._interval - 0.5)
            upcoming = math.ceil(served / self._size)
        upcoming = max(upcoming, current + 1)  # whatever rounding does
        self._counts['rounds_blind'] += upcoming - current
        self._next = upcoming * self._size
        self._building, self._repeated = [], 0

    def _release(self) -> None:
        """Drop what no round can show any more."""
        held = {*self._building, *(f for made in self._ready for f in made.frames), self._newest}
        for frame in [frame for frame in self._pending if frame not in held]:
            self._pending.remove(frame)
            self._counts['skipped' if frame.sampled else 'unsampled'] += 1
