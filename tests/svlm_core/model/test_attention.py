# SPDX-License-Identifier: Apache-2.0
"""Attention with folded heads is the textbook attention, whatever the grouping and back end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from svlm_core.model.attention import (
    BACKENDS,
    attend,
    attend_apart,
    bounded,
    causal_bias,
    sight,
)
from svlm_core.model.backends import verdict

HERE = [name for name in BACKENDS if not verdict(name, torch.device('cpu'), torch.float32)]


def textbook(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Float64, keys expanded, one query and one head at a time."""
    q, k, v = q.double(), k.double(), v.double()
    T, heads, D = q.shape
    S, group = len(k), heads // k.shape[1]
    out = torch.zeros_like(q)
    for i in range(T):
        for h in range(heads):
            seen = slice(0, S - T + i + 1)
            weights = (k[seen, h // group] @ q[i, h] / D**0.5).softmax(0)
            out[i, h] = weights @ v[seen, h // group]
    return out


def planes(S: int, kv_heads: int, D: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys and values as a cache gives them: views of larger planes."""
    planes = torch.randn(2, S + 9, kv_heads, D).to(dtype)
    return planes[0, :S], planes[1, :S]


@pytest.mark.parametrize('backend', HERE)
@pytest.mark.parametrize('kv_heads', [1, 2])
@pytest.mark.parametrize('group', [1, 2, 7])
@pytest.mark.parametrize(
    ('T', 'S'), [(1, 1), (1, 40), (5, 5), (6, 23), (2, 33), (16, 64)], ids=str
)
def test_every_query_sees_exactly_what_came_before_it(
    backend: str, kv_heads: int, group: int, T: int, S: int
) -> None:
    torch.manual_seed(T * S)
    q = torch.randn(T, kv_heads * group, 16)
    k, v = planes(S, kv_heads, 16, torch.float32)
    out = attend(q, k, v, backend)
    torch.testing.assert_close(out.double(), textbook(q, k, v), rtol=0, atol=2e-6)


@pytest.mark.parametrize('backend', HERE)
@pytest.mark.parametrize('group', [1, 7])
@pytest.mark.parametrize('S', [1, 23, 40])
def test_what_lies_behind_the_bound_is_not_seen(backend: str, group: int, S: int) -> None:
    torch.manual_seed(S)
    q, (k, v) = torch.randn(1, 2 * group, 16), torch.randn(2, S + 30, 2, 16)
    k[S:], v[S:] = 1e4, 1e4
    bound = bounded(torch.tensor([S], dtype=torch.int32), S + 30, backend)
    out = attend(q, k, v, backend, bound)
    torch.testing.assert_close(out.double(), textbook(q, k[:S], v[:S]), rtol=0, atol=2e-6)


@pytest.mark.parametrize('backend', ['parted', 'sdpa', 'matmul'])
def test_one_query_with_a_bound_is_no_masked_call_of_a_fused_kernel(backend, monkeypatch):
    """On a GPU that would run over all keys on as many processors as there are key heads."""
    monkeypatch.setattr(functional, 'scaled_dot_product_attention', None)
    bound = bounded(torch.tensor([9], dtype=torch.int32), 12, backend)
    q, (k, v) = torch.randn(1, 4, 16), torch.randn(2, 12, 2, 16)
    out = attend(q, k, v, backend, bound)
    torch.testing.assert_close(out.double(), textbook(q, k[:9], v[:9]), rtol=0, atol=2e-6)


@pytest.mark.parametrize('backend', HERE)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('T', [1, 6])
def test_half_precision_errs_by_its_rounding_only(
    backend: str, dtype: torch.dtype, T: int
) -> None:
    torch.manual_seed(T)
    q = torch.randn(T, 14, 32).to(dtype)
    k, v = planes(200, 2, 32, dtype)
    out = attend(q, k, v, backend)
    assert out.dtype == dtype
    assert (out.double() - textbook(q, k, v)).abs().max() < 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize('backend', HERE)
def test_queries_may_be_a_slice_of_a_joint_projection(backend: str) -> None:
    torch.manual_seed(0)
    joint = torch.randn(4, 7 + 3, 16)
    k, v = planes(11, 1, 16, torch.float32)
    expected = attend(joint[:, :7].contiguous(), k, v, backend)
    torch.testing.assert_close(attend(joint[:, :7], k, v, backend), expected)


def test_the_mask_is_shared_by_the_layers_of_a_forward_and_fit_for_training() -> None:
    with torch.inference_mode():
        bias = causal_bias(3, 8, 2, torch.float32, torch.device('cpu'))
    assert not bias.is_inference()
    assert causal_bias(3, 8, 2, torch.float32, torch.device('cpu')) is bias
    assert bias.stride(0) % 16 == 0, 'rows that are not aligned are copied by CUDA kernels'
    hidden = [[j > 5 + i for j in range(8)] for i in range(3)] * 2
    assert bias.isinf().tolist() == hidden


def test_keys_that_leave_are_seen_by_none_of_the_later_queries():
    lengths, torch_draws = (7, 5), torch.manual_seed(4)
    q = torch.randn(12, 4, 8, generator=torch_draws)
    k, v = torch.randn(2, 12, 2, 8, generator=torch_draws)
    until = torch.tensor([7, 3, 3, 7, 5, 7, 7])  # keys 1, 2 and 4 leave early
    out = attend_apart(q, k, v, lengths, (sight(until), None))
    for i in range(7):
        seen = [j for j in range(i + 1) if not ((j in (1, 2) and i >= 3) or (j == 4 and i >= 5))]
        expected = textbook(q[i : i + 1], k[seen], v[seen])
        torch.testing.assert_close(out[i : i + 1].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        out[7:].double(), textbook(q[7:], k[7:], v[7:]), rtol=1e-5, atol=1e-5
    )
    whole = attend_apart(q, k, v, lengths, (None, None))
    assert torch.equal(whole[7:], out[7:])
    nothing_leaves = attend_apart(q, k, v, lengths, (sight(torch.full((7,), 7)), None))
    torch.testing.assert_close(nothing_leaves, whole, rtol=1e-5, atol=1e-6)
