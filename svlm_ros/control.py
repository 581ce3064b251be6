# SPDX-License-Identifier: Apache-2.0
"""The services that steer the stream of a camera: `~/reset`, `~/pause`, `~/set_query`, `~/pin`,
`~/save_memory` and `~/load_memory`.

Each but pause is an order to the inference thread and answers once it is carried out. Meanwhile
the executor goes on: a service waits without holding up frames, timers or other services.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future as RosFuture
from std_srvs.srv import SetBool, Trigger
from svlm.srv import Pin, SetQuery, Snapshot

from svlm_core.errors import SvlmError
from svlm_ros.orders import Orders

FILE_NAME = re.compile(r'[A-Za-z0-9_-]{1,100}')  # no way out of the folder


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
    """Offers the services of a camera, under `prefix`."""

    def __init__(self, node: Any, prefix: str, camera: Any) -> None:
        self._node, self._camera = node, camera
        # Not the group of the other callbacks, which would all wait for the answer.
        group = ReentrantCallbackGroup()
        for kind, name, callback in (
            (Trigger, 'reset', self._reset),
            (SetBool, 'pause', self._pause),
            (SetQuery, 'set_query', self._set_query),
            (Pin, 'pin', self._pin),
            (Snapshot, 'save_memory', self._save_memory),
            (Snapshot, 'load_memory', self._load_memory),
        ):
            node.create_service(kind, f'{prefix}/{name}', callback, callback_group=group)

    async def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def done(cut: bool) -> str:
            return 'memory is empty' + ('; the reply being written was cut' if cut else '')

        return await self._answer(response, lambda orders: orders.reset(), done)

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if (orders := self._camera.orders) is None:
            response.message = 'the node is not active'
            return response
        orders.pause(request.data)
        response.success = True
        response.message = 'paused' if request.data else 'running'
        self._node.get_logger().info(f'{self._camera.label}: {response.message}')
        return response

    async def _set_query(self, request: SetQuery.Request, response: SetQuery.Response) -> Any:
        query = request.query.strip()
        if not query:
            response.message = 'the query is empty: say what the model is to do'
            return response

        def done(_: None) -> str:
            self._camera.activity.query = query
            self._camera.publish_status()
            return 'in force from the next second on'

        return await self._answer(response, lambda orders: orders.set_query(query), done)

    async def _pin(self, request: Pin.Request, response: Pin.Response) -> Pin.Response:
        sentence = request.sentence.strip()

        def done(pinned: tuple[str, ...]) -> str:
            self._camera.activity.pinned = pinned
            self._camera.publish_status()
            return 'in force from the next second on' if sentence else 'nothing is pinned'

        await self._answer(response, lambda orders: orders.pin(sentence), done)
        response.sentences = self._camera.activity.pinned
        return response

    async def _save_memory(self, request: Snapshot.Request, response: Snapshot.Response) -> Any:
        return await self._snapshot(request.name, response, Orders.save, 'saved')

    async def _load_memory(self, request: Snapshot.Request, response: Snapshot.Response) -> Any:
        response = await self._snapshot(request.name, response, Orders.load, 'loaded')
        if response.success:
            self._camera.reread()
        return response

    async def _snapshot(
        self,
        name: str,
        response: Snapshot.Response,
        order: Callable[[Orders, Path], Future[float]],
        done: str,
    ) -> Snapshot.Response:
        if not FILE_NAME.fullmatch(name):
            response.message = f'{name!r} is no name: take letters, digits, - and _'
            return response
        path = Path(self._node.settings.memory_folder).expanduser() / f'{name}.safetensors'
        response.path = str(path)
        return await self._answer(
            response,
            lambda orders: order(orders, path),
            lambda seconds: f'{done}: the stream stands at {seconds:g} s',
        )

    async def _answer(
        self, response: Any, order: Callable[[Orders], Future[Any]], done: Callable[[Any], str]
    ) -> Any:
        orders = self._camera.orders
        if orders is None:
            response.message = 'the node is not active'
            return response
        try:
            response.message = done(await outcome(self._node, order(orders)))
            response.success = True
        except CancelledError:
            response.message = 'the node was deactivated first'
        except SvlmError as error:
            response.message = str(error)
        except Exception as error:  # whatever broke the order, whoever gave it is told
            response.message = ' '.join(f'{type(error).__name__}: {error}'.split())
        self._node.get_logger().info(f'{type(response).__name__}: {response.message}')
        return response
