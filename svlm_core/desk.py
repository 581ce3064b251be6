# SPDX-License-Identifier: Apache-2.0
"""Where one thread waits for the rounds of several cameras, and serves them in turn.

Each camera has a mailbox of its own. Whoever was served longest ago comes first, so that a fast
camera never starves a slow one; one camera alone is served as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Any

from svlm_core.mailbox import Mailbox, Round


class Desk:
    """The mailboxes of one taker. Every method may be called by any thread."""

    def __init__(self) -> None:
        self._bell = Condition()
        self._queue: list[Mailbox] = []  # the one served longest ago first
        self._closed = False

    def open(self, fps: float, frames_per_round: int, **options: Any) -> Mailbox:
        """A new mailbox that this desk serves; `options` as those of Mailbox."""
        with self._bell:
            mailbox = Mailbox(fps, frames_per_round, bell=self._bell, **options)
            self._queue.append(mailbox)
            return mailbox

    def take(self, called: Callable[[], bool] = lambda: False) -> tuple[Mailbox, Round] | None:
        """Wait for a round and take it from its mailbox; None once the desk is closed.

        Also None, at once, while no round is to be had and `called()` is true: a taker with other
        duties is told of them by `wake`.
        """
        with self._bell:
            self._bell.wait_for(lambda: self._closed or self._first() is not None or called())
            mailbox = None if self._closed else self._first()
            taken = None if mailbox is None else mailbox.take()
            if mailbox is None or taken is None:
                return None
            self._queue.remove(mailbox)
            self._queue.append(mailbox)
            return mailbox, taken

    def wake(self) -> None:
        """Let whoever waits in `take` look whether it is called."""
        with self._bell:
            self._bell.notify_all()

    def close(self) -> None:
        """End every wait, now and later."""
        with self._bell:
            self._closed = True
            self._bell.notify_all()

    def _first(self) -> Mailbox | None:
        return next((mailbox for mailbox in self._queue if mailbox.takeable), None)
