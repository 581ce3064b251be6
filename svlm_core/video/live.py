# SPDX-License-Identifier: Apache-2.0
"""A live camera without ROS: read in a thread of its own, its rounds taken in another.

Frames go through the mailbox of the node: newest wins, all are accounted for, and where a camera
falters its last frame stands in for a while. A connection that is lost is made again, with ever
longer waits; stream time goes on meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Condition, Event, Thread
from types import TracebackType

from svlm_core.errors import SourceError
from svlm_core.mailbox import MAX_AGE, SECOND, Mailbox, Round
from svlm_core.video.cameras import READER, Camera
from svlm_core.video.connection import Connection, Shot
from svlm_core.video.stamps import Stamps

TICK = 0.1  # seconds between two looks at the deadlines of rounds
FAREWELL = 1.0  # seconds; a thread that is stuck in a dead connection is left behind

Connect = Callable[[Camera, float, float], Connection]


@dataclass(frozen=True)
class Patience:
    """How long a camera may be silent, and the waits between attempts to reach it; seconds."""

    opening: float = 10.0
    reading: float = 10.0
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def wait(self, before: float, held: float) -> float:
        """The next wait: twice the one `before`, unless a connection held for longer than it."""
        return self.first_wait if held > before else min(2 * before, self.longest_wait)


class LiveSource(AbstractContextManager['LiveSource']):
    """Rounds of a camera from now on.

    Entering waits for the first connection and raises SourceError where there is none; a later
    one is tried for until it succeeds. `tell` gets a line for what the camera sends, for each
    loss and each return; it is called from the reading thread.
    """

    def __init__(
        self,
        camera: Camera,
        fps: float,
        frames_per_round: int,
        tell: Callable[[str], None],
        *,
        max_age: float = MAX_AGE,
        patience: Patience | None = None,
        connect: Connect = Connection,
    ) -> None:
        self.name = camera.name
        self.losses = 0  # of the connection, so far
        self._bell = Condition()
        self.mailbox = Mailbox(
            fps, frames_per_round, max_age=max_age, restarts=False, bell=self._bell
        )
        self._camera, self._connect, self._tell = camera, connect, tell
        self._patience = patience or Patience()
        self._wait = 0.0
        # Wall clock at the start, and steady from then on: to set the clock is no delay.
        self._epoch = time.time_ns() - time.monotonic_ns()
        self._wanted = self._begun = False  # somebody takes rounds; a frame has come since
        self._length = self._until = math.inf  # ns of stream, and where it ends
        self._stop, self._connected = Event(), Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._run, name=READER, daemon=True)

    def __enter__(self) -> LiveSource:
        self._thread.start()
        try:
            self._connected.wait()
            self._check()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End reading."""
        self._stop.set()
        self._thread.join(FAREWELL)

    @property
    def now(self) -> int:
        """Wall clock in nanoseconds, the clock of all stamps."""
        return self._epoch + time.monotonic_ns()

    def rounds(
        self, duration: float | None = None, called: Callable[[], bool] = lambda: False
    ) -> Iterator[Round]:
        """Rounds as they become complete; a message of theirs is called to give its pixels.

        Stream time is 0 at the first frame from now on, and ends after `duration` seconds; so do
        the rounds, and also once `called()` is true. To be used once.
        """
        self._length = math.inf if duration is None else duration * SECOND
        self._until = self.now + self._length
        self._wanted = True
        while not called():
            self._check()
            now = self.now
            self.mailbox.tick(round(min(now, self._until)))
            with self._bell:
                self._bell.wait_for(lambda: self.mailbox.takeable, TICK)
            taken = self.mailbox.take()
            if taken is not None:
                yield taken
            elif now >= self._until:
                return

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        """Read until closed (own thread)."""
        try:
            self._attend()
        except Exception as error:  # it is raised again where the rounds are taken
            self._failure = error
        finally:
            self._connected.set()

    def _attend(self) -> None:
        connection: Connection | None = self._open()
        told = f'{self.name}: '
        while connection is not None:
            began = time.monotonic()
            with connection:
                self._tell(told + connection.report)
                self._connected.set()
                reason = self._read(connection)
            lost = time.monotonic()
            if self._stop.is_set():
                return
            self.losses += 1
            self._tell(f'{reason}; lost after {lost - began:.1f} s, trying again')
            connection = self._reopen(lost - began)
            told = f'{self.name}: back after {time.monotonic() - lost:.1f} s: '

    def _open(self) -> Connection:
        return self._connect(self._camera, self._patience.opening, self._patience.reading)

    def _reopen(self, held: float) -> Connection | None:
        """A new connection after one that `held` so many seconds; None once closed."""
        self._wait, told = self._patience.wait(self._wait, held), ''
        while not self._stop.wait(self._wait):
            try:
                return self._open()
            except SourceError as error:
                if str(error) != told and not self._stop.is_set():
                    told = str(error)
                    self._tell(told)
            self._wait = self._patience.wait(self._wait, 0)
        return None

    def _read(self, connection: Connection) -> str:
        """Take in frames until the connection is lost; why it was."""
        stamps = Stamps()
        try:
            for shot in connection.shots():
                if self._stop.is_set():
                    break
                self._take_in(shot, stamps)
        except SourceError as error:
            return str(error)
        return 'closed'

    def _take_in(self, shot: Shot, stamps: Stamps) -> None:
        arrival = self.now
        stamp = arrival if shot.rgb is None else stamps.stamp(shot.shown, arrival)
        if not self._wanted or stamp >= self._until:
            return
        if shot.rgb is None:
            self.mailbox.refuse()
            return
        if not self._begun:
            self._begun, self._until = True, stamp + self._length
        self.mailbox.put(shot.rgb, stamp, arrival)
