# SPDX-License-Identifier: Apache-2.0
"""The node `await_captioner`: ends when a captioner is ready for frames, or has no more to say.

For what plays a bag to a captioner: played before the model is loaded, its frames would be lost,
and those that wait for the model when it is over are captioned later. Subscribes to
`captioner/status`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from svlm.msg import Status

from svlm_core.config import check_ranges, limit
from svlm_ros.outputs import LATCHED
from svlm_ros.parameters import read
from svlm_ros.process import Program, run

Until = Literal['ready', 'idle']
READY = (Status.WAITING, Status.RUNNING, Status.PAUSED)
LOOK_PERIOD = 0.2  # seconds


@dataclass(frozen=True)
class WaitingSettings:
    """What to wait for. Raises SettingsError for a value out of range."""

    until: Until = limit('ready', 'what to wait for')
    quiet: float = limit(
        5.0, 'idle: seconds in which the captioner says nothing', low=1.5, high=86400
    )

    def __post_init__(self) -> None:
        check_ranges(self)


class AwaitCaptioner(Program):
    """Waits, with status 0 at the end. Raises SettingsError as its settings."""

    def __init__(self, **options: Any) -> None:
        super().__init__('await_captioner', **options)
        self.settings = read(self, WaitingSettings)
        self._said = (0, 0)
        self._since = time.monotonic()

    def start(self) -> None:
        """Begin to listen."""
        self._since = time.monotonic()
        self.create_subscription(Status, 'captioner/status', self._on_status, LATCHED)
        # The time of a bag stands still when it is over.
        self.create_timer(LOOK_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_status(self, status: Status) -> None:
        if self.settings.until == 'ready' and status.state in READY:
            self._end()
        said = (status.rounds, status.tokens_held)
        if said != self._said:
            self._said, self._since = said, time.monotonic()

    def _look(self) -> None:
        quiet = time.monotonic() - self._since
        if self.settings.until == 'idle' and quiet > self.settings.quiet:
            self._end()

    def _end(self) -> None:
        if not self.finished.done():
            self.finished.set_result(0)


def main(arguments: list[str] | None = None) -> int:
    """Run the node; the exit status of its process."""
    return run('await_captioner', AwaitCaptioner, arguments)


if __name__ == '__main__':
    sys.exit(main())
