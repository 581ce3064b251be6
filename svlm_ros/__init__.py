# SPDX-License-Identifier: Apache-2.0
"""ROS 2 side of svlm: camera topics in, stamped captions out. The engine is in svlm_core.

Importing it raises ImportError, in one line, where ROS 2 or the messages of this package cannot be
found; a program of this package says that line and ends with status 1.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = ('await_captioner', 'captioner', 'caption_viewer', 'synthetic_camera')  # in scripts/


def _missing() -> str:
    """What cannot be found, and what to do about it; empty where all is there."""
    if find_spec('rclpy') is None:
        return (
            f'svlm_ros needs ROS 2, and {sys.executable} finds no rclpy: '
            'source /opt/ros/DISTRO/setup.bash, or run `make setup` and use .venv/bin/python'
        )
    messages = find_spec('svlm')
    if messages is None or messages.origin is None:  # a mere folder of that name has no origin
        return (
            f'svlm_ros needs the messages svlm.msg, and {sys.executable} does not find them: run '
            '`make setup` and use .venv/bin/python, or build this package with colcon and source '
            'install/setup.bash'
        )
    return ''


def _is_program() -> bool:
    """Whether Python was started for a program of this package: by its script, or with -m."""
    return sys.argv[0] == '-m' or Path(sys.argv[0]).name in PROGRAMS


if reason := _missing():
    if _is_program():
        sys.exit(f'svlm: {reason}')
    raise ImportError(reason)
