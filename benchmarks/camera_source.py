# SPDX-License-Identifier: Apache-2.0
"""A camera for benchmarks/camera.py: 1080p rgb8 images at a steady rate on `image`.

An image is stamped as by a camera's own clock, with the moment at which it was due, even if this
process came late to publish it. Engines see no stamps, so the first eight bytes hold it too. One
message is used again and again: making six megabytes anew would cost more than sending them.

python camera_source.py RATE SECONDS REPORT.json
"""

from __future__ import annotations

import array
import json
import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from svlm_core.timeline import write_whole

HEIGHT, WIDTH = 1080, 1920
STAMP = 8  # bytes, little-endian nanoseconds


class Source:
    """Publishes one grey image again and again, with other stamps."""

    def __init__(self) -> None:
        self._node = rclpy.create_node('camera_source')
        depth = QoSProfile(depth=5)  # REP 2003: cameras are reliable
        self._publisher = self._node.create_publisher(Image, 'image', depth)
        self._image = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding='rgb8')
        self._image.header.frame_id = 'camera'
        self._image.data = array.array('B', b'\x80' * (HEIGHT * 3 * WIDTH))
        self._pixels = memoryview(self._image.data)

    def await_subscriber(self) -> None:
        """Return when somebody listens, and has had the time to know of this publisher."""
        while not self._publisher.get_subscription_count():
            time.sleep(0.01)
        time.sleep(1)

    def publish(self, stamp: int) -> None:
        """One image, taken at `stamp` (ns)."""
        header = self._image.header
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        self._pixels[:STAMP] = stamp.to_bytes(STAMP, 'little')
        self._publisher.publish(self._image)


def play(source: Source, rate: float, seconds: float) -> dict[str, float]:
    """Publish for so many seconds; what benchmarks/camera.py wants to know of it.

    The last image comes late, when all others have been read: its stamp shows if the one before
    was lost.
    """
    first, began, computed, behind = time.time_ns(), time.monotonic(), time.process_time(), 0.0
    published = round(rate * seconds)
    stamps = [first + round(number / rate * 1e9) for number in range(published)]
    for stamp in stamps[:-1]:
        left = began + (stamp - first) / 1e9 - time.monotonic()
        behind = max(behind, -left)
        time.sleep(max(0.0, left))
        source.publish(stamp)
    took, computed, ended = time.monotonic() - began, time.process_time() - computed, time.time()
    print('published', flush=True)
    time.sleep(1)
    source.publish(stamps[-1])
    return {'published': published, 'behind': behind, 'cores': computed / took, 'ended': ended}


def main() -> None:
    """Publish, and write what was done."""
    rate, seconds, report = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    rclpy.init()
    source = Source()
    source.await_subscriber()
    print('publishing', flush=True)
    write_whole(report, json.dumps(play(source, rate, seconds)))
    time.sleep(3)  # the last images lie in the memory of this process until they are read
    rclpy.shutdown()


if __name__ == '__main__':
    main()
