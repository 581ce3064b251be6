# SPDX-License-Identifier: Apache-2.0
"""M-RoPE: where tokens stand on the time, height and width axes, and the rotation by that.

Positions follow Qwen2.5-VL (arXiv 2502.13923, section 2.1.3) as the published StreamingVLM code
lays them: text counts up on all axes at once; a vision grid starts at the last maximum + 1 and
spreads from there; the next text starts at the maximum over all axes + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from svlm_core.gpu import upload

LINE = 4096  # whole positions whose rotation is made once: contiguous ones stay below

Grid = tuple[int, int, int]  # temporal, height and width counts of merged vision tokens
Run = tuple[int, Grid | None]  # tokens that stand together, and the grid that they are; text: none


@dataclass(frozen=True)
class RopeSpec:
    """What a checkpoint says of its rotation: head size, base, axis sections, clock.

    `sections` are counts of frequencies per axis (t, h, w) and sum to `head_dim / 2`;
    `tokens_per_second` is the length of one second on the time axis; None, as in Qwen2-VL: the
    axis counts temporal steps, however long.
    """

    head_dim: int
    theta: float
    sections: tuple[int, int, int]
    tokens_per_second: float | None


def grid_positions(grid: Grid, seconds_per_grid: float, rate: float | None) -> np.ndarray:
    """Positions (3, t*h*w) of a vision grid that starts at 0.

    The time axis advances by `seconds_per_grid * rate` per temporal step and is not rounded:
    at 8 fps the grids of a second lie half a position apart. Without a rate it advances by one.
    """
    t, h, w = np.indices(grid, dtype=np.float32).reshape(3, -1)
    if rate is not None:
        t = t * np.float32(seconds_per_grid) * np.float32(rate)
    return np.stack([t, h, w])


def lay_out(
    runs: Iterable[Run],
    start: float,
    seconds_per_grid: float,
    rate: float | None,
) -> np.ndarray:
    """Positions (3, n) float32 of consecutive runs, each `(tokens, grid)`; text has no grid.

    Where a time step is a fraction of a position, as at 3 fps, the sums are rounded in the
    order of the published code: positions agree to the last bit.
    Raises ValueError when a vision run's token count is not its grid's.
    """
    runs = list(runs)
    laid = np.empty((3, sum(count for count, _ in runs)), dtype=np.float32)
    line = np.arange(laid.shape[1], dtype=np.float32)  # positions of text that starts at 0
    grids = {
        grid: grid_positions(grid, seconds_per_grid, rate)
        for grid in {grid for _, grid in runs if grid is not None}
    }
    base, done, text = np.float32(0), 0, 0  # `text` tokens stand between `done` and the run
    for count, grid in runs:
        if grid is None:
            text += count
            continue
        if count != math.prod(grid):
            raise ValueError(f'a vision run of {count} tokens cannot have the grid {grid}')
        seen = done + text
        laid[:, done:seen] = line[:text] + base
        done = seen + count
        laid[:, seen:done] = grids[grid] + np.float32(text) + base
        base, text = laid[:, seen:done].max() + np.float32(1), 0
    laid[:, done:] = line[:text] + base
    return laid + np.float32(start)


class Rotary:
    """Turns positions into rotation tables, on one device.

    `angles` is the type the angles are computed in: float64 lets positions grow for hours
    without losing the phase, float32 loses it as the published code does. The frequencies are
    float32 either way, as the checkpoints were trained with.
    """

    def __init__(
        self, spec: RopeSpec, device: torch.device, angles: torch.dtype = torch.float64
    ) -> None:
        self.spec = spec
        self._device, self._type = device, angles
        self._frequencies = frequencies(spec, device, angles)  # (D/2,)
        axes = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor(spec.sections))
        self._axes = axes.to(device)  # (D/2,) which axis drives each frequency

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine tables, each (n, head_dim) float32, of `positions` (3, n).

        The first half of the sines is negative, as `rotate` takes them.

        Whole positions from 0 to LINE are looked up, if the host knows them: all there are, but
        for odd frame rates, hours of native ones, plain ones of large frames, and rounds that
        are brought back.
        """
        places = positions.int()
        if places.device.type == 'cpu' and _on_line(places, positions):
            halves = self._looked_up(places.numpy())
        else:
            by_frequency = positions.to(self._frequencies)[self._axes]  # (D/2, n)
            angles = by_frequency.T * self._frequencies  # (n, D/2)
            halves = angles.cos().float(), angles.sin().float()
        return doubled(*halves)

    def _looked_up(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Cosine and sine (n, D/2) of whole positions (3, n) int32."""
        lines = line(self.spec, self._device, self._type)
        if (places == places[0]).all():  # text
            index = upload(places[0], self._device)
            return lines[0].index_select(0, index), lines[1].index_select(0, index)
        axes, sections = upload(places, self._device), self.spec.sections
        cos, sin = (
            torch.cat(
                [
                    part.index_select(0, axis)
                    for part, axis in zip(table.split(sections, 1), axes, strict=True)
                ],
                dim=1,
            )
            for table in lines
        )
        return cos, sin


def frequencies(spec: RopeSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What a position turns by for each pair of dimensions (D/2,)."""
    powers = torch.arange(0, spec.head_dim, 2, dtype=torch.float32) / spec.head_dim
    return (1.0 / spec.theta**powers).to(device, dtype)


@lru_cache(maxsize=4)  # the streams of a model share it
def line(spec: RopeSpec, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine (LINE, D/2) float32 of the whole positions from 0."""
    with torch.inference_mode(False):
        places = torch.arange(LINE, device=device).to(dtype)
        angles = places[:, None] * frequencies(spec, device, dtype)
        return angles.cos().float(), angles.sin().float()


def _on_line(places: Tensor, positions: Tensor) -> bool:
    whole = places.numel() and (places == positions).all()
    return bool(whole and places.min() >= 0 and places.max() < LINE)


def doubled(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Tables (n, D) for `rotate`, of the cosine and sine (n, D/2) of each pair of dimensions."""
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x` (n, heads, D) by tables (n, D): in float32, rounded once to x's own type."""
    other = x.roll(x.shape[-1] // 2, -1)  # of each pair of dimensions
    return (x * cos[:, None]).addcmul_(other, sin[:, None]).to(x.dtype)


def rotate_into(out: Tensor, x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """The same into `out`, in halves: of many keys that saves to copy, of few it takes longer."""
    half = x.shape[-1] // 2
    turned = torch.mul(x, cos[:, None], out=out if x.dtype is cos.dtype else None)  # float32
    turned[..., :half].addcmul_(x[..., half:], sin[:, None, :half])
    turned[..., half:].addcmul_(x[..., :half], sin[:, None, half:])
    if turned is not out:
        out.copy_(turned)
