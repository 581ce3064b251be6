# SPDX-License-Identifier: Apache-2.0
"""The norm: what stock transformers computes, by another kernel where nothing is learnt."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from svlm_core.model.layers import RMSNorm

EPS = 1e-6


def norms(size: int, dtype: torch.dtype) -> tuple[RMSNorm, Qwen2RMSNorm]:
    ours, stock = RMSNorm(size, EPS).to(dtype), Qwen2RMSNorm(size, EPS).to(dtype)
    for norm in (ours, stock):
        norm.weight = torch.nn.Parameter(torch.linspace(-2, 3, size).to(dtype))
    return ours, stock


def textbook(x: Tensor, weight: Tensor) -> Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    size=st.integers(1, 200),
    mean=st.sampled_from([0.0, 1.0, -300.0]),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_root_mean_square_whatever_the_mean(seed, rows, size, mean, scale):
    x = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * scale + mean
    norm, _ = norms(size, torch.float32)
    expected = textbook(x, norm.weight)
    with torch.inference_mode():
        torch.testing.assert_close(norm(x).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-5, atol=1e-6)  # to learn


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_is_rounded_where_stock_transformers_rounds(dtype):
    torch.manual_seed(0)
    ours, stock = norms(512, dtype)
    x = (3 * torch.randn(40, 512) + 1).to(dtype)
    same = (ours(x) == stock(x)).float().mean()
    assert same > 0.999  # but where the sums differ by a rounding
