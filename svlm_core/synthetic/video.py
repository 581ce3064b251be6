# SPDX-License-Identifier: Apache-2.0
"""The world as an encoded video file, to try the command line with and to test it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from svlm_core.synthetic.story import Story


def render_video(
    path: Path | str,
    seconds: float,
    fps: float = 10,
    *,
    seed: int = 0,
    height: int = 224,
    width: int = 224,
    start: float = 0,
) -> Path:
    """Write `seconds` of the world of `seed` from stream second `start`; give back the path.

    The container follows the suffix of `path` (.mp4, .mkv, ...), the codec is H.264 and the
    sides must be even. The file appears only when it is complete. Raises ValueError for odd
    sides or nothing to write, OSError when the file cannot be written.
    """
    path = Path(path)
    count = round(seconds * fps)
    if count < 1 or height % 2 or width % 2:
        raise ValueError(f'no video of {count} frames of {width}x{height} pixels')
    story = Story(seed, height, width)
    rate = Fraction(fps).limit_denominator(1001)
    part = path.with_name(f'.part-{path.name}')
    try:
        with av.open(str(part), 'w') as container:
            stream = container.add_stream('libx264', rate=rate, options={'crf': '18'})
            stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
            for index in range(count):
                picture = story.frame(start + index / float(rate))
                container.mux(stream.encode(as_video_frame(picture)))
            container.mux(stream.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def as_video_frame(picture: np.ndarray) -> av.VideoFrame:
    """A picture (H, W, 3) uint8 as PyAV takes it."""
    return av.VideoFrame.from_ndarray(picture, format='rgb24')
