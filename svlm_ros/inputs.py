# SPDX-License-Identifier: Apache-2.0
"""The camera of a node: its subscription, and what becomes of each message in the callback.

A message is checked from its header, accounted for and left in the mailbox; nothing here takes
longer than microseconds. Frames that were lost on the way here are counted apart: those that the
middleware says it lost, and those that the stamps say are missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from svlm_core.compressed import Decoder, check_compressed
from svlm_core.errors import FrameError, SettingsError
from svlm_core.images import Picture, check
from svlm_core.mailbox import SECOND, Arrival, Mailbox
from svlm_ros.conversion import choose_converter
from svlm_ros.gaps import Gaps
from svlm_ros.messages import nanoseconds
from svlm_ros.watch import Watch

LOG_PERIOD = 5.0  # seconds between two lines about the same kind of trouble


@dataclass(frozen=True)
class Transport:
    """One way in which pictures come: type of message, topic behind `image`, who checks, reads."""

    message: type
    suffix: str
    check: Callable[[Any], Any]
    reader: Callable[[], Any]  # makes a callable with a name; raises FrameError


TRANSPORTS = {
    'raw': Transport(Image, '', check, choose_converter),
    'compressed': Transport(CompressedImage, '/compressed', check_compressed, Decoder),
}


def topic(node: Node, name: str, transport: str) -> str:
    """Where a camera is to be heard: `name`, remapped, as image_transport extends it."""
    return str(node.resolve_topic_name(name)) + TRANSPORTS[transport].suffix


def reader(transport: str) -> Callable[[Any], Picture]:
    """What turns messages into pictures. Raises FrameError when no library does."""
    found: Callable[[Any], Picture] = TRANSPORTS[transport].reader()
    return found


class Input:
    """Listens to the camera `name` and puts its frames into a mailbox, until it is closed.

    `node` holds the settings of the moment; `note` keeps the latest problem for the status and
    gives it back in one line.
    Raises SettingsError for QoS overrides that cannot be.
    """

    def __init__(self, node: Any, name: str, mailbox: Mailbox, note: Callable[[str], str]) -> None:
        settings = node.settings
        self.topic = topic(node, name, settings.transport)
        self.arrived: int | None = None  # when the newest frame did, ns of the node's clock
        self.lost = 0  # frames that the middleware lost
        self.missing = 0  # frames that the stamps miss
        self._node, self._mailbox, self._note = node, mailbox, note
        self._transport = TRANSPORTS[settings.transport]
        self._watch = Watch(lambda: node.settings.frame_timeout, time.monotonic())
        self._gaps = Gaps(lambda: node.settings.frame_timeout * SECOND)
        self._subscription = self._subscribe()

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def alive(self) -> bool:
        """Whether frames come; says so, once, when they begin to stay away."""
        now = time.monotonic()
        silence = self._watch.overdue(now)
        if silence is not None:
            publishers = self._node.count_publishers(self.topic)
            self._node.get_logger().warning(
                f'no frame for {silence:.1f} s on {self.topic} (publishers: {publishers})'
            )
        return self._watch.alive(now)

    def _subscribe(self) -> Any:
        # Best effort hears reliable and best-effort cameras alike (REP 2003).
        events = SubscriptionEventCallbacks(
            incompatible_qos=self._on_bad_qos, message_lost=self._on_lost
        )
        try:
            return self._node.create_subscription(
                self._transport.message,
                self.topic,
                self._on_image,
                qos_profile_sensor_data,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        except (ParameterException, RuntimeError, ValueError) as error:
            raise SettingsError(f'qos_overrides of {self.topic}: {error}') from error

    def _on_image(self, message: Any) -> None:
        silence = self._watch.arrived(time.monotonic())
        if silence is not None:
            self._node.get_logger().info(f'frames again on {self.topic} after {silence:.1f} s')
        stamp = nanoseconds(message.header.stamp)
        self.missing += self._gaps.missing(stamp) if stamp else 0
        try:
            self._transport.check(message)
        except FrameError as error:
            self._mailbox.refuse()
            self._dropped(str(error))
            return
        self.arrived = self._node.get_clock().now().nanoseconds
        arrival = self._mailbox.put(message, stamp, self.arrived)
        if arrival is Arrival.STALE:
            self._dropped(f'stamp {stamp / 1e9:.3f} is not after the one before')
        if arrival is Arrival.RESTARTED:
            self._node.get_logger().warning(
                self._note(f'time jumped to {stamp / 1e9:.3f}: a new stream begins')
            )

    def _dropped(self, reason: str) -> None:
        self._node.get_logger().error(
            self._note(f'frame dropped: {reason}'), throttle_duration_sec=LOG_PERIOD
        )

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change
        self._node.get_logger().warning(
            f'{self.lost} frames of {self.topic} were lost before they reached this node: give '
            'the middleware more shared memory (config/fastdds_large_images.xml)',
            throttle_duration_sec=LOG_PERIOD,
        )

    def _on_bad_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        self._node.get_logger().warning(
            self._note(
                f'a publisher of {self.topic} offers another {policy} than this node asks for: '
                f'none of its frames arrive; set qos_overrides.{self.topic}.subscription.{policy}'
            )
        )
