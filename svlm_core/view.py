# SPDX-License-Identifier: Apache-2.0
"""From the frames of one round to what the vision tower takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from svlm_core.config import StreamSettings
from svlm_core.errors import FrameError
from svlm_core.gpu import upload
from svlm_core.model.checkpoint import Model
from svlm_core.model.vision import merged_grid, patchify
from svlm_core.rope import Grid
from svlm_core.video.resize import fit, resize


@dataclass(frozen=True)
class View:
    """The patches (N, pixels of a patch) of one round's frames, normalised.

    `grid` counts patches, `merged` counts vision tokens, each (t, h, w).
    """

    patches: Tensor
    grid: Grid
    merged: Grid


def look(frames: np.ndarray, model: Model, settings: StreamSettings, most: int) -> View:
    """Bring frames (T, H, W, 3) uint8 RGB of any resolution to size and cut them into patches.

    A pair of them becomes at most `most` vision tokens. Raises FrameError when their shape, type
    or number is not that of a round.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise FrameError(
            f'frames are {frames.dtype} {frames.shape}: give uint8 RGB of shape (T, H, W, 3)'
        )
    if len(frames) != settings.frames_per_round:
        raise FrameError(f'a round takes {settings.frames_per_round} frames, not {len(frames)}')
    vision = model.config.vision
    height, width = frames.shape[1:3]
    cell = vision.patch_size * vision.merge_size
    size = fit(height, width, most, cell, settings.min_vision_tokens)
    pixels = resize(upload(frames, model.device), size)  # (T, h, w, 3) uint8
    patches, grid = patchify(pixels, vision, model.mean, model.std, model.dtype)
    return View(patches, grid, merged_grid(grid, vision))
