# SPDX-License-Identifier: Apache-2.0
"""How a stream sees: frames to vision tokens, those of the next round ahead of their time.

The vision tower computes and decoding reads memory, so a GPU does both at once at little cost.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.config import StreamSettings
from svlm_core.errors import FrameError
from svlm_core.model.checkpoint import Model
from svlm_core.model.vision import Layout, layout
from svlm_core.rope import Grid
from svlm_core.view import View, look

TOWERS = 6  # kept at most: a camera's, and those of the sizes that shedding cuts its frames to


@dataclass(frozen=True, eq=False)
class Ahead:
    """What was made of `frames` before their round; `most` vision tokens were allowed."""

    frames: np.ndarray
    most: int
    view: View
    features: Tensor  # (n, hidden)


class Eye:
    """Looks at the frames of one stream and encodes them."""

    def __init__(self, model: Model, settings: StreamSettings) -> None:
        self._model, self._settings = model, settings
        self._captures = gpu.replays(model.device)
        self._aside = gpu.Aside(model.device)
        self._towers: dict[Grid, Tower] = {}  # by grid, the one used last at the end
        self._ahead: Ahead | None = None

    @torch.inference_mode()
    def expect(self, frames: np.ndarray, most: int) -> None:
        """Begin with the frames of the round to come, when what is launched so far is done.

        They must not change until then. A CPU has nothing that could work beside, and begins with
        the round, and so does a GPU that captures no graphs. What is wrong with frames, or with
        room for them, is told in their own round.
        """
        if not self._captures:
            return
        with self._aside(), suppress(FrameError, torch.OutOfMemoryError):
            view = look(frames, self._model, self._settings, most)
            features = self._tower(view.grid)(view.patches)
            self._ahead = Ahead(frames, most, view, features)

    def look(self, frames: np.ndarray, most: int) -> View:
        """The patches of a round of frames, as `view.look` cuts them."""
        ahead = self._ahead
        if ahead is None:
            return look(frames, self._model, self._settings, most)
        self._aside.join(ahead.view.patches, ahead.features)  # they share the tower's buffers
        if ahead.frames is frames and ahead.most == most:
            return ahead.view
        self._ahead = None
        return look(frames, self._model, self._settings, most)

    @torch.inference_mode()
    def encode(self, view: View) -> Tensor:
        """The vision tokens (n, hidden) of a round."""
        if self._ahead is not None and self._ahead.view is view:
            features, self._ahead = self._ahead.features, None
            return features
        if not self._captures:
            return self._model.vision(view.patches, view.grid)
        with self._aside():  # always, so that two towers never share their scratch memory
            features = self._tower(view.grid)(view.patches)
        self._aside.join(features)
        return features

    def _tower(self, grid: Grid) -> Tower:
        """The tower for frames of this size; one that is not kept is captured first."""
        tower = self._towers.pop(grid, None)
        if tower is None:
            if len(self._towers) == TOWERS:
                del self._towers[next(iter(self._towers))]  # unused for longest
            tower = Tower(self._model, grid)
            self._captures = tower.captured
        self._towers[grid] = tower
        return tower


class Tower:
    """The vision tower for frames of one size."""

    def __init__(self, model: Model, grid: Grid) -> None:
        vision, config = model.vision, model.config.vision
        t, rows, columns = grid
        pixels = config.in_channels * config.temporal_patch * config.patch_size**2
        self._patches = torch.zeros(
            t * rows * columns, pixels, dtype=model.dtype, device=model.device
        )
        # Held here because a captured graph goes on reading from it.
        self._layout: Layout = layout(grid, config, model.device)
        self._run = gpu.Replayed(lambda: vision(self._patches, grid), model.device)
        self.captured = self._run.captured

    def __call__(self, patches: Tensor) -> Tensor:
        """Vision tokens (n, hidden) of patches (N, pixels of a patch)."""
        self._patches.copy_(patches)
        return self._run()
