# SPDX-License-Identifier: Apache-2.0
"""The back end is the first that is right where it runs; kernels of GPUs are called as they ask.

No GPU is needed: stand-ins with the documented meaning of the arguments take the kernels' place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from svlm_core.errors import SettingsError
from svlm_core.model import backends
from svlm_core.model.attention import attend
from svlm_core.model.backends import choose_backend, verdict

CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    verdict.cache_clear()
    yield
    verdict.cache_clear()


def naive(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Float32, keys expanded, aligned at the bottom right."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(group, dim=1) for x in (k, v))
    scores = torch.einsum('thd,shd->hts', q.float(), k) / q.shape[-1] ** 0.5
    if causal:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(len(k) - len(q) + 1)
        scores = scores.masked_fill(hidden, float('-inf'))
    return torch.einsum('hts,shd->thd', scores.softmax(-1), v).to(q.dtype)


def varlen_stand_in(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size, enable_gqa, seqused_k):
    assert enable_gqa
    assert cu_q.dtype == cu_k.dtype == torch.int32
    assert (cu_q.tolist(), cu_k.tolist()) == ([0, len(q)], [0, len(k)])
    assert (max_q, max_k) == (len(q), len(k))
    used = len(k) if seqused_k is None else int(seqused_k)
    return naive(q, k[:used], v[:used], causal=window_size == (-1, 0))


def kvcache_stand_in(q, k, v, *, cache_seqlens, causal):
    used = int(cache_seqlens)
    return naive(q[0], k[0, :used], v[0, :used], causal)[None]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels of GPUs, on the CPU."""
    monkeypatch.setattr(varlen, 'varlen_attn', varlen_stand_in)
    flash = SimpleNamespace(flash_attn_with_kvcache=kvcache_stand_in)
    monkeypatch.setitem(sys.modules, 'flash_attn', flash)
    monkeypatch.setitem(sys.modules, 'flash_attn_interface', flash)


@pytest.mark.parametrize('name', backends.FUSED)
@pytest.mark.parametrize(('T', 'S'), [(1, 33), (7, 40)])
@pytest.mark.parametrize('spare', [0, 19])
def test_kernels_of_gpus_are_called_by_their_contract(kernels, name, T, S, spare):
    torch.manual_seed(S)
    q, (k, v) = torch.randn(T, 14, 16), torch.randn(2, S + spare, 2, 16)
    length = torch.tensor([S], dtype=torch.int32) if spare else None
    expected = attend(q, k[:S], v[:S], 'matmul')
    torch.testing.assert_close(attend(q, k, v, name, length), expected, rtol=0, atol=2e-6)


def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trials for a GPU run on the CPU."""
    apart = backends._apart
    monkeypatch.setattr(
        backends, '_apart', lambda name, device, dtype, *shape: apart(name, CPU, dtype, *shape)
    )


def test_the_first_that_is_right_is_taken(kernels, monkeypatch):
    on_gpu(monkeypatch)
    assert choose_backend(GPU, torch.bfloat16) == 'flash3'
    assert choose_backend(GPU, torch.float32) == 'sdpa'
    verdict.cache_clear()
    monkeypatch.delitem(sys.modules, 'flash_attn_interface')
    assert choose_backend(GPU, torch.bfloat16) == 'varlen'
    assert 'flash_attn_interface' in verdict('flash3', GPU, torch.bfloat16)


def test_one_that_is_wrong_or_refuses_is_passed_over(kernels, monkeypatch):
    on_gpu(monkeypatch)
    monkeypatch.delitem(sys.modules, 'flash_attn_interface')
    monkeypatch.setattr(
        varlen, 'varlen_attn', lambda q, k, v, *given, seqused_k, **more: naive(q, k, v, True)
    )
    wrong = verdict('varlen', GPU, torch.bfloat16)  # it does not heed the length
    assert wrong.startswith('it is wrong by')

    def refuse(*given, **more):
        raise RuntimeError('no kernel image for sm_87\nmore of it')

    monkeypatch.setitem(sys.modules, 'flash_attn', SimpleNamespace(flash_attn_with_kvcache=refuse))
    assert verdict('flash2', GPU, torch.bfloat16) == 'no kernel image for sm_87'
    assert choose_backend(GPU, torch.bfloat16) == 'sdpa'


def test_everywhere_else_the_plain_product_runs():
    assert choose_backend(CPU, torch.float32) == 'sdpa'
    assert choose_backend(torch.device('mps'), torch.float16) == 'matmul'


def test_a_back_end_can_be_named_and_is_refused_where_it_does_not_run():
    assert choose_backend(CPU, torch.float32, 'matmul') == 'matmul'
    with pytest.raises(SettingsError, match='on a GPU: choose auto'):
        choose_backend(CPU, torch.bfloat16, 'varlen')
    with pytest.raises(SettingsError, match='flash3, varlen, flash2, sdpa, matmul'):
        choose_backend(CPU, torch.float32, 'fast')
