# SPDX-License-Identifier: Apache-2.0
"""Image messages of a bag to pictures, by the rules of the live node; JPEG and PNG by PyAV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from svlm_core.bags.types import COMPRESSED
from svlm_core.errors import FrameError
from svlm_core.images import check, choose_converter

CODECS = {b'\xff\xd8\xff': 'mjpeg', b'\x89PNG': 'png'}  # by how the data begin


@dataclass(frozen=True)
class Decoder:
    """`check` holds a message to its own promises, `convert` makes (H, W, 3) uint8 RGB of it.

    Both raise FrameError; `name` is the library that does it.
    """

    name: str
    check: Callable[[Any], object]
    convert: Callable[[Any], np.ndarray]


def decoder(kind: str) -> Decoder:
    """The decoder for a message type. Raises FrameError when no library can do it."""
    if kind == COMPRESSED:
        return Decoder(f'PyAV {av.__version__}', codec, decompress)
    converter = choose_converter()
    return Decoder(converter.name, check, converter)


def codec(message: Any) -> str:
    """The codec of a CompressedImage. Raises FrameError for one that is not taken."""
    if 'compressedDepth' in message.format:
        raise FrameError(
            f'image format {message.format!r} is refused: it holds depth, not a picture: '
            'choose the colour topic of this camera'
        )
    head = bytes(message.data[:4])
    for begin, name in CODECS.items():
        if head.startswith(begin):
            return name
    raise FrameError(f'image format {message.format!r} is unknown: publish jpeg or png')


def decompress(message: Any) -> np.ndarray:
    """A CompressedImage as (H, W, 3) uint8 RGB. Raises FrameError for one that is damaged."""
    context: Any = av.CodecContext.create(codec(message), 'r')
    # Without this, a JPEG that is cut off decodes to grey and nobody is told.
    context.options = {'err_detect': 'explode'}
    try:
        packet = av.Packet(bytes(message.data))
        frames: list[Any] = [*context.decode(packet), *context.decode(None)]
        return frames[0].to_ndarray(format='rgb24')
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise FrameError(f'image format {message.format!r}: its data are damaged') from error
