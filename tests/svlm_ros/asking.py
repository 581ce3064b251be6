# SPDX-License-Identifier: Apache-2.0
"""Calls of services of other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.task import Future


def answer(
    wait_for: Callable[..., None], ready: Callable[[], bool], ask: Callable[[], Future]
) -> Any:
    """What a service answers; asked again and again, since DDS may lose an early answer."""
    wait_for(ready, 'the service', 60)
    asked: list[Future] = []

    def answered() -> bool:
        asked.append(ask())
        time.sleep(1)
        return any(future.done() for future in asked)

    wait_for(answered, 'the answer')
    return next(future.result() for future in asked if future.done())
