# SPDX-License-Identifier: Apache-2.0
"""The vision tower of Qwen2.5-VL (arXiv 2502.13923, section 2.1.1) and the patches it reads.

That of Qwen2-VL (arXiv 2409.12191, section 2.1) is the same but for its norms, its feed-forward
layers, and that every block attends within the whole temporal step.

Frames become patches of two frames each; blocks attend within windows, a few of them within the
whole temporal step; 2x2 patches merge into one token. Nothing attends across temporal steps.
Shape legend: N patches of a video, t*h*w of its grid; L patches of a window; H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from svlm_core.errors import FrameError
from svlm_core.model.config import VisionConfig
from svlm_core.model.layers import MLP, GatedMLP, RMSNorm
from svlm_core.rope import Grid, doubled, rotate

EPS = 1e-6  # of every norm; the checkpoints do not say it
THETA = 10000.0  # base of the rotation; the checkpoints do not say it

Spans = tuple[tuple[int, int, int], ...]  # runs of windows: first patch, windows, patches in each


def patchify(
    frames: Tensor, config: VisionConfig, mean: Tensor, std: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Grid]:
    """Normalised patches of a video, in the order of Hugging Face's Qwen2-VL processors.

    `frames` (T, H, W, 3) uint8, H and W multiples of patch x merge; an incomplete temporal patch
    is filled with the last frame. `mean`, `std` (3,) of pixels in 0..1. Returns patches
    (N, channels * temporal * patch * patch) and the grid (t, h, w) in patches.
    Raises FrameError for another shape or type.
    """
    _check(frames, config)
    p, m, f = config.patch_size, config.merge_size, config.temporal_patch
    if missing := -len(frames) % f:
        frames = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
    T, H, W, C = frames.shape
    t, h, w = T // f, H // p, W // p
    cells = frames.reshape(t, f, h // m, m, p, w // m, m, p, C)
    pixels = cells.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, C, f * p * p)  # uint8
    scale = (1 / (255 * std))[:, None]
    patches = pixels.float().mul_(scale).sub_((mean / std)[:, None])
    return patches.flatten(1).to(dtype), (t, h, w)


def merged_grid(grid: Grid, config: VisionConfig) -> Grid:
    """The grid of vision tokens (t, h, w) that a grid of patches merges into."""
    t, h, w = grid
    return t, h // config.merge_size, w // config.merge_size


class VisionTower(nn.Module):
    """Patches in, vision tokens out; parameter names are those of the checkpoints."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.merger = Merger(config)

    def forward(self, patches: Tensor, grid: Grid) -> Tensor:
        """Vision tokens (N / merge^2, out_hidden) of `patches` (N, pixels of a patch).

        `grid` is (t, h, w) in patches, N = t*h*w. Tokens come in raster order, step by step.
        """
        cell = self.config.merge_size**2
        plan = layout(grid, self.config, patches.device)
        x = self.patch_embed(patches)  # (N, hidden)
        x = x.unflatten(0, (-1, cell))[plan.order].flatten(0, 1)
        whole: Spans = ((0, 1, len(x) // grid[0]),)
        for index, block in enumerate(self.blocks):
            full = index in self.config.full_attention_blocks
            x = block(x, plan, whole if full else plan.windows)
        return self.merger(x)[plan.inverse]


@dataclass(frozen=True)
class Layout:
    """In which order the patches of a grid pass through the blocks, and how they are rotated.

    `order` (N / merge^2,) lists the merge cells window by window, windows of one size together;
    `inverse` undoes it. `cos`, `sin` (N, D), for `rotate`, are in that order. `windows` covers one
    step.
    """

    order: Tensor
    inverse: Tensor
    cos: Tensor
    sin: Tensor
    windows: Spans
    steps: int


@lru_cache(maxsize=8)  # a camera has one resolution
def layout(grid: Grid, config: VisionConfig, device: torch.device) -> Layout:
    """The layout of a grid (t, h, w) in patches, made once per grid."""
    t, rows, columns = merged_grid(grid, config)
    reach = config.window_size // (config.patch_size * config.merge_size)  # cells per side
    row, column = np.indices((rows, columns)).reshape(2, -1)
    window = row // reach * -(-columns // reach) + column // reach
    size = np.bincount(window)[window]  # of the window that each cell lies in
    step = np.lexsort((window, size))  # stable: raster order within a window
    order = (step + np.arange(t)[:, None] * len(step)).ravel()
    angles = np.tile(_angles(row[step], column[step], config), (t, 1))  # (N, D / 2)
    with torch.inference_mode(False):  # normal tensors: training may meet the same grid later
        turns = torch.from_numpy(angles).to(device)
        cos, sin = doubled(turns.cos(), turns.sin())
        return Layout(
            order=torch.from_numpy(order).to(device),
            inverse=torch.from_numpy(np.argsort(order)).to(device),
            cos=cos,
            sin=sin,
            windows=_spans(size[step], config.merge_size**2),
            steps=t,
        )


def _angles(row: np.ndarray, column: np.ndarray, config: VisionConfig) -> np.ndarray:
    """Angles (patches, D / 2) of the patches of cells: half for their height, half for width."""
    m, quarter = config.merge_size, config.hidden_size // config.heads // 4
    frequencies = THETA ** -(np.arange(quarter, dtype=np.float32) / quarter)
    inner = np.indices((m, m)).reshape(2, -1)  # (2, merge^2)
    places = np.stack([row, column])[:, :, None] * m + inner[:, None]  # (2, cells, merge^2)
    angles = places.reshape(2, -1, 1) * frequencies.astype(np.float32)  # (2, patches, D / 4)
    return np.concatenate([angles[0], angles[1]], axis=1).astype(np.float32)


def _spans(sizes: np.ndarray, cell: int) -> Spans:
    """Runs of equal windows; `sizes` gives, cell by cell, the cells of its window, rising."""
    runs = zip(*np.unique(sizes, return_index=True, return_counts=True), strict=True)
    return tuple(
        (int(first) * cell, int(cells // size), int(size) * cell) for size, first, cells in runs
    )


class PatchEmbedding(nn.Module):
    """One vector per patch. The checkpoints hold it as a 3-d convolution without overlap."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        kernel = (config.temporal_patch, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(
            config.in_channels, config.hidden_size, kernel, stride=kernel, bias=False
        )

    def forward(self, patches: Tensor) -> Tensor:
        # The same product as a matrix: the convolution kernels are far slower for this shape.
        return functional.linear(patches, self.proj.weight.flatten(1))


class Block(nn.Module):
    """Attention within spans and feed-forward, each added to what came in."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.norm1 = _norm(config)
        self.attn = Attention(config)
        self.norm2 = _norm(config)
        self.mlp = GatedMLP(size, inner, bias=True) if config.gated else MLP(size, inner)

    def forward(self, x: Tensor, plan: Layout, spans: Spans) -> Tensor:
        x = x + self.attn(self.norm1(x), plan, spans)
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Attention of patches to those of their own window and temporal step."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, plan: Layout, spans: Spans) -> Tensor:
        H = self.heads
        qkv = self.qkv(x).unflatten(-1, (3 * H, -1))  # (N, 3H, D)
        q, k = rotate(qkv[:, : 2 * H], plan.cos, plan.sin).chunk(2, dim=1)
        q, k, v = (
            x.unflatten(0, (plan.steps, -1)) for x in (q, k, qkv[:, 2 * H :])
        )  # (t, h*w, H, D)
        seen = [_attend(q, k, v, span) for span in spans]
        out = seen[0] if len(seen) == 1 else torch.cat(seen, dim=1)  # (t, h*w, hidden)
        return self.proj(out.flatten(0, 1))


def _attend(q: Tensor, k: Tensor, v: Tensor, span: tuple[int, int, int]) -> Tensor:
    """Attention within a run of equal windows: a batch of them, without padding or mask."""
    first, windows, length = span
    steps, _, H, D = q.shape
    q, k, v = (
        x[:, first : first + windows * length]
        .reshape(steps * windows, length, H, D)
        .transpose(1, 2)
        for x in (q, k, v)
    )  # (t * windows, H, L, D)
    out = functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).reshape(steps, windows * length, H * D)


class Merger(nn.Module):
    """The patches of a merge cell, side by side, become one vision token."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        inner = config.hidden_size * config.merge_size**2
        self.ln_q = _norm(config)
        self.mlp = nn.Sequential(
            nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, config.out_hidden_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        cells = self.ln_q(x).view(-1, self.mlp[0].in_features)  # (N / merge^2, inner)
        return self.mlp(cells)


def _norm(config: VisionConfig) -> nn.Module:
    kind = RMSNorm if config.gated else nn.LayerNorm
    return kind(config.hidden_size, EPS)


def _check(frames: Tensor, config: VisionConfig) -> None:
    shape = tuple(frames.shape)
    if frames.dtype != torch.uint8 or len(shape) != 4 or shape[3] != config.in_channels:
        raise FrameError(
            f'frames are {frames.dtype} {shape}: give uint8 (T, H, W, {config.in_channels})'
        )
    unit = config.patch_size * config.merge_size
    if 0 in shape or shape[1] % unit or shape[2] % unit:
        raise FrameError(
            f'{shape[0]} frames of {shape[2]}x{shape[1]} pixels cannot be cut into patches: '
            f'resize them to multiples of {unit}, at least one frame'
        )
