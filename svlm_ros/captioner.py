# SPDX-License-Identifier: Apache-2.0
"""The node `captioner`: a camera topic in, one stamped caption per second of stream out.

Subscribes to `image`; publishes `~/caption` (svlm/msg/Caption, in parts while it is written and
whole when done) with `~/text`, `~/last_caption` and `~/debug_image` made of it, and `~/status`
(svlm/msg/Status, latched) with `/diagnostics` made of it. Offers `~/reset`, `~/pause` and
`~/set_query`, and the action `~/ask`.

The callback of a frame only checks and stores it; one thread does all inference, so the node
answers at once however busy the model is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from svlm.msg import Status

from svlm_core.errors import SvlmError
from svlm_core.mailbox import Mailbox
from svlm_core.notice import untrained
from svlm_ros import inputs, messages, parameters
from svlm_ros.control import Control
from svlm_ros.diagnostics import report
from svlm_ros.outputs import LATCHED, Outputs
from svlm_ros.process import Program, run
from svlm_ros.questions import Questions
from svlm_ros.weights import give_back, load_engine
from svlm_ros.worker import Progress, Worker

SUCCESS = TransitionCallbackReturn.SUCCESS
STATUS_PERIOD = 1.0  # seconds


class Captioner(Program, LifecycleNode):
    """One camera, one bounded memory, one inference thread, in a managed node.

    configure loads the model and reserves the memory, activate begins to listen, deactivate stops
    and keeps the weights, cleanup frees them. What goes wrong in a transition is logged and
    returned: FAILURE where the user can mend it, ERROR (which frees everything) for the rest.
    Raises SettingsError for a bad parameter.
    """

    def __init__(
        self, load: Callable[[parameters.NodeSettings], Any] = load_engine, **options: Any
    ) -> None:
        super().__init__('captioner', **options)
        self._load = load
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # sim time may stand still
        self.settings, self.stream_settings = parameters.declare(self)
        self._topic = inputs.topic(self, self.settings.transport)
        self._camera = self.settings.camera or self._topic
        self._activity = messages.Activity(Status.INACTIVE, query=self.stream_settings.query)
        self._mailbox = self._new_mailbox()
        self._outputs = Outputs(self, silence=self.settings.publish_silence)
        self._status = self.create_publisher(Status, '~/status', LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._reported: Status | None = None  # the status behind the latest diagnostics
        self._problem: Exception | None = None  # of the latest transition
        self._engine: Any = None
        self._stream: Any = None
        self._converter: Any = None
        self._worker: Worker | None = None
        self._input: inputs.Input | None = None
        self._timer: Any = None
        self._control = Control(self, lambda: self._worker, self._asked)
        self._questions = Questions(self, lambda: self._worker)

    def start(self) -> None:
        """Configure and activate, with `autostart`. Raises what went wrong."""
        if not self.settings.autostart:
            self._publish_status()
            self.get_logger().info('waiting for a lifecycle manager (autostart is off)')
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() is not SUCCESS and self._problem is not None:
                raise self._problem

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Choose an image converter, load the model and reserve the memory of the stream."""
        return self._attempt('configure', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the inference thread, then listen."""
        return self._attempt('activate', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and end the inference thread; keep the weights, empty the memory."""
        return self._attempt('deactivate', self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the weights and the memory of the stream."""
        return self._attempt('clean up', self._free)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End what runs and free everything, from any state."""
        return self._attempt('shut down', self._end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        return self._attempt('recover', self._end)

    def close(self) -> None:
        """End the inference thread and destroy the node."""
        self._silence()
        self._questions.close()
        super().close()

    def _attempt(self, name: str, transition: Callable[[], None]) -> TransitionCallbackReturn:
        self._problem = None
        try:
            transition()
        except Exception as error:  # a transition returns; rclpy would drop the reason
            self._problem = error
            self._activity.state = Status.INACTIVE
            self.get_logger().error(self._note(f'cannot {name}: {type(error).__name__}: {error}'))
        self._publish_status()
        if self._problem is None:
            return SUCCESS
        mendable = isinstance(self._problem, SvlmError)
        return TransitionCallbackReturn.FAILURE if mendable else TransitionCallbackReturn.ERROR

    def _configure(self) -> None:
        self._activity.state = Status.LOADING
        self._activity.query = self.stream_settings.query
        self._converter = inputs.reader(self.settings.transport)
        self._publish_status()
        name = self.settings.model or 'the model svlm ships with'
        self.get_logger().info(f'loading {name} (device {self.settings.device})')
        began = time.monotonic()
        engine = self._load(self.settings)
        self._stream = engine.open(self.stream_settings)
        self._engine = engine
        info, seconds = engine.info, time.monotonic() - began
        self.get_logger().info(
            f'loaded {info.model} in {seconds:.1f} s: {info.parameters / 1e6:.1f} M parameters, '
            f'{info.dtype} on {info.device}, {info.attention} attention, memory for '
            f'{self._stream.capacity} tokens ({self._stream.memory_bytes / 2**20:.1f} MiB)'
        )
        if warning := untrained(info.model, info.trained):
            self.get_logger().warning(warning)
        self._activity.state = Status.INACTIVE

    def _activate(self) -> None:
        self._mailbox = self._new_mailbox()
        self._reported = None  # counters begin again
        self._input = inputs.Input(self, self.settings, self._mailbox, self._note)
        self._worker = Worker(
            self._stream,
            self._mailbox,
            self._converter,
            self,
            partial=self.settings.publish_partial,
        )
        self._worker.start()
        self._activity.state = Status.WAITING
        self._timer = self.create_timer(STATUS_PERIOD, self._tick, clock=self._steady)
        unknown = [name for name in self._parameter_overrides if not self.has_parameter(name)]
        if unknown:  # ROS itself would ignore a misspelt name in silence
            self.get_logger().warning(f'no parameter is called {", ".join(sorted(unknown))}')
        self.get_logger().info(
            f'waiting for images on {self._topic} (converted by {self._converter.name})'
        )

    def _deactivate(self) -> None:
        self._activity.state = Status.INACTIVE
        if not self._silence():
            raise RuntimeError('the inference thread does not end: it is left behind')
        self._stream.reset()  # its time ends here: the next activation begins at 0

    def _free(self) -> None:
        self._activity.state = Status.INACTIVE
        self._engine = self._stream = None
        give_back()

    def _end(self) -> None:
        self._silence()
        self._free()

    def _silence(self) -> bool:
        """Stop listening and end the inference thread; False where it does not end."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
        if self._input is not None:
            self._input.close()
        worker = self._worker
        self._timer = self._input = self._worker = None
        return worker is None or worker.stop()

    def said(self, progress: Progress) -> None:
        """Publish what has been said of a round so far (inference thread)."""
        message = messages.caption_message(
            progress, self._camera, self.get_clock().now().nanoseconds
        )
        self._outputs.publish(message, progress.picture)
        if not progress.done:
            return
        self._activity.rounds += 1
        self._activity.rounds_late += message.late
        self._activity.latencies.append(message.latency)
        self._activity.frame_id = message.header.frame_id

    def failed(self, error: Exception, *, fatal: bool) -> None:
        """Tell of a round that was lost; end the node when it is `fatal` (inference thread)."""
        self.get_logger().error(
            self._note(f'round lost: {type(error).__name__}: {error}'),
            throttle_duration_sec=inputs.LOG_PERIOD,
        )
        if fatal:
            self._activity.state = Status.FAILED
            self._publish_status()
            self.finished.set_result(1)

    def forgot(self) -> None:
        """Tell that the memory was emptied (inference thread)."""
        self._activity.resets += 1
        self.get_logger().info('the memory of the stream is empty: it begins anew')

    def _asked(self, query: str) -> None:
        self._activity.query = query
        self._publish_status()

    def _new_mailbox(self) -> Mailbox:
        return Mailbox(self.stream_settings.fps, self.stream_settings.frames_per_round)

    def _note(self, text: str) -> str:
        self._activity.last_error = ' '.join(text.split())
        return self._activity.last_error

    def _tick(self) -> None:
        alive = self._input is not None and self._input.alive()
        if self._activity.state != Status.FAILED:
            running = Status.RUNNING if alive else Status.WAITING
            self._activity.state = Status.PAUSED if self._mailbox.held else running
        status = self._publish_status()
        latencies = list(self._activity.latencies)
        self._diagnostics.publish(report(status, self._reported, latencies, self.settings))
        self._reported = status

    def _publish_status(self) -> Status:
        now = self.get_clock().now().nanoseconds
        if self._input is not None:
            self._activity.frame_age = messages.age(self._input.arrived, now)
            self._activity.frames_lost = self._input.lost
            self._activity.frames_missing = self._input.missing
        status = messages.status_message(
            now,
            self._camera,
            self._activity,
            self._mailbox.counts,
            self.settings,
            self.stream_settings,
            '' if self._converter is None else self._converter.name,
        )
        if self._stream is not None:
            messages.add_model(status, self._engine.info, self._stream)
        self._status.publish(status)
        return status


def main(arguments: list[str] | None = None, load: Any = load_engine) -> int:
    """Run the node; the exit status of its process."""
    return run('captioner', lambda: Captioner(load), arguments)


if __name__ == '__main__':
    sys.exit(main())
