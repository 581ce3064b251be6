# SPDX-License-Identifier: Apache-2.0
"""The profile for large images gives a process the shared memory that it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

PROFILES = Path(__file__).parents[2] / 'config' / 'fastdds_large_images.xml'
# The largest segment of shared memory that a node of this process has mapped, in bytes.
LARGEST = """
import rclpy
rclpy.init()
node = rclpy.create_node('camera')
sizes = [0]
for line in open('/proc/self/maps'):
    if '/dev/shm/fastrtps_' in line:
        begin, end = (int(text, 16) for text in line.split()[0].split('-'))
        sizes.append(end - begin)
print(max(sizes))
node.destroy_node()
rclpy.shutdown()
"""


def largest_segment(**environment) -> int:
    child = subprocess.run(
        [sys.executable, '-c', LARGEST],
        env={**os.environ, 'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp', **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 'rror' not in child.stderr
    return int(child.stdout)


def test_a_process_with_the_profile_has_room_for_ten_images_of_1080p():
    profiles = {'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILES)}
    if not largest_segment():
        pytest.skip('this Fast DDS uses no shared memory here')
    assert largest_segment(**profiles) >= 10 * 1920 * 1080 * 3
    assert largest_segment() < 1920 * 1080 * 3  # without it not even one fits


def test_the_profile_names_a_segment_of_at_least_64_megabytes():
    sizes = [e.text for e in ElementTree.parse(PROFILES).iter() if e.tag.endswith('segment_size')]
    assert [int(size) >= 64_000_000 for size in sizes if size] == [True]
