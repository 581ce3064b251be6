# SPDX-License-Identifier: Apache-2.0
"""How long services take to answer, while a node does something else."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node


class RoundTrips:
    """Calls one service again and again, one call at a time, and keeps the seconds each took.

    `period` should be no multiple of anything periodic in the node that is called. The first
    call is left out: it may wait for discovery.
    """

    def __init__(self, node: Node, kind: type, service: str, request: Any, period: float) -> None:
        self._client = node.create_client(kind, service)
        self._request, self._began = request, 0.0
        self._waits = False
        self._taken: list[float] = []
        self._node, self._timer = node, node.create_timer(period, self._call)

    def stop(self) -> list[float]:
        """Call no more; the seconds of each call so far."""
        self._node.destroy_timer(self._timer)
        return self._taken[1:]

    def _call(self) -> None:
        if self._waits or not self._client.service_is_ready():
            return
        self._waits, self._began = True, time.perf_counter()
        self._client.call_async(self._request).add_done_callback(self._answered)

    def _answered(self, _: Any) -> None:
        self._taken.append(time.perf_counter() - self._began)
        self._waits = False
