# SPDX-License-Identifier: Apache-2.0
"""What a captioner publishes about a second of stream, and on which topics.

`~/caption` carries everything; `~/text` the words alone; `~/last_caption` the newest words, kept
for who comes late; `~/debug_image` the newest picture with its caption, while somebody looks.
"""

from __future__ import annotations

import array

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from svlm.msg import Caption

from svlm_core.images import Picture
from svlm_ros.overlay import draw

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # for late joiners


class Outputs:
    """The caption topics of a node. With `silence` off, seconds without words are not sent."""

    def __init__(self, node: Node, *, silence: bool) -> None:
        self._silence = silence
        self._captions = node.create_publisher(Caption, '~/caption', 10)
        self._text = node.create_publisher(String, '~/text', 10)
        self._last = node.create_publisher(Caption, '~/last_caption', LATCHED)
        self._pictures = node.create_publisher(Image, '~/debug_image', 1)

    def publish(self, caption: Caption, picture: Picture) -> None:
        """Send a caption, part or whole; `picture` (H, W, 3) is the newest that it is about."""
        if self._silence or caption.kind != Caption.SILENCE:
            self._captions.publish(caption)
        if not caption.done:
            return
        if caption.text:
            self._text.publish(String(data=caption.text))
            self._last.publish(caption)
        if self._pictures.get_subscription_count():
            self._pictures.publish(image(draw(picture, caption.text), caption.header))


def image(picture: Picture, header: Header) -> Image:
    """An (H, W, 3) uint8 RGB picture as a message."""
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, step=3 * width, encoding='rgb8')
    message.data = array.array('B', picture.tobytes())  # 30 times faster than bytes in rclpy
    return message
