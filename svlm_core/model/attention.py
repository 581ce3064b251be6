# SPDX-License-Identifier: Apache-2.0
"""Causal attention of new queries over the memory, with grouped keys that are never expanded.

The query heads that share a key head are folded into the query length: to a kernel they are
G*T queries of one head. A causal flag would be wrong there, so the mask is tiled over the heads.
Shape legend: T new tokens, S tokens attended over, Hq query heads, Hk key heads, G = Hq / Hk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def choose_backend(device: torch.device) -> str:
    """The fastest back end that `device` runs: fused kernels on CPU and CUDA, else plain ones."""
    return 'sdpa' if device.type in {'cpu', 'cuda'} else 'matmul'


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str) -> Tensor:
    """Attention of the newest T of S tokens: query i sees keys 0 to S - T + i.

    `q` (T, Hq, D); `k`, `v` (S, Hk, D), S >= T, any strides; `backend` a name in BACKENDS.
    Returns (T, Hq, D).
    """
    T, Hq, D = q.shape
    S, Hk, _ = k.shape
    G = Hq // Hk
    folded = q.view(T, Hk, G, D).permute(1, 2, 0, 3).reshape(Hk, G * T, D)
    # One query sees all keys: without a mask the kernels split the keys over the processors.
    bias = None if T == 1 else causal_bias(T, S, G, q.dtype, q.device)
    out = BACKENDS[backend](folded, k.transpose(0, 1), v.transpose(0, 1), bias)  # (Hk, G*T, D)
    return out.view(Hk, G, T, D).permute(2, 0, 1, 3).reshape(T, Hq, D)


def attend_apart(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    """Causal attention of sequences that lie side by side, each to itself alone.

    `q` (T, Hq, D); `k`, `v` (T, Hk, D); `lengths` sum to T. Returns (T, Hq, D). Nothing is
    computed between two sequences, and no mask is made: it costs what they cost one by one.
    """
    parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    return torch.cat([_alone(*part) for part in parts])


def _alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))  # (1, H, T, D)
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)


@lru_cache(maxsize=1)  # the layers of one forward share it
def causal_bias(T: int, S: int, G: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Additive mask (G*T, S), bottom-right causal, the same for each of G folded heads."""
    # Rows start at multiples of 16, or the CUDA kernels copy the mask at each call. A normal
    # tensor, not an inference one: what is cached here may serve a training step later.
    with torch.inference_mode(False):
        rows = torch.full((T, -(-S // 16) * 16), float('-inf'), dtype=dtype, device=device)
        return rows.triu(S - T + 1).repeat(G, 1)[:, :S]


def _sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    # The fused CUDA kernels want four dimensions.
    return functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias)[0]


def _matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)).float()  # (Hk, G*T, S)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1).to(v.dtype) @ v


BACKENDS = {'sdpa': _sdpa, 'matmul': _matmul}
