# SPDX-License-Identifier: Apache-2.0
"""The captioner as a process of its own, with an engine that sleeps instead of thinking.

python fake_captioner.py SECONDS_TO_LOAD SECONDS_PER_TOKEN [--ros-args ...]
"""

from __future__ import annotations

import sys
import time

from ros_support import FakeEngine
from svlm_ros.captioner import main


def load(node):
    time.sleep(float(sys.argv[1]))
    return FakeEngine(lambda number, frames: 'word ' * 20, pause=float(sys.argv[2]))


if __name__ == '__main__':
    sys.exit(main(sys.argv, load))
