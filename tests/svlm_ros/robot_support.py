# SPDX-License-Identifier: Apache-2.0
"""What surrounds a captioner on its graph: a camera that shows, and ears that hear."""

from __future__ import annotations

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from svlm.msg import Caption, Status

from svlm_ros.outputs import LATCHED

T0 = 1_700_000_000


class Camera:
    """Publishes small images with chosen stamps, and waits until the captioner has each."""

    def __init__(
        self,
        graph,
        node,
        wait_for,
        *,
        topic='image',
        kind=Image,
        reliable=True,
        name='camera',
        number=0,
    ):
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.node = graph.add(rclpy.create_node(name))
        self.publisher = self.node.create_publisher(
            kind, topic, QoSProfile(depth=5, reliability=policy)
        )
        self._camera, self._wait = node.cameras[number], wait_for
        wait_for(lambda: self.publisher.get_subscription_count() > 0, 'a subscriber')

    @property
    def received(self) -> int:
        return self._camera.channel.mailbox.counts.received

    def send(self, seconds: float, **changes) -> None:
        """One 56x28 image taken `seconds` after T0 (None: stamp 0)."""
        message = self.picture()
        message.header.frame_id = 'front_optical'
        if seconds is not None:
            stamp = round((T0 + seconds) * 1e9)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        for name, value in changes.items():
            setattr(message, name, value)
        before = self.received
        self.publisher.publish(message)
        self._wait(lambda: self.received > before, 'the frame')

    @staticmethod
    def picture():
        message = Image(height=28, width=56, step=168, encoding='rgb8')
        message.data = b'\x50' * (28 * 168)
        return message

    def seconds(self, first: int, count: int, rate: int = 4) -> None:
        """Whole seconds of stream at `rate` Hz."""
        for i in range(count * rate):
            self.send(first + i / rate)


class CompressedCamera(Camera):
    """The same, in files of a format that OpenCV writes: .jpg or .png."""

    def __init__(self, *args, extension='.jpg', **options):
        self._extension = extension
        super().__init__(*args, topic='image/compressed', kind=CompressedImage, **options)

    def picture(self):
        import cv2

        pixels = np.full((28, 56, 3), (200, 100, 50), np.uint8)  # BGR
        data = cv2.imencode(self._extension, pixels)[1].tobytes()
        return CompressedImage(format=f'rgb8; {self._extension[1:]} compressed bgr8', data=data)


class Ears:
    """Hears everything that a captioner says."""

    def __init__(self, graph, namespace='', camera=''):
        self.captions, self.texts, self.statuses = [], [], []
        self.node = graph.add(rclpy.create_node(f'ears{camera}', namespace=namespace))
        hear = self.node.create_subscription
        name = f'captioner/{camera}' if camera else 'captioner'
        hear(Caption, f'{name}/caption', self.captions.append, 50)
        hear(String, f'{name}/text', lambda message: self.texts.append(message.data), 50)
        hear(Status, f'{name}/status', self.statuses.append, LATCHED)

    @property
    def done(self):
        return [caption for caption in self.captions if caption.done]
