# SPDX-License-Identifier: Apache-2.0
"""The services that steer a running captioner: `~/reset`, `~/pause` and `~/set_query`.

Each is an order to the inference thread and answers once it is carried out. Meanwhile the
executor goes on: a service waits without holding up frames, timers or other services.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future as RosFuture
from std_srvs.srv import SetBool, Trigger
from svlm.srv import SetQuery

from svlm_core.errors import SvlmError
from svlm_ros.worker import Worker


async def outcome(node: Node, pending: Future[Any]) -> Any:
    """The result of what another thread does, awaited in a callback of `node`.

    Raises what the other thread raised, and CancelledError when it ended before.
    """
    settled = RosFuture()

    def settle(_: Any) -> None:
        settled.set_result(None)
        if node.executor is not None:
            node.executor.wake()  # rclpy looks at what it awaits only when something happens

    pending.add_done_callback(settle)
    await settled
    return pending.result()


class Control:
    """Offers the services on a node. `worker` gives the inference thread, None when inactive.

    `changed` is told of every query that is in force from now on.
    """

    def __init__(
        self, node: Node, worker: Callable[[], Worker | None], changed: Callable[[str], None]
    ) -> None:
        self._node, self._worker, self._changed = node, worker, changed
        # Not the group of the other callbacks, which would all wait for the answer.
        group = ReentrantCallbackGroup()
        for kind, name, callback in (
            (Trigger, '~/reset', self._reset),
            (SetBool, '~/pause', self._pause),
            (SetQuery, '~/set_query', self._set_query),
        ):
            node.create_service(kind, name, callback, callback_group=group)

    async def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def done(cut: bool) -> str:
            return 'memory is empty' + ('; the reply being written was cut' if cut else '')

        return await self._answer(response, lambda worker: worker.reset(), done)

    async def _pause(self, request: SetBool.Request, response: SetBool.Response) -> Any:
        return await self._answer(
            response,
            lambda worker: worker.pause(request.data),
            lambda _: 'paused' if request.data else 'running',
        )

    async def _set_query(self, request: SetQuery.Request, response: SetQuery.Response) -> Any:
        query = request.query.strip()
        if not query:
            response.message = 'the query is empty: say what the model is to do'
            return response

        def done(_: None) -> str:
            self._changed(query)
            return 'in force from the next second on'

        return await self._answer(response, lambda worker: worker.set_query(query), done)

    async def _answer(
        self, response: Any, order: Callable[[Worker], Future[Any]], done: Callable[[Any], str]
    ) -> Any:
        worker = self._worker()
        if worker is None:
            response.message = 'the node is not active'
            return response
        try:
            response.message = done(await outcome(self._node, order(worker)))
            response.success = True
        except CancelledError:
            response.message = 'the node was deactivated first'
        except SvlmError as error:
            response.message = str(error)
        except Exception as error:  # whatever broke the order, whoever gave it is told
            response.message = ' '.join(f'{type(error).__name__}: {error}'.split())
        self._node.get_logger().info(f'{type(response).__name__}: {response.message}')
        return response
