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
from svlm.action import Ask

from svlm_core.errors import SettingsError, SvlmError
from svlm_core.mailbox import SECOND
from svlm_ros.control import outcome
from svlm_ros.messages import time


class Questions:
    """Offers the action of a camera, under `prefix`."""

    def __init__(self, node: Any, prefix: str, camera: Any) -> None:
        self._node, self._camera = node, camera
        self._busy = False  # one copy of the memory is reserved: one question at a time
        self._server = ActionServer(
            node,
            Ask,
            f'{prefix}/ask',
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """Take the action back."""
        self._server.destroy()

    async def ask(
        self, question: str, heard: Callable[[Any], None], cancelled: Callable[[], bool]
    ) -> Any:
        """Ask; `heard` is told each token. The answer, None where it was cancelled.

        Raises SettingsError while another question is being answered or the node is not active,
        CancelledError where it is deactivated, and what the stream raises.
        """
        orders = self._camera.orders
        if orders is None:
            raise SettingsError('the node is not active')
        if self._busy:
            raise SettingsError('another question is being answered: wait for its end')
        self._busy = True
        try:
            fork, tokens = await outcome(self._node, orders.ask(question))
            while not cancelled():
                token = await outcome(self._node, orders.next(tokens))
                if token is None:
                    return fork.last
                heard(token)
            orders.end(tokens)
            return None
        finally:
            self._busy = False

    async def _execute(self, goal: Any) -> Ask.Result:
        result, whole = Ask.Result(), False
        try:
            whole = await self._answer(goal, result)
        except CancelledError:
            result.message = 'the node was deactivated first'
        except SvlmError as error:
            result.message = str(error)
        except Exception as error:  # whatever broke, whoever asked is told
            result.message = ' '.join(f'{type(error).__name__}: {error}'.split())
        if result.message:
            self._node.get_logger().warning(f'question: {result.message}')
        if goal.is_cancel_requested:
            goal.canceled()
        elif whole:
            goal.succeed()
        else:
            goal.abort()
        return result

    async def _answer(self, goal: Any, result: Ask.Result) -> bool:
        """Fill in `result` until the answer ends or is cancelled; whether it is whole."""

        def heard(token: Any) -> None:
            result.tokens += 1
            result.answer = token.text
            goal.publish_feedback(Ask.Feedback(text=token.text, delta=token.delta))

        request, orders = goal.request, self._camera.orders
        answer = await self.ask(request.question, heard, lambda: goal.is_cancel_requested)
        if answer is None:
            result.message = 'cancelled'
            return False
        origin = self._camera.origin
        if answer.seen is not None and origin is not None:
            result.seen_from, result.seen_to = (
                time(origin + round(seconds * SECOND)) for seconds in answer.seen
            )
        result.text_tokens = answer.text_tokens
        if request.into_memory:
            try:
                await outcome(self._node, orders.keep(answer))
                result.kept = True
            except SvlmError as error:
                result.message = f'not kept: {error}'
        return True
