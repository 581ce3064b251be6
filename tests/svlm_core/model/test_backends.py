# SPDX-License-Identifier: Apache-2.0
"""The back end is the first that is right where it runs; kernels of GPUs are called as they ask.

No GPU is needed: stand-ins with the documented meaning of the arguments take the kernels' place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import varlen

from captured import Captures
from flash import naive
from svlm_core import gpu
from svlm_core.errors import SettingsError
from svlm_core.model import backends
from svlm_core.model.attention import FUSED, attend, bounded
from svlm_core.model.backends import choose_backend, verdict

CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    verdict.cache_clear()
    yield
    verdict.cache_clear()


@pytest.mark.parametrize('name', FUSED)
@pytest.mark.parametrize(('T', 'S', 'spare'), [(1, 33, 0), (7, 40, 0), (1, 33, 19)])
def test_kernels_of_gpus_are_called_by_their_contract(kernels, name, T, S, spare):
    torch.manual_seed(S)
    q, (k, v) = torch.randn(T, 14, 16), torch.randn(2, S + spare, 2, 16)
    length = torch.tensor([S], dtype=torch.int32)
    bound = bounded(length, S + spare, name) if spare else None
    expected = attend(q, k[:S], v[:S], 'matmul')
    torch.testing.assert_close(attend(q, k, v, name, bound), expected, rtol=0, atol=2e-6)


@pytest.fixture
def on_gpu(captures: Captures, monkeypatch: pytest.MonkeyPatch) -> Captures:
    """Let trials for a GPU run on the CPU, where a full window is a small one."""
    apart = backends._apart
    monkeypatch.setattr(
        backends, '_apart', lambda name, device, dtype, *shape: apart(name, CPU, dtype, *shape)
    )
    monkeypatch.setattr(backends, 'FULL', ((1, 320), (48, 320)))
    return captures


def test_the_first_that_is_right_is_taken(kernels, on_gpu, monkeypatch):
    assert choose_backend(GPU, torch.bfloat16) == 'flash3'
    assert choose_backend(GPU, torch.float32) == 'sdpa'
    verdict.cache_clear()
    monkeypatch.delitem(sys.modules, 'flash_attn_interface')
    assert choose_backend(GPU, torch.bfloat16) == 'varlen'
    assert 'flash_attn_interface' in verdict('flash3', GPU, torch.bfloat16)


def test_one_that_is_wrong_or_refuses_is_passed_over(kernels, on_gpu, monkeypatch):
    monkeypatch.delitem(sys.modules, 'flash_attn_interface')
    monkeypatch.setattr(
        varlen,
        'varlen_attn',
        lambda q, k, v, *given, seqused_k, **more: naive(q, k, v, True, len(k)),
    )
    wrong = verdict('varlen', GPU, torch.bfloat16)  # it does not heed the length
    assert wrong.startswith('it is wrong by')

    def refuse(*given, **more):
        raise RuntimeError('no kernel image for sm_87\nmore of it')

    monkeypatch.setitem(sys.modules, 'flash_attn', SimpleNamespace(flash_attn_with_kvcache=refuse))
    assert verdict('flash2', GPU, torch.bfloat16) == 'no kernel image for sm_87'
    assert choose_backend(GPU, torch.bfloat16) == 'sdpa'


def test_one_that_cannot_be_captured_is_passed_over(kernels, on_gpu, monkeypatch):
    """It would be right, and each word take longer than by the next."""
    flash = sys.modules['flash_attn_interface']

    def asks(*given, cache_seqlens, **more):
        return flash.flash_attn_with_kvcache(*given, cache_seqlens=int(cache_seqlens), **more)

    monkeypatch.setitem(
        sys.modules, 'flash_attn_interface', SimpleNamespace(flash_attn_with_kvcache=asks)
    )
    monkeypatch.setattr(gpu, 'capture', refusing(on_gpu))
    assert verdict('flash3', GPU, torch.bfloat16) == 'operation not permitted when capturing'
    assert choose_backend(GPU, torch.bfloat16) == 'varlen'
    assert on_gpu.count >= 3, 'each decoding was'


def refusing(captures: Captures) -> Callable[..., gpu.Work]:
    """A capture that fails as that of a GPU does, where the stand-in finds what it cannot do."""

    def capture(work: gpu.Work, device: torch.device) -> gpu.Work:
        try:
            return captures(work, device)
        except AssertionError as error:
            raise RuntimeError('operation not permitted when capturing') from error

    return capture


def test_a_gpu_is_tried_with_a_full_window_too(monkeypatch):
    tried = []
    monkeypatch.setattr(backends, '_apart', lambda *given: tried.append(given[3:]) or 0.0)
    assert verdict('varlen', GPU, torch.bfloat16) == verdict('sdpa', CPU, torch.float32) == ''
    on_a_gpu, on_a_cpu = tried[:5], tried[5:]
    assert {(1, 13_312), (768, 13_312)} <= set(on_a_gpu)
    assert max(S for _, S in on_a_cpu) <= 200, 'a start on a CPU is fast'


@pytest.mark.parametrize('shape', [(1, 40), (1, 2000), (24, 96), (48, 600)])
def test_a_trial_of_any_size_finds_what_is_wrong(kernels, monkeypatch, shape):
    """One new token: it heeds no length. Many: each misses itself."""
    right = sys.modules['flash_attn'].flash_attn_with_kvcache

    def run(q, k, v, *, cache_seqlens, causal):
        used = k.shape[1] - (q.shape[1] > 1)
        return right(q, k, v, cache_seqlens=used, causal=causal)

    assert backends._apart('flash2', CPU, torch.bfloat16, *shape) < backends.TOLERANCE / 2
    monkeypatch.setitem(sys.modules, 'flash_attn', SimpleNamespace(flash_attn_with_kvcache=run))
    assert backends._apart('flash2', CPU, torch.bfloat16, *shape) > 2 * backends.TOLERANCE


def test_a_cpu_takes_past_and_new_tokens_apart_and_a_gpu_does_not():
    assert choose_backend(CPU, torch.float32) == choose_backend(CPU, torch.bfloat16) == 'parted'
    assert verdict('parted', GPU, torch.float32) == 'it is for CPUs'


def test_where_torch_does_not_tell_the_shares_of_two_halves_sdpa_runs(monkeypatch):
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.setattr(
        torch.ops.aten,
        '_scaled_dot_product_flash_attention_for_cpu',
        lambda *given, **more: (flash(*given, **more)[0], torch.zeros(1, 2, 7 * 24)),
    )
    assert verdict('parted', CPU, torch.float32).startswith('it is wrong by')
    assert choose_backend(CPU, torch.float32) == 'sdpa'


def test_everywhere_else_the_plain_product_runs():
    assert choose_backend(torch.device('mps'), torch.float16) == 'matmul'


def test_a_back_end_can_be_named_and_is_refused_where_it_does_not_run():
    assert choose_backend(CPU, torch.float32, 'matmul') == 'matmul'
    with pytest.raises(SettingsError, match='on a GPU: choose auto'):
        choose_backend(CPU, torch.bfloat16, 'varlen')
    with pytest.raises(SettingsError, match='flash3, varlen, flash2, parted, sdpa, matmul'):
        choose_backend(CPU, torch.float32, 'fast')
