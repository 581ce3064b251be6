# SPDX-License-Identifier: Apache-2.0
"""The one inference thread: serves the channels of all cameras, a round at a time, in turn.

Knows no ROS. Whoever wants something else of a stream submits an order: it is carried out here,
between two rounds, for a stream belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from svlm_core.desk import Desk
from svlm_ros.channel import Channel

Result = TypeVar('Result')


class Worker:
    """Takes rounds from a desk and gives each to the channel of its mailbox, in one thread."""

    def __init__(self, desk: Desk, channels: Iterable[Channel]) -> None:
        self._desk = desk
        self._channels = {channel.mailbox: channel for channel in channels}
        self._orders: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
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
        self._desk.close()
        self._thread.join(patience)
        self._cancel_orders()
        return not self._thread.is_alive()

    def submit(self, order: Callable[[], Result]) -> Future[Result]:
        """Have `order` carried out between two rounds; its result, when there is one.

        Cancelled at once where the thread was stopped.
        """
        future: Future[Result] = Future()
        self._orders.put((order, future))
        self._desk.wake()
        if self._stop.is_set():
            self._cancel_orders()
        return future

    def _run(self) -> None:
        while not self._stop.is_set():
            self._carry_out_orders()
            taken = self._desk.take(lambda: not self._orders.empty())
            if taken is None:
                continue
            mailbox, round = taken
            if not self._channels[mailbox].caption(round, self._stop):
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
