# SPDX-License-Identifier: Apache-2.0
"""The action `~/ask`: a question about what the stream has shown, answered token by token.

It is asked of a copy of the memory, so that the commentary never notices. Each token is an order
of its own to the inference thread: a round that becomes ready waits for one token at most, or for
the question itself being read.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from svlm.action import Ask

from svlm_core.errors import SvlmError
from svlm_ros.control import outcome
from svlm_ros.worker import Worker


class Questions:
    """Offers the action on a node. `worker` gives the inference thread, None when inactive."""

    def __init__(self, node: Node, worker: Callable[[], Worker | None]) -> None:
        self._node, self._worker = node, worker
        self._busy = False  # one copy of the memory is reserved: one question at a time
        self._server = ActionServer(
            node,
            Ask,
            '~/ask',
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """Take the action back."""
        self._server.destroy()

    async def _execute(self, goal: Any) -> Ask.Result:
        result, worker = Ask.Result(), self._worker()
        if worker is None:
            result.message = 'the node is not active'
        elif self._busy:
            result.message = 'another question is being answered: wait for its end'
        else:
            self._busy = True
            try:
                await self._answer(goal, worker, result)
            except CancelledError:
                result.message = 'the node was deactivated first'
            except SvlmError as error:
                result.message = str(error)
            except Exception as error:  # whatever broke, whoever asked is told
                result.message = ' '.join(f'{type(error).__name__}: {error}'.split())
            finally:
                self._busy = False
        if goal.is_cancel_requested:
            goal.canceled()
        elif result.message:
            self._node.get_logger().warning(f'question not answered: {result.message}')
            goal.abort()
        else:
            goal.succeed()
        return result

    async def _answer(self, goal: Any, worker: Worker, result: Ask.Result) -> None:
        """Fill in `result`, until the answer ends or the goal is cancelled."""
        tokens = await outcome(self._node, worker.ask(goal.request.question))
        while not goal.is_cancel_requested:
            token = await outcome(self._node, worker.submit(lambda: next(tokens, None)))
            if token is None:
                return
            result.tokens += 1
            result.answer = token.text
            goal.publish_feedback(Ask.Feedback(text=token.text, delta=token.delta))
        worker.submit(tokens.close)
        result.message = 'cancelled'
