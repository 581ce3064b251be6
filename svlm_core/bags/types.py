# SPDX-License-Identifier: Apache-2.0
"""The message types that bags are read and written with: those of ROS 2 Jazzy, and our own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

SECOND = 1_000_000_000  # stamps are whole nanoseconds, as in ROS

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
IMAGES = (IMAGE, COMPRESSED)
CAPTION = 'svlm/msg/Caption'
STRING = 'std_msgs/msg/String'

# A copy of msg/Caption.msg, which pip would leave behind; a test holds the two alike.
DEFINITION = Path(__file__).parents[1] / 'assets' / 'msg' / 'Caption.msg'


@cache
def typestore() -> Any:
    """The types of Jazzy, which older bags share as far as images go, and svlm/msg/Caption."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(DEFINITION.read_text(encoding='utf-8'), CAPTION))
    return store


def message(kind: str, /, **fields: Any) -> Any:
    """A message of type `kind`, such as 'std_msgs/msg/String'."""
    return typestore().types[kind](**fields)


def header(stamp: int, frame_id: str) -> Any:
    """A std_msgs/Header; `stamp` in nanoseconds."""
    return message('std_msgs/msg/Header', stamp=time(stamp), frame_id=frame_id)


def time(stamp: int) -> Any:
    """Nanoseconds as a builtin_interfaces/Time."""
    return message('builtin_interfaces/msg/Time', sec=stamp // SECOND, nanosec=stamp % SECOND)


def nanoseconds(stamp: Any) -> int:
    """A builtin_interfaces/Time as nanoseconds."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)
