# SPDX-License-Identifier: Apache-2.0
"""One camera of a captioner: what it hears, what it says, how it is steered, how it fares.

A node with one camera has it on `image` and says everything under its own name; with several,
camera `front` is heard on `front/image` and speaks under `~/front`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from svlm.msg import Status

from svlm_core.config import Sampling, StreamSettings
from svlm_core.desk import Desk
from svlm_core.errors import SettingsError
from svlm_core.images import Picture
from svlm_core.mailbox import NEWEST, Counts
from svlm_core.shedding import Shedding
from svlm_ros import diagnostics, inputs, messages
from svlm_ros.channel import Channel, Progress
from svlm_ros.control import Control
from svlm_ros.orders import Orders
from svlm_ros.outputs import LATCHED, Outputs
from svlm_ros.questions import Questions
from svlm_ros.sentry import Sentry
from svlm_ros.worker import Worker

ADJUSTED = ('max_new_tokens', 'max_vision_tokens', 'sampling')
LIMITS = {*ADJUSTED, 'shed', *Sampling.__dataclass_fields__}  # parameters that change those


class Camera:
    """A camera; its stream while the node is configured, its input while the node is active.

    `node` is a Captioner: it holds the settings of the moment.
    """

    def __init__(self, node: Any, name: str, settings: StreamSettings) -> None:
        self.opened = settings  # with which the memory is reserved; live ones may be lower
        self.input_name = f'{name}/image' if name else 'image'
        self.topic = inputs.topic(node, self.input_name, node.settings.transport)
        self.label = name or node.settings.camera or self.topic
        self.orders: Orders | None = None  # while the node is active
        self.channel: Channel | None = None  # since it was activated
        self.stream: Any = None  # while it is configured
        self.origin: int | None = None  # stamp of stream time 0 (ns), once there was a round
        self.activity = messages.Activity(Status.INACTIVE, query=settings.query)
        self._node = node
        self._input: inputs.Input | None = None
        self._reported: Status | None = None  # the status behind the latest diagnostics
        self._shedding: Any = None  # while it is active
        self._told = Counts()  # the account when the log last told of lost seconds
        prefix = f'~/{name}' if name else '~'
        self._outputs = Outputs(node, prefix, lambda: bool(node.settings.publish_silence))
        self._status = node.create_publisher(Status, f'{prefix}/status', LATCHED)
        self._questions = Questions(node, prefix, self)
        alerts = node.settings.alerts, node.settings.alert_period
        self._sentry = Sentry(node, prefix, self._questions, *alerts)
        Control(node, prefix, self)

    def open(self, engine: Any) -> None:
        """Reserve the memory of the stream. Raises SvlmError where that cannot be."""
        if self._sentry.asks and not self.opened.ask_tokens:
            raise SettingsError(
                'an alert is a question, and no room is reserved for questions: set ask.enabled '
                'and ask_tokens'
            )
        self.stream = engine.open(self.opened)
        self.activity.query, self.activity.pinned = self.opened.query, ()

    def listen(self, desk: Desk, convert: Callable[[Any], Picture]) -> Channel:
        """Begin to hear the camera; counters begin again. The channel for the worker."""
        settings, stream = self._node.settings, self.opened
        lossless = settings.mailbox == 'lossless'
        mailbox = desk.open(
            stream.fps,
            stream.frames_per_round,
            max_age=settings.max_frame_age,
            queue=settings.lossless_rounds if lossless else NEWEST,
        )
        self._reported, self._told = None, Counts()
        self._shedding = self._new_shedding()
        self.stream.adjust(**self._limits())
        self.channel = Channel(
            self.stream,
            mailbox,
            convert,
            self,
            partial=lambda: self._node.settings.publish_partial,
        )
        self._input = inputs.Input(self._node, self.input_name, mailbox, self.note)
        return self.channel

    def serve(self, worker: Worker) -> None:
        """From now on orders are taken, for this worker."""
        assert self.channel is not None
        self.orders = Orders(worker, self.channel)
        self.activity.state = Status.WAITING

    def deafen(self) -> None:
        """Stop to hear the camera, and to take orders."""
        if self._input is not None:
            self._input.close()
        self._input = self.orders = None

    def free(self) -> None:
        """Give the memory of the stream back."""
        self.stream = self.channel = None

    def close(self) -> None:
        """Take back what the node does not by itself."""
        self._questions.close()

    def changed(self, names: frozenset[str]) -> None:
        """Follow live parameters, from the next round on."""
        settings = self._node.settings
        self._sentry.change(settings.alerts, settings.alert_period)
        if self.channel is not None:
            self.channel.mailbox.max_age = settings.max_frame_age
        if self.orders is not None and names & LIMITS:
            self._shedding, self.activity.shedding = self._new_shedding(), ''
            self.orders.adjust(**self._limits()).add_done_callback(self._adjusted)

    def tick(self, now: int) -> None:
        """Let time pass to `now` (ns of the node's clock): a round may be due without a frame."""
        if self.channel is not None:
            self.channel.mailbox.tick(now)

    def said(self, progress: Progress) -> None:
        """Publish what has been said of a round so far (inference thread)."""
        now = self._node.get_clock().now().nanoseconds
        self.origin = progress.round.origin
        message = messages.caption_message(progress, self.label, now)
        self._outputs.publish(message, progress.picture)
        if progress.done:
            self.activity.captioned(message, progress)
            self._sentry.heard(message)
            self._relieve(progress)

    def failed(self, error: Exception, *, fatal: bool) -> None:
        """Tell of a round that was lost; end the node when it is `fatal` (inference thread)."""
        self._node.get_logger().error(
            self.note(f'round lost: {type(error).__name__}: {error}'),
            throttle_duration_sec=inputs.LOG_PERIOD,
        )
        if fatal:
            self.activity.state = Status.FAILED
            self.publish_status()
            self._node.finished.set_result(1)

    def forgot(self) -> None:
        """Tell that the memory was emptied (inference thread)."""
        self.activity.resets += 1
        self._node.get_logger().info(
            f'the memory of {self.label} is empty: its stream begins anew'
        )

    def reread(self) -> None:
        """Tell what a memory that was loaded brought with it."""
        self.activity.query, self.activity.pinned = self.stream.query, self.stream.pins
        self.origin = None  # its seconds were counted from another frame
        self.publish_status()

    def note(self, text: str) -> str:
        """Keep a problem for the status; the same in one line."""
        self.activity.last_error = ' '.join(text.split())
        return self.activity.last_error

    def publish_status(self) -> Status:
        """Publish how things are at this moment."""
        now = self._node.get_clock().now().nanoseconds
        if (heard := self._input) is not None:
            self.activity.heard(heard.arrived, heard.lost, heard.missing, now)
        counts = Counts() if self.channel is None else self.channel.mailbox.counts
        status = messages.status_message(
            now,
            self.label,
            self.activity,
            counts,
            self._node.settings,
            self._node.stream_settings,
        )
        if self.stream is not None:
            messages.add_model(
                status, self._node.engine.info, self.stream, self._node.stream_settings
            )
        self._status.publish(status)
        return status

    def report(self) -> DiagnosticStatus:
        """Look at everything, publish the status, and give what `/diagnostics` says of it."""
        alive = self._input is not None and self._input.alive()
        if self.channel is not None:
            self._tell_of_lost_seconds(self.channel.mailbox.counts)
            if self.activity.state != Status.FAILED:
                running = Status.RUNNING if alive else Status.WAITING
                held = self.channel.mailbox.held
                self.activity.state = Status.PAUSED if held else running
        status = self.publish_status()
        entry = diagnostics.entry(status, self._reported, self.activity, self._node.settings)
        self._reported = status
        return entry

    def _new_shedding(self) -> Shedding:
        limits = self._node.stream_settings
        return Shedding(
            self._node.settings.shed,
            limits.max_new_tokens,
            limits.max_vision_tokens,
            limits.min_vision_tokens,
        )

    def _limits(self) -> dict[str, Any]:
        settings = self._node.stream_settings
        return {name: getattr(settings, name) for name in ADJUSTED}

    def _adjusted(self, done: Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._node.get_logger().error(self.note(f'parameters not in force: {error}'))

    def _relieve(self, progress: Progress) -> None:
        """Leave out of the next rounds what this one had no time for (inference thread)."""
        shedding = self._shedding
        before = shedding.relief
        share = self.opened.chunk_seconds / len(self._node.cameras)  # they take turns
        relief = shedding.ran(progress.spent, share, progress.stages)
        if relief != before:
            self.stream.adjust(
                max_new_tokens=relief.max_new_tokens, max_vision_tokens=relief.max_vision_tokens
            )
            self.activity.shedding = relief.text
            self._node.get_logger().warning(
                f'{self.label}: ' + (relief.text or 'keeps up again: nothing is cut')
            )

    def _tell_of_lost_seconds(self, counts: Counts) -> None:
        """Say in the log, once per silence, that seconds are skipped; and that rounds are lost."""
        settings, log = self._node.settings, self._node.get_logger()
        blind, before = counts.rounds_blind, self._told.rounds_blind
        if blind > before and not self.activity.blind:
            log.warning(
                f'no frame of {self.label} is younger than {settings.max_frame_age:g} s '
                '(max_frame_age): seconds are skipped until one comes'
            )
        self.activity.blind = blind > before
        if settings.mailbox == 'lossless' and counts.rounds_replaced > self._told.rounds_replaced:
            log.error(
                self.note(
                    f'{counts.rounds_replaced} seconds of {self.label} are lost: the queue of '
                    f'{settings.lossless_rounds} (lossless_rounds) is full: play the bag slower'
                ),
                throttle_duration_sec=inputs.LOG_PERIOD,
            )
        self._told = counts
