# SPDX-License-Identifier: Apache-2.0
"""Compressed camera messages to pictures: jpeg and png in, (H, W, 3) uint8 RGB out.

As for raw images, the cheap check comes with the frame and the costly decoding only when a round
shows it, in the inference thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from svlm_core.errors import FrameError
from svlm_ros.conversion import Picture

# First bytes, a mark near the end of every complete file, and what it is.
KINDS = ((b'\xff\xd8\xff', b'\xff\xd9', 'jpeg'), (b'\x89PNG\r\n', b'IEND', 'png'))
TAIL = 1024  # bytes at the end in which the mark lies; some cameras pad


def check_compressed(message: Any) -> str:
    """What kind of picture a CompressedImage holds, by its bytes: jpeg or png.

    Raises FrameError for depth, for another format, and for data that is cut off.
    """
    if 'depth' in message.format.lower():
        raise FrameError(f'{message.format!r} is refused: choose the colour topic of this camera')
    begin = bytes(message.data[:8])
    for start, end, kind in KINDS:
        if begin.startswith(start):
            if end not in bytes(message.data[-TAIL:]):
                raise FrameError(f'{kind} image of {len(message.data)} bytes: its end is missing')
            return kind
    raise FrameError(f'compressed image of format {message.format!r} is neither jpeg nor png')


class Decoder:
    """Reads compressed messages with OpenCV. Raises FrameError where OpenCV is absent."""

    name = 'opencv'

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise FrameError(
                'no library reads compressed images: run pip install opencv-python-headless'
            ) from error
        self._cv2 = cv2

    def __call__(self, message: Any) -> Picture:
        """A CompressedImage as (H, W, 3) uint8 RGB. Raises FrameError for what cannot be read."""
        kind = check_compressed(message)
        data = np.frombuffer(message.data, np.uint8)
        # As the camera saw it: raw images know no orientation either.
        flags = self._cv2.IMREAD_COLOR | self._cv2.IMREAD_IGNORE_ORIENTATION
        try:
            picture = self._cv2.imdecode(data, flags)
        except self._cv2.error as error:
            raise FrameError(
                f'{kind} image cannot be read: {" ".join(error.err.split())}'
            ) from error
        if picture is None:
            raise FrameError(f'{kind} image of {len(data)} bytes cannot be read')
        return np.ascontiguousarray(picture[..., ::-1], np.uint8)
