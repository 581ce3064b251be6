# SPDX-License-Identifier: Apache-2.0
"""The messages of a round as the frames that the engine sees; the same for node and replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from svlm_core.errors import FrameError
from svlm_core.images import Picture
from svlm_core.mailbox import Frame, Round


def read_round(
    taken: Round, convert: Callable[[Any], Picture], spoiled: Callable[[FrameError], None]
) -> tuple[Picture, int]:
    """The frames of a round, (T, H, W, 3) uint8, and how many had to be substituted.

    A frame that cannot be read, or has another size than the newest that can, is replaced by that
    one; `spoiled` is told of each that cannot be read. Raises FrameError when none can.
    """
    pictures: dict[Frame, Picture] = {}  # a repeated frame is read once
    problem: FrameError | None = None
    for frame in dict.fromkeys(taken.frames):
        try:
            pictures[frame] = convert(frame.message)
        except FrameError as error:
            spoiled(error)
            problem = error
    if not pictures and problem is not None:
        raise problem
    newest = list(pictures.values())[-1]
    fits = {frame for frame, picture in pictures.items() if picture.shape == newest.shape}
    shown = [pictures[frame] if frame in fits else newest for frame in taken.frames]
    return np.stack(shown), sum(frame not in fits for frame in taken.frames)
