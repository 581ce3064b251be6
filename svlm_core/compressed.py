# SPDX-License-Identifier: Apache-2.0
"""Compressed camera messages to pictures: jpeg and png in, (H, W, 3) uint8 RGB out; no ROS.

As for raw images, the cheap check comes with the frame and the costly decoding only when a round
shows it, in the inference thread.
"""

from __future__ import annotations

from typing import Any

import av

from svlm_core.errors import FrameError
from svlm_core.images import Picture

# First bytes, a mark near the end of every complete file, and what it is.
KINDS = ((b'\xff\xd8\xff', b'\xff\xd9', 'jpeg'), (b'\x89PNG\r\n', b'IEND', 'png'))
CODECS = {'jpeg': 'mjpeg', 'png': 'png'}
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
    raise FrameError(
        f'image format {message.format!r} is neither jpeg nor png: publish one of them'
    )


class Decoder:
    """Reads compressed messages with PyAV, which svlm needs anyway."""

    name = f'PyAV {av.__version__}'

    def __call__(self, message: Any) -> Picture:
        """A CompressedImage as (H, W, 3) uint8 RGB. Raises FrameError for what cannot be read."""
        kind = check_compressed(message)
        context: Any = av.CodecContext.create(CODECS[kind], 'r')
        # Without this, a JPEG that is cut off decodes to grey and nobody is told.
        context.options = {'err_detect': 'explode'}
        try:
            packet = av.Packet(bytes(message.data))
            frames: list[Any] = [*context.decode(packet), *context.decode(None)]
            return frames[0].to_ndarray(format='rgb24')
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise FrameError(
                f'{kind} image of {len(message.data)} bytes cannot be read: its data are damaged'
            ) from error
