# SPDX-License-Identifier: Apache-2.0
"""The node `synthetic_camera`: publishes the synthetic world as sensor_msgs/Image on `image`.

For demos and tests where no camera is at hand. Frames are rendered for the moment they are
stamped with, so a slow machine gives fewer frames and not slower motion.
"""

from __future__ import annotations

import array
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from svlm_core.config import check_ranges, limit
from svlm_core.errors import SettingsError
from svlm_ros.parameters import read
from svlm_ros.process import Program, run

ENCODINGS = ('rgb8', 'bgr8', 'mono8')


@dataclass(frozen=True)
class CameraSettings:
    """What the camera shows, and how. Raises SettingsError for a value out of range."""

    seed: int = limit(0, 'which synthetic world; the same seed shows the same', low=0)
    width: int = limit(224, 'pixels', low=28, high=7680)
    height: int = limit(224, 'pixels', low=28, high=4320)
    rate: float = limit(10.0, 'frames per second', low=0.01, high=1000)
    encoding: str = limit('rgb8', f'one of {", ".join(ENCODINGS)}')
    duration: float = limit(0.0, 'seconds after which the node ends; 0: never', low=0)
    frame_id: str = limit('camera', 'frame_id of the images')
    listeners: int = limit(
        0,
        'subscribers that the world waits for, so that they see it from its first second: what is '
        'told there is asked for later',
        low=0,
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.encoding not in ENCODINGS:
            raise SettingsError(
                f'encoding={self.encoding!r} is unknown: choose one of {", ".join(ENCODINGS)}'
            )


def encode(picture: np.ndarray, encoding: str) -> np.ndarray:
    """An (H, W, 3) uint8 RGB picture as bytes of rgb8, bgr8 or mono8 (BT.601 luma)."""
    if encoding == 'bgr8':
        picture = picture[..., ::-1]
    if encoding == 'mono8':
        picture = (picture @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(picture)


class SyntheticCamera(Program):
    """Publishes frames at `rate`, for `duration` seconds. Raises SettingsError as its settings."""

    def __init__(self, **options: Any) -> None:
        super().__init__('synthetic_camera', **options)
        self.settings = read(self, CameraSettings)
        # REP 2003: sensors publish reliably, and leave it to subscribers to ask for less.
        self._publisher = self.create_publisher(Image, 'image', QoSProfile(depth=5))
        self._began: Any = None

    def start(self) -> None:
        """Make the world and begin to publish."""
        from svlm_core.synthetic.story import Story

        settings = self.settings
        self._story = Story(settings.seed, settings.height, settings.width)
        self._timer = self.create_timer(1 / settings.rate, self._publish)
        self.get_logger().info(
            f'{settings.width}x{settings.height} {settings.encoding} at {settings.rate:g} Hz on '
            f'{self._publisher.topic_name}'
        )

    def _publish(self) -> None:
        if not self._began and self._publisher.get_subscription_count() < self.settings.listeners:
            return
        now = self.get_clock().now()
        self._began = self._began or now
        seconds = (now - self._began).nanoseconds / 1e9
        if 0 < self.settings.duration <= seconds:
            self._timer.cancel()
            self.finished.set_result(0)
            return
        self._publisher.publish(self._image(self._story.frame(seconds), now))

    def _image(self, picture: np.ndarray, now: Any) -> Image:
        data = encode(picture, self.settings.encoding)
        message = Image(height=data.shape[0], width=data.shape[1], step=data[0].nbytes)
        message.header.stamp = now.to_msg()
        message.header.frame_id = self.settings.frame_id
        message.encoding = self.settings.encoding
        message.data = array.array('B', data.tobytes())  # 30 times faster than bytes in rclpy
        return message


def main(arguments: list[str] | None = None) -> int:
    """Run the node; the exit status of its process."""
    return run('synthetic_camera', SyntheticCamera, arguments)


if __name__ == '__main__':
    sys.exit(main())
