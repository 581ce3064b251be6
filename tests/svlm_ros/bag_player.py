# SPDX-License-Identifier: Apache-2.0
"""Stands in for `ros2 bag play`, which has no wheel: as much of it as replay.launch.py asks for.

Publishes the messages of a bag as they are, at the pace of the bag, and its time on /clock.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

KINDS = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}


def parse(arguments: list[str]) -> argparse.Namespace:
    """What was asked for; the names are those of rosbag2."""
    parser = argparse.ArgumentParser(prog='ros2')
    parser.add_argument('words', nargs=2, help='bag play')
    parser.add_argument('bag', type=Path)
    parser.add_argument('--clock', nargs='?', type=float, const=40.0)
    parser.add_argument('--rate', type=float, default=1.0)
    parser.add_argument('--delay', type=float, default=0.0)
    parser.add_argument('--disable-keyboard-controls', action='store_true')
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--topics', nargs='+', default=[])
    return parser.parse_args(arguments)


def play(node: rclpy.node.Node, wanted: argparse.Namespace) -> None:
    """The bag, once."""
    clock = node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
    with AnyReader([wanted.bag]) as bag:
        connections = [each for each in bag.connections if each.topic in wanted.topics]
        images = {
            each.topic: node.create_publisher(KINDS[each.msgtype], each.topic, 10)
            for each in connections
        }
        while not all(each.get_subscription_count() for each in [clock, *images.values()]):
            time.sleep(0.01)
        time.sleep(wanted.delay)
        began, first = time.monotonic(), None
        for connection, stamp, data in bag.messages(connections):
            first = first or stamp
            time.sleep(max(0, began + (stamp - first) / 1e9 / wanted.rate - time.monotonic()))
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(stamp, 10**9)
            clock.publish(message)
            images[connection.topic].publish(bytes(data))
        time.sleep(0.5)  # until all of it is on its way


def main() -> int:
    """Play what the command line says."""
    wanted = parse(sys.argv[1:])
    rclpy.init()
    try:
        node = rclpy.create_node('rosbag2_player')
        play(node, wanted)
        while wanted.loop:
            play(node, wanted)
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
