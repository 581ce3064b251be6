# SPDX-License-Identifier: Apache-2.0
"""The one inference thread: takes rounds from the mailbox, runs the engine, tells a listener.

Knows no ROS. Whoever wants something else of the stream submits an order: it is carried out here,
between two rounds, for a stream belongs to one thread.

An error in a round is told and survived: it costs the round, and the memory of the stream stays.
A full memory, a second failure in a row, or time that jumped back resets the stream; only a reset
that fails ends the thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

from svlm_core.errors import FrameError, MemoryFull
from svlm_core.images import Picture
from svlm_core.mailbox import Mailbox, Round
from svlm_core.pictures import read_round

Result = TypeVar('Result')


@dataclass(frozen=True)
class Progress:
    """What has been said about a round so far; `done` marks the last of a round, cut or whole.

    `picture` (H, W, 3) is the newest frame. `shown` frames went into the model, of which
    `repeated` stand in for missing ones; `late` is true once the round has taken longer than it
    lasts or a newer one is already complete.
    """

    round: Round
    text: str
    delta: str
    done: bool
    late: bool
    shown: int
    repeated: int
    tokens: int
    picture: Picture


class Listener(Protocol):
    """Who is told. Called from the inference thread."""

    def said(self, progress: Progress) -> None:
        """Part of a caption, or with `done` all of it."""

    def failed(self, error: Exception, *, fatal: bool) -> None:
        """A round was lost to `error`; `fatal`: the thread ends."""

    def forgot(self) -> None:
        """The memory of the stream was emptied."""


class Worker:
    """Runs one stream of the engine on the rounds of one mailbox, in one thread."""

    def __init__(
        self,
        stream: Any,
        mailbox: Mailbox,
        convert: Callable[[Any], Picture],
        listener: Listener,
        *,
        partial: bool,
    ) -> None:
        self._stream = stream
        self._mailbox = mailbox
        self._convert = convert
        self._listener = listener
        self._partial = partial
        self._era = 0  # of the rounds that the memory is about
        self._orders: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._cut = Event()  # an order wants the reply that is being written to end
        self._was_cut = False
        self._stop = Event()
        self._thread = Thread(target=self._run, name='inference', daemon=True)

    def start(self) -> None:
        """Begin to take rounds."""
        self._thread.start()

    def stop(self, patience: float = 10) -> bool:
        """End the thread at the next token; False when it did not end in `patience` seconds.

        Orders that were not carried out by then are cancelled.
        """
        self._stop.set()
        self._mailbox.close()
        self._thread.join(patience)
        self._cancel_orders()
        return not self._thread.is_alive()

    def submit(self, order: Callable[[], Result]) -> Future[Result]:
        """Have `order` carried out between two rounds; its result, when there is one.

        Cancelled at once where the thread was stopped.
        """
        future: Future[Result] = Future()
        self._orders.put((order, future))
        self._mailbox.wake()
        if self._stop.is_set():
            self._cancel_orders()
        return future

    def reset(self) -> Future[bool]:
        """Forget everything; time begins anew. True where it cut a reply, at its next token."""
        self._cut.set()
        return self.submit(self._begin_anew)

    def pause(self, paused: bool) -> Future[None]:
        """Write no captions after the current one, or go on with the newest second."""
        return self.submit(lambda: self._mailbox.hold(paused))

    def set_query(self, query: str) -> Future[None]:
        """Change the instruction; the future holds the error where the stream refuses it."""
        return self.submit(lambda: self._stream.set_query(query))

    def ask(self, question: str) -> Future[Any]:
        """Copy the memory and ask it; the tokens, each of which is to be an order of its own."""
        return self.submit(lambda: self._stream.fork().tokens(question))

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._carry_out_orders()
            taken = self._mailbox.take(lambda: not self._orders.empty())
            if taken is None:
                continue
            if taken.era != self._era:  # what was seen before is another time
                self._era, failures = taken.era, 0
                if not self._reset():
                    return
            try:
                self._caption(taken)
                failures = 0
            except FrameError as error:
                self._listener.failed(error, fatal=False)
            except Exception as error:  # whatever broke, the next second deserves a try
                self._listener.failed(error, fatal=False)
                failures += 1
                beyond = isinstance(error, MemoryFull) or failures > 1
                if beyond and not self._reset():
                    return

    def _carry_out_orders(self) -> None:
        while not self._stop.is_set() and (given := self._next_order()) is not None:
            order, future = given
            try:
                future.set_result(order())
            except Exception as error:  # it belongs to whoever gave the order
                future.set_exception(error)

    def _cancel_orders(self) -> None:
        while (given := self._next_order()) is not None:
            given[1].cancel()

    def _next_order(self) -> tuple[Callable[[], Any], Future[Any]] | None:
        try:
            return self._orders.get_nowait()
        except Empty:
            return None

    def _begin_anew(self) -> bool:
        self._cut.clear()
        cut, self._was_cut = self._was_cut, False
        self._stream.reset()
        self._era = self._mailbox.restart()
        self._listener.forgot()
        return cut

    def _reset(self) -> bool:
        try:
            self._stream.reset()
        except Exception as error:  # told, and the node ends with it
            self._listener.failed(error, fatal=True)
            return False
        self._listener.forgot()
        return True

    def _caption(self, taken: Round) -> None:
        began = time.monotonic()
        frames, substituted = self._read(taken)
        progress = Progress(
            round=taken,
            text='',
            delta='',
            done=False,
            late=False,
            shown=len(frames),
            # A frame may be both repeated and substituted; one at least is new.
            repeated=min(taken.repeated + substituted, len(frames) - 1),
            tokens=0,
            picture=frames[-1],
        )
        reply = self._stream.tokens(frames, taken.start)
        for token in reply:
            if self._stop.is_set():
                return
            progress = replace(progress, tokens=progress.tokens + 1)
            if self._cut.is_set():
                self._was_cut = True
                reply.close()
                self._tell(replace(progress, done=True), token.text, began)
                return
            if self._partial and token.delta:
                progress = self._tell(progress, token.text, began)
        self._tell(replace(progress, done=True), self._stream.last.text, began)

    def _tell(self, progress: Progress, text: str, began: float) -> Progress:
        slow = time.monotonic() - began > self._stream.settings.chunk_seconds
        progress = replace(
            progress,
            text=text,
            delta=text.removeprefix(progress.text),
            late=slow or self._mailbox.waiting,
        )
        self._listener.said(progress)
        return progress

    def _read(self, taken: Round) -> tuple[Picture, int]:
        """The frames of a round and how many had to be substituted, as `read_round`; tells why."""
        problems: list[FrameError] = []

        def spoiled(error: FrameError) -> None:
            self._mailbox.spoil()
            problems.append(error)

        shown = read_round(taken, self._convert, spoiled)
        if problems:
            self._listener.failed(problems[-1], fatal=False)
        return shown
