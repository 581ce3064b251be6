# SPDX-License-Identifier: Apache-2.0
"""One picture of a stream, and when it is shown. The pixels are made only if asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from svlm_core.errors import FrameError


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture shown from `stamp` to `end`, in seconds of its source.

    `rgb()` gives its pixels (H, W, 3) uint8, made anew each time; it may raise SourceError.
    """

    stamp: float
    end: float
    rgb: Callable[[], np.ndarray]


def pixels(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8, turned upright as a phone's metadata asks. Raises FrameError."""
    try:
        picture = frame.to_ndarray(format='rgb24')
    except (av.FFmpegError, ValueError) as error:
        raise FrameError(f'pixels of format {frame.format.name} are not RGB') from error
    return np.rot90(picture, round(frame.rotation / 90) % 4)
