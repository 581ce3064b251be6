# SPDX-License-Identifier: Apache-2.0
"""The size at which the model sees a frame, and the resampling to it.

A vision token covers a square cell of `factor` pixels (patch size x merge size; 28 in
Qwen2.5-VL). Sides become multiples of it and the area is held to a budget of tokens, as
Qwen2.5-VL does (arXiv 2502.13923, section 2.1.1).
"""

from __future__ import annotations

from math import ceil, floor, sqrt

from torch import Tensor, uint8
from torch.nn.functional import interpolate

from svlm_core.errors import FrameError

MAX_ASPECT = 200  # beyond it a frame is a line, and Qwen2.5-VL refuses it too


def fit(
    height: int, width: int, max_tokens: int, factor: int = 28, min_tokens: int = 1
) -> tuple[int, int]:
    """Sides (height, width) in pixels for a frame of that size: multiples of `factor`.

    The area is at most `max_tokens` cells, the aspect is kept as well as the grid allows, and
    each side is at least one cell. A frame of fewer than `min_tokens` cells is enlarged (the
    published system asks for 100). Raises FrameError for an empty or a far too narrow frame.
    """
    if min(height, width) < 1:
        raise FrameError(f'a frame of {width}x{height} pixels is empty')
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise FrameError(
            f'a frame of {width}x{height} pixels is too narrow: '
            f'the longer side may be at most {MAX_ASPECT} times the shorter'
        )
    rows, columns = max(1, round(height / factor)), max(1, round(width / factor))
    cells = height * width / factor**2
    if rows * columns > max_tokens:
        shrink = sqrt(cells / max_tokens) * factor
        rows, columns = floor(height / shrink), floor(width / shrink)
    elif rows * columns < min_tokens:
        grow = sqrt(min_tokens / cells) / factor
        rows, columns = ceil(height * grow), ceil(width * grow)
    # Only narrow frames under tiny budgets reach these limits: one side has become a single cell.
    rows, columns = max(1, min(rows, max_tokens)), max(1, min(columns, max_tokens))
    if rows * columns > max_tokens:
        rows, columns = (1, columns) if columns > rows else (rows, 1)
    return rows * factor, columns * factor


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample `frames` (T, H, W, 3) uint8 to `size` (height, width): (T, height, width, 3).

    Bicubic with antialiasing, rounded to uint8, on the device of `frames`; the same tensor comes
    back where nothing is to be done. Raises FrameError for another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != uint8:
        raise FrameError(
            f'frames must be (T, H, W, 3) uint8, not {tuple(frames.shape)} {frames.dtype}'
        )
    if tuple(frames.shape[1:3]) == tuple(size):
        return frames
    planes = frames.permute(0, 3, 1, 2).float()  # (T, 3, H, W)
    planes = interpolate(planes, size=size, mode='bicubic', antialias=True)
    return planes.round_().clamp_(0, 255).to(uint8).permute(0, 2, 3, 1).contiguous()
