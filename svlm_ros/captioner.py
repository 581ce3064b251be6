# SPDX-License-Identifier: Apache-2.0
"""The node `captioner`: camera topics in, one stamped caption per second of each stream out.

Subscribes to `image`; publishes `~/caption` (svlm/msg/Caption, in parts while it is written and
whole when done) with `~/text`, `~/last_caption` and `~/debug_image` made of it, and `~/status`
(svlm/msg/Status, latched) with `/diagnostics` made of it. Offers services to steer the stream and
the action `~/ask`. With several cameras, each has all of this under its own name.

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

from svlm_core.config import StreamSettings
from svlm_core.desk import Desk
from svlm_core.errors import SvlmError
from svlm_core.notice import warning
from svlm_ros import diagnostics, inputs, parameters
from svlm_ros.camera import Camera
from svlm_ros.live import Live
from svlm_ros.process import Program, run
from svlm_ros.weights import give_back, load_engine
from svlm_ros.worker import Worker

SUCCESS = TransitionCallbackReturn.SUCCESS
STATUS_PERIOD = 1.0  # seconds
LOOKS = 4  # at the deadlines of rounds, in one sampling interval


class Captioner(Program, LifecycleNode):
    """Cameras, each with its bounded memory, and one inference thread, in a managed node.

    configure loads the model and reserves the memory, activate begins to listen, deactivate stops
    and keeps the weights, cleanup frees them. What goes wrong in a transition is logged and
    returned: FAILURE where the user can mend it, ERROR (which frees everything) for the rest.
    `load` gives the engine for a Captioner. Raises SettingsError for a bad parameter.
    """

    def __init__(self, load: Callable[[Any], Any] = load_engine, **options: Any) -> None:
        super().__init__('captioner', **options)
        self._load = load
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # sim time may stand still
        self._live = Live(self, *parameters.declare(self), self._changed)
        self.engine: Any = None
        names = self.settings.cameras or ('',)
        self.cameras = [Camera(self, name, self.stream_settings) for name in names]
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._problem: Exception | None = None  # of the latest transition
        self._converter: Any = None
        self._worker: Worker | None = None
        self._timers: list[Any] = []

    @property
    def settings(self) -> parameters.NodeSettings:
        """The settings of the node that are in force."""
        return self._live.now.node

    @property
    def stream_settings(self) -> StreamSettings:
        """The settings of its streams that are in force."""
        return self._live.now.stream

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
        """Choose an image converter, load the model and reserve the memory of the streams."""
        return self._attempt('configure', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the inference thread, and listen."""
        return self._attempt('activate', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and end the inference thread; keep the weights, empty the memory."""
        return self._attempt('deactivate', self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the weights and the memory of the streams."""
        return self._attempt('clean up', self._free)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End what runs and free everything, from any state."""
        return self._attempt('shut down', self._end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        problem = self._problem
        result = self._attempt('recover', self._end)
        self._problem = self._problem or problem  # whoever started the node has to know
        return result

    def close(self) -> None:
        """End the inference thread and destroy the node."""
        self._silence()
        for camera in self.cameras:
            camera.close()
        super().close()

    def _attempt(self, name: str, transition: Callable[[], None]) -> TransitionCallbackReturn:
        self._problem = None
        try:
            transition()
        except Exception as error:  # a transition returns; rclpy would drop the reason
            self._problem = error
            self._set_state(Status.INACTIVE)
            text = f'cannot {name}: {type(error).__name__}: {error}'
            for camera in self.cameras:
                text = camera.note(text)
            self.get_logger().error(text)
        self._publish_status()
        if self._problem is None:
            return SUCCESS
        mendable = isinstance(self._problem, SvlmError)
        return TransitionCallbackReturn.FAILURE if mendable else TransitionCallbackReturn.ERROR

    def _configure(self) -> None:
        self._set_state(Status.LOADING)
        self._converter = inputs.reader(self.settings.transport)
        for camera in self.cameras:
            camera.activity.image_backend = self._converter.name
        self._publish_status()
        name = self.settings.model or 'the model svlm ships with'
        self.get_logger().info(f'loading {name} (device {self.settings.device})')
        began = time.monotonic()
        try:
            engine = self._load(self)
            for camera in self.cameras:
                camera.open(engine)
        except BaseException:
            self._free()  # a memory that was reserved for one camera of two is no use
            raise
        self.engine = engine
        info, seconds = engine.info, time.monotonic() - began
        capacity = self.cameras[0].stream.capacity
        held = sum(camera.stream.memory_bytes for camera in self.cameras)
        self.get_logger().info(
            f'loaded {info.model} in {seconds:.1f} s: {info.parameters / 1e6:.1f} M parameters, '
            f'{info.dtype} on {info.device}, {info.attention} attention, memory for '
            f'{len(self.cameras)} x {capacity} tokens ({held / 2**20:.1f} MiB)'
        )
        if notice := warning(info):
            self.get_logger().warning(notice)
        self._set_state(Status.INACTIVE)

    def _activate(self) -> None:
        desk = Desk()
        try:
            channels = [camera.listen(desk, self._converter) for camera in self.cameras]
        except BaseException:
            self._silence()  # those cameras that are heard already
            raise
        self._worker = Worker(desk, channels)
        self._worker.start()
        for camera in self.cameras:
            camera.serve(self._worker)
        look = 1 / (LOOKS * self.stream_settings.fps)
        self._timers = [
            self.create_timer(look, self._tick),  # on the clock of the node, as deadlines are
            self.create_timer(STATUS_PERIOD, self._report, clock=self._steady),
        ]
        unknown = [name for name in self._parameter_overrides if not self.has_parameter(name)]
        if unknown:  # ROS itself would ignore a misspelt name in silence
            self.get_logger().warning(f'no parameter is called {", ".join(sorted(unknown))}')
        topics = ', '.join(camera.topic for camera in self.cameras)
        self.get_logger().info(
            f'waiting for images on {topics} (converted by {self._converter.name})'
        )

    def _deactivate(self) -> None:
        self._set_state(Status.INACTIVE)
        if not self._silence():
            raise RuntimeError('the inference thread does not end: it is left behind')
        for camera in self.cameras:
            camera.stream.reset()  # its time ends here: the next activation begins at 0

    def _free(self) -> None:
        self._set_state(Status.INACTIVE)
        self.engine = None
        for camera in self.cameras:
            camera.free()
        give_back()

    def _end(self) -> None:
        self._silence()
        self._free()

    def _changed(self, names: frozenset[str]) -> None:
        for camera in self.cameras:
            camera.changed(names)
        self.get_logger().info(f'parameters changed: {", ".join(sorted(names))}')

    def _silence(self) -> bool:
        """Stop listening and end the inference thread; False where it does not end."""
        for timer in self._timers:
            self.destroy_timer(timer)
        for camera in self.cameras:
            camera.deafen()
        worker, self._worker, self._timers = self._worker, None, []
        return worker is None or worker.stop()

    def _set_state(self, state: str) -> None:
        for camera in self.cameras:
            camera.activity.state = state

    def _tick(self) -> None:
        now = self.get_clock().now().nanoseconds
        for camera in self.cameras:
            camera.tick(now)

    def _report(self) -> None:
        entries = [camera.report() for camera in self.cameras]
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics.report(entries, stamp))

    def _publish_status(self) -> None:
        for camera in self.cameras:
            camera.publish_status()


def main(arguments: list[str] | None = None, load: Any = load_engine) -> int:
    """Run the node; the exit status of its process."""
    return run('captioner', lambda: Captioner(load), arguments)


if __name__ == '__main__':
    sys.exit(main())
