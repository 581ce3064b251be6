# SPDX-License-Identifier: Apache-2.0
"""The life of a node's process: start, spin, and an end that is always clean.

rclpy's own signal handlers end the context while other threads may still publish. Here a signal
only asks: the executor spins in a thread of its own, the main thread waits, and on Ctrl-C or
SIGTERM it stops the executor, lets the node close, and ends the context last. Signals that come
meanwhile change nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from svlm_core.errors import SettingsError, SvlmError


class Program(Node):
    """A node that `run` can run. It may set `finished` itself; the result is its exit status.

    To be a managed node too, name LifecycleNode as the second base.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.finished = Future()

    def start(self) -> None:
        """Do what takes long, then begin. Raises SvlmError when it cannot."""
        raise NotImplementedError

    def close(self) -> None:
        """End every thread and destroy the node; callable at any time after construction."""
        self.destroy_node()


class _Signals:
    """SIGINT and SIGTERM: an interrupt while the node starts, a request to end afterwards."""

    def __init__(self) -> None:
        self.requests: SimpleQueue[None] = SimpleQueue()  # safe to put to from a handler
        self.starting = True

    def install(self) -> None:
        """From now on signals are requests."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def ignore(self) -> None:
        """From now to the end of the process: Python's own last steps would die of a signal."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, *_: Any) -> None:
        self.requests.put(None)
        if self.starting:
            self.starting = False
            raise KeyboardInterrupt


def run(name: str, create: Callable[[], Program], arguments: list[str] | None = None) -> int:
    """Run the node that `create` makes until it finishes or a signal comes; the exit status.

    Errors that a user can mend end in one line on the log and status 1.
    """
    signals = _Signals()
    node: Program | None = None
    try:
        signals.install()
        node = _create(create, arguments)
        node.start()
        signals.starting = False
        return _spin(node, signals)
    except KeyboardInterrupt:
        return 0
    except SvlmError as error:
        signals.starting = False
        get_logger(name).fatal(str(error))
        return 1
    finally:
        signals.starting = False
        if node is not None:
            node.close()
        rclpy.try_shutdown()
        signals.ignore()


def _create(create: Callable[[], Program], arguments: list[str] | None) -> Program:
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        return create()
    except RuntimeError as error:  # what rcl says of arguments, parameter files and names
        reason = ' '.join(str(error).split(', at ')[0].split())
        raise SettingsError(f'cannot start with these ROS arguments: {reason}') from error


def _spin(node: Program, signals: _Signals) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def serve() -> None:
        try:
            # Not spin_until_future_complete: it adds a callback to the future with every event.
            node.finished.add_done_callback(lambda _: executor.create_task(lambda: None))
            while not node.finished.done():
                executor.spin_once()
        except Exception as error:  # raised again below, in the main thread
            node.finished.set_exception(error)
        signals.requests.put(None)

    thread = Thread(target=serve, name='executor')
    thread.start()
    signals.requests.get()
    if not node.finished.done():
        node.finished.set_result(0)
    thread.join()
    executor.shutdown()
    return int(node.finished.result())
