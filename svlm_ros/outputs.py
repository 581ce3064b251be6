# SPDX-License-Identifier: Apache-2.0
"""What a captioner publishes about a second of stream, and on which topics.

`~/caption` carries everything; `~/text` the words alone; `~/last_caption` the newest words, kept
for who comes late; `~/debug_image` the newest picture with its caption, raw and compressed, while
somebody looks.
"""

from __future__ import annotations

import array
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from svlm.msg import Caption

from svlm_core.images import Picture
from svlm_ros.overlay import draw

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # for late joiners
QUALITY = 85  # of jpeg files, of 100


class Outputs:
    """The caption topics of one camera, under `prefix`.

    Where `silence()` is false, seconds without words are not sent.
    """

    def __init__(self, node: Node, prefix: str, silence: Callable[[], bool]) -> None:
        self._silence = silence
        self._captions = node.create_publisher(Caption, f'{prefix}/caption', 10)
        self._text = node.create_publisher(String, f'{prefix}/text', 10)
        self._last = node.create_publisher(Caption, f'{prefix}/last_caption', LATCHED)
        self._pictures = node.create_publisher(Image, f'{prefix}/debug_image', 1)
        self._files = node.create_publisher(CompressedImage, f'{prefix}/debug_image/compressed', 1)

    def publish(self, caption: Caption, picture: Picture) -> None:
        """Send a caption, part or whole; `picture` (H, W, 3) is the newest that it is about."""
        if caption.kind != Caption.SILENCE or self._silence():
            self._captions.publish(caption)
        if not caption.done:
            return
        if caption.text:
            self._text.publish(String(data=caption.text))
            self._last.publish(caption)
        self._show(caption, picture)

    def _show(self, caption: Caption, picture: Picture) -> None:
        raw = self._pictures.get_subscription_count() > 0
        files = self._files.get_subscription_count() > 0
        if not (raw or files):
            return
        drawn = draw(picture, caption.text)
        if raw:
            self._pictures.publish(image(drawn, caption.header))
        if files:
            self._files.publish(jpeg(drawn, caption.header))


def image(picture: Picture, header: Header) -> Image:
    """An (H, W, 3) uint8 RGB picture as a message."""
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, step=3 * width, encoding='rgb8')
    message.data = array.array('B', picture.tobytes())  # 30 times faster than bytes in rclpy
    return message


def jpeg(picture: Picture, header: Header) -> CompressedImage:
    """An (H, W, 3) uint8 RGB picture as a jpeg file, described as image_transport does."""
    import cv2

    _, data = cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    message = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
    message.data = array.array('B', data.tobytes())
    return message
