# SPDX-License-Identifier: Apache-2.0
"""From the messages of a camera topic to rounds: the mailbox of the live node, fed from a bag.

So a replay samples as the node does: an instant takes the frame nearest to it, header stamps are
the clock, a zero stamp counts as the time of reception, and a stamp that does not go forward
drops its frame. Fed message by message, every round is shown, as on a machine that is never busy;
fed at the pace of the recording, newest wins and the others are dropped, as on this machine.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import numpy as np

from svlm_core.bags.reader import Message
from svlm_core.bags.types import SECOND, nanoseconds
from svlm_core.desk import Desk
from svlm_core.errors import FrameError
from svlm_core.mailbox import MAX_AGE, NEWEST, Arrival, Mailbox, Round
from svlm_core.pictures import read_round

Check = Callable[[Any], object]
TICK = 0.1  # seconds between two looks at the deadlines of rounds, where a clock runs


@dataclass
class Camera:
    """What is known of the camera besides the account of its frames, which the mailbox keeps."""

    stamps: array = field(default_factory=lambda: array('q'))  # ns, of frames taken in
    zero_stamps: int = 0
    frame_id: str = ''
    encoding: str = ''
    trouble: str = ''  # why the first frame that cannot be shown cannot


class Feed:
    """Rounds of a topic, as an iterator to be used once.

    `now` is the time on the recorder's clock (ns): where reading stands, or, `realtime`, where
    the recording would stand. Damage of the bag is raised behind the last round.
    """

    def __init__(
        self,
        messages: Iterable[Message],
        check: Check,
        fps: float,
        frames_per_round: int,
        *,
        max_age: float = MAX_AGE,
        realtime: bool,
    ) -> None:
        self.camera = Camera()
        self.realtime = realtime
        self._desk = Desk()
        self.mailbox = self._desk.open(
            fps,
            frames_per_round,
            max_age=max_age,
            queue=NEWEST if realtime else None,
            restarts=False,
        )
        self._messages = messages
        self._check = check
        self._read_to = 0
        self._begin: tuple[int, float] | None = None  # recorder's clock (ns) and ours (s)

    @property
    def now(self) -> int:
        """See the class."""
        if self._begin is None:
            return self._read_to
        begin, ours = self._begin
        return begin + round((time.monotonic() - ours) * SECOND)

    def __iter__(self) -> Generator[Round, None, None]:
        return self._paced() if self.realtime else self._one_by_one()

    def _one_by_one(self) -> Generator[Round, None, None]:
        for message in self._messages:
            self._put(message)
            while (taken := self.mailbox.take()) is not None:
                yield taken

    def _paced(self) -> Generator[Round, None, None]:
        stop, failures = Event(), list[Exception]()
        thread = Thread(target=self._play, args=(stop, failures), name='replay', daemon=True)
        thread.start()
        try:
            while (served := self._desk.take()) is not None:
                yield served[1]
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]

    def _play(self, stop: Event, failures: list[Exception]) -> None:
        """Put messages in at the pace at which they were received (own thread)."""
        try:
            for message in self._messages:
                if self._begin is None:
                    self._begin = message.received, time.monotonic()
                while (ahead := (message.received - self.now) / SECOND) > 0:
                    if stop.wait(min(ahead, TICK)):
                        return
                    self.mailbox.tick(self.now)
                self._put(message)
        except Exception as error:  # it is raised again where the rounds are taken
            failures.append(error)
        finally:
            while self.mailbox.waiting and not stop.wait(0.01):
                continue  # the last round has to be taken before the desk closes
            self._desk.close()

    def _put(self, message: Message) -> None:
        self._read_to = message.received
        content = message.content
        try:
            if content is None:
                raise FrameError('the message is cut short')
            self._check(content)
        except FrameError as error:
            self.mailbox.refuse()
            self.camera.trouble = self.camera.trouble or str(error)
            return
        stamp = nanoseconds(content.header.stamp)
        self.camera.zero_stamps += not stamp
        if self.mailbox.put(content, stamp, message.received) is Arrival.TAKEN:
            self.camera.stamps.append(stamp or message.received)
            self.camera.frame_id = content.header.frame_id
            self.camera.encoding = getattr(content, 'encoding', '') or content.format


def pictures(
    taken: Round, convert: Callable[[Any], np.ndarray], mailbox: Mailbox, camera: Camera
) -> tuple[np.ndarray, int]:
    """The frames of a round and how many had to be substituted, as `read_round`; counts why."""

    def spoiled(error: FrameError) -> None:
        mailbox.spoil()
        camera.trouble = camera.trouble or str(error)

    return read_round(taken, convert, spoiled)
