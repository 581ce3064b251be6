# SPDX-License-Identifier: Apache-2.0
"""The node's image converter: cv_bridge where it works, else the one of svlm_core.images."""

from __future__ import annotations

from collections.abc import Callable

from svlm_core import images
from svlm_core.images import Converter, Picture, Plain


def _cv_bridge() -> Callable[[Plain], Picture]:
    from cv_bridge import CvBridge

    bridge = CvBridge()
    return lambda plain: bridge.imgmsg_to_cv2(plain, 'rgb8')


BACKENDS: images.Backends = {'cv_bridge': _cv_bridge, **images.BACKENDS}


def choose_converter() -> Converter:
    """The first back end that reads a 2x2 image correctly.

    An apt cv_bridge built against NumPy 1 can import and then fail. Raises FrameError with every
    reason when none works.
    """
    return images.choose_converter(BACKENDS)
