# SPDX-License-Identifier: Apache-2.0
"""Positions and rotations, against stock transformers where it defines the same, else by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as stock

from svlm_core.rope import LINE, RopeSpec, Rotary, grid_positions, lay_out, rotate

CPU = torch.device('cpu')


@st.composite
def conversations(draw) -> list[tuple[int, tuple[int, int, int] | None]]:
    """Runs of text and of vision with one temporal step, as they come at 2 fps."""
    runs: list[tuple[int, tuple[int, int, int] | None]] = []
    for _ in range(draw(st.integers(1, 4))):
        runs.append((draw(st.integers(1, 9)), None))
        h, w = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
        runs.append((h * w, (1, h, w)))
    return [*runs, (draw(st.integers(1, 9)), None)]


@given(conversations())
@settings(max_examples=50, deadline=None)
def test_positions_are_those_of_stock_transformers(runs):
    kinds = torch.tensor([[2 if grid else 0 for n, grid in runs for _ in range(n)]])
    grids = torch.tensor([[g[0], 2 * g[1], 2 * g[2]] for _, g in runs if g])
    model = stock.Qwen2_5_VLModel.__new__(stock.Qwen2_5_VLModel)
    torch.nn.Module.__init__(model)
    model.config = Qwen2_5_VLConfig(vision_config={'tokens_per_second': 2})
    theirs, _ = model.get_rope_index(torch.zeros_like(kinds), kinds, video_grid_thw=grids)
    ours = lay_out(runs, 0, seconds_per_grid=1, rate=2)
    np.testing.assert_array_equal(ours, theirs[:, 0].numpy())


def test_a_720p_second_moves_the_clock_by_36_and_not_by_720():
    laid = lay_out([(5, None), (720, (1, 20, 36)), (3, None)], 0, 1, 2)
    grid = laid[:, 5:725]
    assert grid.min() == 5
    np.testing.assert_array_equal(grid.max(axis=1), [5, 5 + 19, 5 + 35])
    np.testing.assert_array_equal(laid[:, 725:], [[5 + 36, 5 + 37, 5 + 38]] * 3)


def test_the_grids_of_8_fps_lie_half_a_position_apart():
    laid = grid_positions((4, 1, 3), seconds_per_grid=2 / 8, rate=2)
    np.testing.assert_array_equal(laid[0], np.repeat([0, 0.5, 1, 1.5], 3))
    np.testing.assert_array_equal(laid[2], np.tile([0, 1, 2], 4))
    after = lay_out([(12, (4, 1, 3)), (1, None)], 10, 2 / 8, 2)[:, -1]
    np.testing.assert_array_equal(after, [13, 13, 13])


def test_without_a_clock_the_grids_of_8_fps_lie_one_position_apart():
    laid = lay_out([(12, (4, 1, 3)), (1, None)], 10, 2 / 8, None)
    np.testing.assert_array_equal(laid[0], [*np.repeat([10, 11, 12, 13], 3), 14])
    np.testing.assert_array_equal(laid[2], [*np.tile([10, 11, 12], 4), 14])


def test_the_next_text_follows_the_maximum_over_all_axes_even_a_broken_one():
    after = lay_out([(4, (4, 1, 1)), (2, None)], 0, 2 / 8, 2)
    np.testing.assert_array_equal(after[:, -2:], [[2.5, 3.5]] * 3)


@given(conversations(), st.integers(0, 5000), st.data())
def test_laying_in_two_parts_gives_what_laying_at_once_does(runs, start, data):
    whole = lay_out(runs, start, 1, 2)
    cut = data.draw(st.integers(0, len(runs)))
    first = lay_out(runs[:cut], start, 1, 2)
    then = float(first.max()) + 1 if cut else start
    both = np.concatenate([first, lay_out(runs[cut:], then, 1, 2)], axis=1)
    np.testing.assert_array_equal(both, whole)


def test_text_moves_on_all_axes_at_once_and_empty_runs_take_no_place():
    np.testing.assert_array_equal(
        lay_out([(0, None), (2, None), (0, None)], 7, 1, 2), [[7, 8]] * 3
    )
    assert lay_out([], 0, 1, 2).shape == (3, 0)


def test_a_vision_run_must_have_the_tokens_of_its_grid():
    with pytest.raises(ValueError, match='5 tokens'):
        lay_out([(5, (1, 2, 3))], 0, 1, 2)


@pytest.mark.parametrize('sections', [(2, 3, 3), (16, 24, 24), (1, 1, 2)])
def test_tables_are_those_of_stock_transformers(sections):
    size = 2 * sum(sections)
    rope = {'rope_type': 'default', 'rope_theta': 1e6, 'mrope_section': list(sections)}
    config = Qwen2_5_VLConfig(
        text_config={
            'hidden_size': 4 * size,
            'num_attention_heads': 4,
            'rope_parameters': rope,
        }
    )
    theirs = stock.Qwen2_5_VLRotaryEmbedding(config.get_text_config())
    positions = torch.randint(0, 3000, (3, 40), generator=torch.Generator().manual_seed(0))
    cos, sin = theirs(torch.zeros(1), positions[:, None])
    ours = Rotary(RopeSpec(size, 1e6, sections, 2), CPU).tables(positions.float())
    # Stock takes its angles in float32: a position of thousands costs it some digits.
    torch.testing.assert_close(ours[0], cos[0], atol=3e-4, rtol=0)
    half = size // 2
    torch.testing.assert_close(ours[1][:, :half], -sin[0, :, :half], atol=3e-4, rtol=0)
    torch.testing.assert_close(ours[1][:, half:], sin[0, :, half:], atol=3e-4, rtol=0)


@pytest.mark.parametrize('angles', [torch.float32, torch.float64])
def test_looked_up_tables_are_those_that_would_be_computed(angles):
    rotary = Rotary(RopeSpec(16, 1e6, (2, 3, 3), 2), CPU, angles)
    whole = torch.randint(0, LINE, (3, 500), generator=torch.Generator().manual_seed(0)).float()
    odd = torch.cat([whole, torch.full((3, 1), 0.5)], dim=1)  # so none of them is looked up
    assert [len(table) for table in rotary.tables(whole)] == [500, 500]
    for looked_up, computed in zip(rotary.tables(whole), rotary.tables(odd), strict=True):
        torch.testing.assert_close(looked_up, computed[:-1], atol=1e-7, rtol=0)


def test_rotation_of_queries_and_keys_is_that_of_stock_transformers():
    torch.manual_seed(0)
    q, k = torch.randn(9, 4, 16), torch.randn(9, 2, 16)
    positions = torch.randint(0, 50, (3, 9)).float()
    cos, sin = Rotary(RopeSpec(16, 1e4, (2, 3, 3), 2), CPU).tables(positions)
    plain = torch.cat([-sin[:, :8], sin[:, 8:]], dim=1)
    theirs = stock.apply_rotary_pos_emb(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], cos[None], plain[None]
    )
    torch.testing.assert_close(rotate(q, cos, sin), theirs[0][0].transpose(0, 1))
    torch.testing.assert_close(rotate(k, cos, sin), theirs[1][0].transpose(0, 1))


def test_only_distance_counts_even_after_hours_of_native_positions():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 128)
    rotary = Rotary(RopeSpec(128, 1e6, (16, 24, 24), 2), CPU)

    def score(at: float) -> float:
        laid = torch.tensor([[at, at + 40]] * 3)
        cos, sin = rotary.tables(laid)
        return float((rotate(k, cos[:1], sin[:1]) * rotate(q, cos[1:], sin[1:])).sum())

    assert score(8 * 3600 * 67) == pytest.approx(score(0), abs=1e-3)
