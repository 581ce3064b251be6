# SPDX-License-Identifier: Apache-2.0
"""The size at which the model sees a frame: the published numbers, and the budget, always."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.errors import FrameError
from svlm_core.video.resize import fit, resize


@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [
        (1080, 1920, (560, 1008)),
        (720, 1280, (560, 1008)),
        (480, 854, (476, 840)),
        (360, 640, (364, 644)),
        (480, 640, (476, 644)),
        (1920, 1080, (1008, 560)),
        (100, 100, (112, 112)),
        (10, 10, (28, 28)),
    ],
)
def test_camera_formats_get_the_published_sizes(height, width, expected):
    assert fit(height, width, max_tokens=768) == expected


def test_a_small_frame_is_enlarged_only_where_that_is_asked_for():
    assert fit(120, 160, max_tokens=768) == (112, 168)
    height, width = fit(120, 160, max_tokens=768, min_tokens=100)
    assert (height, width) == (252, 336)
    assert height * width // 28**2 >= 100


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000), st.sampled_from([8, 28, 32])
)
def test_every_size_keeps_the_grid_and_the_budget(height, width, budget, factor):
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(FrameError, match='too narrow'):
            fit(height, width, budget, factor)
        return
    rows, columns = (side / factor for side in fit(height, width, budget, factor))
    assert rows == int(rows) >= 1
    assert columns == int(columns) >= 1
    assert rows * columns <= budget
    if min(rows, columns) >= 2:  # a single cell cannot keep the aspect
        assert 0.4 < (columns / rows) / (width / height) < 2.5


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_without_a_tight_budget_a_frame_only_snaps_to_the_grid(height, width):
    if max(height, width) <= 200 * min(height, width):
        fitted = fit(height, width, max_tokens=10**6)
        assert fitted == tuple(max(28, round(side / 28) * 28) for side in (height, width))


def test_an_empty_frame_is_refused():
    with pytest.raises(FrameError, match='empty'):
        fit(0, 640, 768)


def test_nothing_happens_to_a_frame_of_the_right_size():
    frames = torch.zeros(2, 56, 84, 3, dtype=torch.uint8)
    assert resize(frames, (56, 84)) is frames


def test_resizing_keeps_the_picture():
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    frames = torch.from_numpy(np.broadcast_to(ramp[None, None, :, None], (2, 480, 640, 3)).copy())
    small = resize(frames, (238, 322))
    assert small.shape == (2, 238, 322, 3)
    assert small.dtype == torch.uint8
    assert small.is_contiguous()
    expected = torch.linspace(0, 255, 322)
    assert (small[0, 100, :, 1].float() - expected).abs().max() < 3


def test_sharp_edges_stay_in_range_and_fine_lines_do_not_alias():
    edge = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    edge[:, :, 32:] = 255  # bicubic overshoots here; wrapped around, white would turn black
    large = resize(edge, (128, 128))
    assert large[0, 0, :40].max() < 10
    assert large[0, 0, 88:].min() > 245
    lines = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    lines[:, :, ::2] = 255
    grey = resize(lines, (28, 28))[0, 4:-4, 4:-4]
    assert (grey.float() - 127.5).abs().max() < 8


@pytest.mark.parametrize(
    'frames',
    [
        torch.zeros(2, 8, 8, 3),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_other_shapes_and_types_are_refused(frames):
    with pytest.raises(FrameError, match=r'must be \(T, H, W, 3\) uint8'):
        resize(frames, (28, 28))
