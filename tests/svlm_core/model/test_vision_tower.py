# SPDX-License-Identifier: Apache-2.0
"""The vision tower agrees with stock transformers for every size; patches are cut as its do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stock_model import CASES, Pair, config, pixels
from svlm_core.errors import FrameError
from svlm_core.model.checkpoint import MEAN, STD
from svlm_core.model.config import VisionConfig, parse_config
from svlm_core.model.vision import VisionTower, layout, merged_grid, patchify

VISION = parse_config(config(CASES[0])).vision
STATISTICS = torch.tensor(MEAN), torch.tensor(STD)
SIZES = [(28, 28), (84, 112), (112, 112), (140, 252), (56, 308), (224, 336)]


def cut(frames: Tensor, settings: VisionConfig = VISION) -> tuple[Tensor, tuple[int, int, int]]:
    return patchify(frames, settings, *STATISTICS, torch.float32)


@pytest.mark.parametrize('size', SIZES, ids=lambda size: f'{size[0]}x{size[1]}')
@pytest.mark.parametrize('steps', [1, 3])
def test_features_are_those_of_stock_transformers(
    pair: Pair, size: tuple[int, int], steps: int
) -> None:
    patches, grid = cut(pixels(*size, 2 * steps), pair.ours.config.vision)
    with torch.inference_mode():
        expected = pair.stock.model.visual(patches, grid_thw=torch.tensor([grid])).pooler_output
        found = pair.ours.vision(patches, grid)
    t, h, w = merged_grid(grid, pair.ours.config.vision)
    assert found.shape == (t * h * w, pair.ours.config.vision.out_hidden_size)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_time_step_sees_another(pair: Pair) -> None:
    settings = pair.ours.config.vision
    frames = pixels(84, 140, 4)
    with torch.inference_mode():
        together = pair.ours.vision(*cut(frames, settings))
        apart = [pair.ours.vision(*cut(part, settings)) for part in (frames[:2], frames[2:])]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-5, atol=1e-5)


def test_the_plan_of_a_grid_is_made_once_and_few_are_kept() -> None:
    cpu = torch.device('cpu')
    assert layout((1, 8, 8), VISION, cpu) is layout((1, 8, 8), VISION, cpu)
    assert layout.cache_info().maxsize == 8


@pytest.mark.parametrize(
    ('grid', 'windows'),
    [
        ((1, 8, 8), ((0, 1, 64),)),
        ((2, 16, 24), ((0, 6, 64),)),
        # 5 x 6 cells of four patches: one window each of 1x2, 1x4, 4x2 and 4x4 cells
        ((1, 10, 12), ((0, 1, 8), (8, 1, 16), (24, 1, 32), (56, 1, 64))),
        # 4 x 6 cells twice over: windows of one size are one batch, whatever the step
        ((2, 8, 12), ((0, 1, 32), (32, 1, 64))),
    ],
    ids=str,
)
def test_full_windows_are_one_batch_and_others_are_grouped_by_size(
    grid: tuple[int, int, int], windows: tuple
) -> None:
    assert layout(grid, VISION, torch.device('cpu')).windows == windows


def one_patch_at_a_time(frames: Tensor, settings: VisionConfig) -> Tensor:
    """The order that Hugging Face's processors document, in plain loops."""
    p, m, f = settings.patch_size, settings.merge_size, settings.temporal_patch
    frames = (frames.float() / 255 - STATISTICS[0]) / STATISTICS[1]
    T, H, W, _ = frames.shape
    unit = p * m
    return torch.stack(
        [
            torch.stack(
                [
                    frames[t + df, y + dy : y + dy + p, x + dx : x + dx + p, c]
                    for c in range(3)
                    for df in range(f)
                ]
            ).flatten()
            for t in range(0, T, f)
            for y in range(0, H, unit)
            for x in range(0, W, unit)
            for dy in range(0, unit, p)
            for dx in range(0, unit, p)
        ]
    )


@pytest.mark.parametrize(
    'settings',
    [VISION, replace(VISION, patch_size=8, merge_size=3, temporal_patch=3)],
    ids=['published', 'other'],
)
def test_patches_lie_as_the_stock_processors_lay_them(settings: VisionConfig) -> None:
    unit, f = settings.patch_size * settings.merge_size, settings.temporal_patch
    frames = pixels(2 * unit, 3 * unit, 2 * f)
    patches, grid = cut(frames, settings)
    assert grid == (2, 2 * settings.merge_size, 3 * settings.merge_size)
    assert merged_grid(grid, settings) == (2, 2, 3)
    torch.testing.assert_close(patches, one_patch_at_a_time(frames, settings), rtol=0, atol=1e-5)


def test_an_odd_frame_is_shown_twice() -> None:
    frames = pixels(56, 56, 3)
    doubled = torch.cat([frames, frames[-1:]])
    torch.testing.assert_close(cut(frames), cut(doubled))


def test_patches_come_in_the_type_of_the_model() -> None:
    patches, _ = patchify(pixels(28, 28), VISION, *STATISTICS, torch.bfloat16)
    assert patches.dtype == torch.bfloat16
    torch.testing.assert_close(patches, cut(pixels(28, 28))[0].bfloat16())


@pytest.mark.parametrize(
    ('frames', 'line'),
    [
        (torch.zeros(2, 30, 28, 3, dtype=torch.uint8), '28x30 pixels.*multiples of 28'),
        (torch.zeros(0, 28, 28, 3, dtype=torch.uint8), 'at least one frame'),
        (torch.zeros(2, 28, 28, 4, dtype=torch.uint8), r'give uint8 \(T, H, W, 3\)'),
        (torch.zeros(2, 28, 28, 3), 'torch.float32.*give uint8'),
        (torch.zeros(28, 28, 3, dtype=torch.uint8), 'give uint8'),
    ],
    ids=['size', 'none', 'channels', 'type', 'dimensions'],
)
def test_frames_that_cannot_be_cut_are_refused(frames: Tensor, line: str) -> None:
    with pytest.raises(FrameError, match=line):
        cut(frames)


def test_it_learns_even_after_it_was_run_for_inference() -> None:
    layout.cache_clear()
    tower = VisionTower(VISION)
    patches, grid = cut(pixels(84, 112))
    with torch.inference_mode():
        tower(patches, grid)
    tower(patches, grid).square().mean().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in tower.parameters())
