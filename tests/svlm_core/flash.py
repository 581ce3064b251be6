# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the kernels of flash attention, with the documented meaning of their arguments.

They run on the CPU, also when they are written down and done again.
"""

from __future__ import annotations

import torch
from torch import Tensor


def naive(q: Tensor, k: Tensor, v: Tensor, causal: bool, used: int | Tensor) -> Tensor:
    """Float32, keys expanded, aligned at the bottom right of the first `used` keys."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(group, dim=1) for x in (k, v))
    scores = torch.einsum('thd,shd->hts', q.float(), k) / q.shape[-1] ** 0.5
    places, T = torch.arange(len(k)), len(q)
    last = used - T + torch.arange(T) if causal else (used - 1) * torch.ones(T)
    scores = scores.masked_fill(places > last[:, None], float('-inf'))
    return torch.einsum('hts,shd->thd', scores.softmax(-1), v).to(q.dtype)


def varlen_attn(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size, enable_gqa, seqused_k):
    assert enable_gqa
    for ends, count in ((cu_q, len(q)), (cu_k, len(k))):
        assert torch.equal(ends, torch.tensor([0, count], dtype=torch.int32))
    assert (max_q, max_k) == (len(q), len(k))
    assert window_size in ((-1, -1), (-1, 0))
    used = len(k) if seqused_k is None else seqused_k
    return naive(q, k, v, window_size == (-1, 0), used)


def flash_attn_with_kvcache(q, k, v, *, cache_seqlens, causal):
    assert isinstance(cache_seqlens, int) or cache_seqlens.dtype == torch.int32
    return naive(q[0], k[0], v[0], causal, cache_seqlens)[None]
