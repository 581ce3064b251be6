# SPDX-License-Identifier: Apache-2.0
"""Camera messages to pictures: sensor_msgs/Image in, (H, W, 3) uint8 RGB out.

A message, from ROS or from a bag, is checked from its header alone (`check`, microseconds),
repacked to eight bits and rows without padding, and only then handed to a library: rosbags-image
here, cv_bridge before it in the node (svlm_ros.conversion). Neither checks sizes, and each fails
on some of padding, byte order and nv12.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svlm_core.errors import FrameError

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """How an encoding lies in memory: `channels` of `depth` bytes a pixel."""

    channels: int
    depth: int = 1
    rows: float = 1  # rows of data per row of picture: 1.5 where colour follows in its own plane
    even: tuple[int, int] = (1, 1)  # height and width must be multiples of these
    plain: str | None = None  # the 8-bit encoding with the same meaning, if it is not this one


_BAYER = ('rggb', 'bggr', 'gbrg', 'grbg')
LAYOUTS: dict[str, Layout] = {
    'rgb8': Layout(3),
    'bgr8': Layout(3),
    'rgba8': Layout(4),
    'bgra8': Layout(4),
    'mono8': Layout(1),
    'mono16': Layout(1, depth=2, plain='mono8'),
    'yuv422': Layout(2, even=(1, 2)),
    'uyvy': Layout(2, even=(1, 2), plain='yuv422'),
    'yuv422_yuy2': Layout(2, even=(1, 2)),
    'yuyv': Layout(2, even=(1, 2), plain='yuv422_yuy2'),
    'nv12': Layout(1, rows=1.5, even=(2, 2)),
    'nv21': Layout(1, rows=1.5, even=(2, 2)),
    **{f'bayer_{order}8': Layout(1, even=(2, 2)) for order in _BAYER},
    **{
        f'bayer_{order}16': Layout(1, depth=2, even=(2, 2), plain=f'bayer_{order}8')
        for order in _BAYER
    },
}
REFUSED = {
    '32FC1': 'it holds depth, not a picture: choose the colour topic of this camera',
    '16UC1': 'it holds depth, not a picture: choose the colour topic of this camera',
    '8UC3': 'it does not say which channel is red: let the camera publish rgb8 or bgr8',
}


@dataclass(frozen=True)
class Plain:
    """The fields of an Image that the libraries read; rows are tight, samples are bytes."""

    height: int
    width: int
    encoding: str
    step: int
    data: Picture  # (height * step,), or half as much again for nv12 and nv21
    is_bigendian: bool = sys.byteorder == 'big'  # of this machine: nothing is left to swap


def check(message: Any) -> Layout:
    """Hold an Image to what its own fields promise, and return its layout.

    Raises FrameError for an encoding that is not taken, a size of zero, a step shorter than a
    row, or fewer bytes than height x step.
    """
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding in REFUSED:
        raise FrameError(f'image encoding {encoding} is refused: {REFUSED[encoding]}')
    if encoding not in LAYOUTS:
        raise FrameError(
            f'image encoding {encoding!r} is unknown: publish one of {", ".join(LAYOUTS)}'
        )
    layout = LAYOUTS[encoding]
    size = f'{width}x{height} {encoding} image'
    if height < 1 or width < 1:
        raise FrameError(f'{size}: it has no pixels')
    if height % layout.even[0] or width % layout.even[1]:
        raise FrameError(f'{size}: this encoding needs an even size')
    row = width * layout.channels * layout.depth
    if step < row:
        raise FrameError(f'{size}: step is {step} bytes, a row alone takes {row}')
    needed = round(height * layout.rows) * step
    if len(message.data) < needed:
        raise FrameError(f'{size}: {len(message.data)} bytes of data, {needed} expected')
    return layout


def tidy(message: Any) -> Plain:
    """The same picture in eight bits and tight rows; copies only where it has to.

    Sixteen bits become eight by rounding x 255/65535, whatever the byte order.
    Raises FrameError as `check` does.
    """
    layout = check(message)
    height, width, rows = message.height, message.width, round(message.height * layout.rows)
    row = width * layout.channels * layout.depth
    data = np.frombuffer(message.data, np.uint8, rows * message.step)
    data = data.reshape(rows, message.step)[:, :row]
    if layout.depth == 2:
        wide = np.ascontiguousarray(data).view('>u2' if message.is_bigendian else '<u2')
        data = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Plain(
        height=height,
        width=width,
        encoding=layout.plain or message.encoding,
        step=width * layout.channels,
        data=np.ascontiguousarray(data).reshape(-1),
    )


@dataclass(frozen=True)
class Converter:
    """A working way to turn messages into pictures; `name` says which library does it."""

    name: str
    to_rgb: Callable[[Plain], Picture]

    def __call__(self, message: Any) -> Picture:
        """An Image as (H, W, 3) uint8 RGB. Raises FrameError for what cannot be read."""
        plain = tidy(message)
        if plain.encoding in ('nv12', 'nv21'):
            return _nv_to_rgb(plain)
        try:
            return np.ascontiguousarray(self.to_rgb(plain))
        except Exception as error:  # a foreign library may raise anything; the node must live
            reason = ' '.join(str(error).split())
            raise FrameError(f'{self.name} cannot read {plain.encoding}: {reason}') from error


def _nv_to_rgb(plain: Plain) -> Picture:
    # Neither library reads both: their shape rules leave no room for the colour plane.
    import cv2

    code = cv2.COLOR_YUV2RGB_NV12 if plain.encoding == 'nv12' else cv2.COLOR_YUV2RGB_NV21
    return np.asarray(cv2.cvtColor(plain.data.reshape(-1, plain.width), code), np.uint8)


def _rosbags_image() -> Callable[[Plain], Picture]:
    from rosbags.image import message_to_cvimage

    read: Any = message_to_cvimage  # typed for its own messages, reads any with their fields
    return lambda plain: read(plain, 'rgb8')


Backends = Mapping[str, Callable[[], Callable[[Plain], Picture]]]
BACKENDS: Backends = {'rosbags-image': _rosbags_image}
_PROBE = Plain(2, 2, 'bgr8', 6, np.arange(12, dtype=np.uint8))


def probe(name: str, backends: Backends = BACKENDS) -> Converter:
    """The converter of one back end, after it has read a 2x2 image correctly.

    An apt cv_bridge built against NumPy 1 can import and then fail, in ways of its own.
    Raises FrameError with the reason when the back end is absent or wrong.
    """
    try:
        converter = Converter(name, backends[name]())
        picture = converter(_PROBE)
    except Exception as error:  # any failure of a foreign library means: not this one
        raise FrameError(f'{name}: {type(error).__name__}: {error}'.splitlines()[0]) from error
    if not np.array_equal(picture, _PROBE.data.reshape(2, 2, 3)[..., ::-1]):
        raise FrameError(f'{name}: it reads a 2x2 image wrongly')
    return converter


def choose_converter(backends: Backends = BACKENDS) -> Converter:
    """The first back end that works. Raises FrameError with every reason when none does."""
    reasons = []
    for name in backends:
        try:
            return probe(name, backends)
        except FrameError as error:
            reasons.append(str(error))
    raise FrameError(
        f'no library converts camera images: run pip install "svlm[bags]" ({"; ".join(reasons)})'
    )
