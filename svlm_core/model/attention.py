# SPDX-License-Identifier: Apache-2.0
"""Causal attention of new queries over the memory, with grouped keys that are never expanded.

One function, and kernels to choose from. Those of flash attention take grouped keys as they are.
For the others the query heads that share a key head are folded into the query length: to a kernel
they are G*T queries of one head. A causal flag would be wrong there, so the mask is tiled.
Shape legend: T new tokens, S tokens attended over, Hq query heads, Hk key heads, G = Hq / Hk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib import import_module

import torch
from torch import Tensor
from torch.nn import functional

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
Product = Callable[[Tensor, Tensor, Tensor, int], Tensor]

FUSED = ('flash3', 'varlen', 'flash2')  # kernels of flash attention, for 16-bit types on GPUs


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str, bound: Tensor | None = None) -> Tensor:
    """Attention of the newest T of S tokens: query i sees keys 0 to S - T + i.

    `q` (T, Hq, D); `k`, `v` (S, Hk, D), any strides; `backend` a name in BACKENDS. A single query
    can have a `bound`, by `bounded`: then `k` and `v` go on behind the tokens in use, and a
    captured graph can attend over a memory that grows. Returns (T, Hq, D).
    """
    return BACKENDS[backend](q, k, v, bound)


def bounded(length: Tensor, S: int, backend: str) -> Tensor:
    """What keeps one query to the first `length` (1,) int32, on the device, of S keys.

    Kernels of flash attention take the length as it is; for the plain product it is a mask (S,)
    float32. Made once for all layers of a forward.
    """
    if backend in FUSED:
        return length
    behind = torch.arange(S, device=length.device) >= length
    return torch.zeros(S, device=length.device).masked_fill(behind, float('-inf'))


def attend_apart(
    q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], sights: Sequence[Tensor | None]
) -> Tensor:
    """Causal attention of sequences that lie side by side, each to itself alone.

    `q` (T, Hq, D); `k`, `v` (T, Hk, D); `lengths` sum to T; `sights` has for each sequence what
    `sight` gives, or None where every query sees all before it. Returns (T, Hq, D). Nothing is
    computed between two sequences, and no mask is made: it costs what they cost one by one.
    """
    parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), sights, strict=True)
    return torch.cat([_alone(*part) for part in parts])


def sight(until: Tensor) -> Tensor:
    """Which keys each query of a sequence sees (n, n): those up to itself that have not left.

    `until` (n,) has for each key the first query that no longer sees it.
    """
    places = torch.arange(len(until), device=until.device)
    return (places[None] <= places[:, None]) & (places[:, None] < until[None])


def _alone(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))  # (1, H, T, D)
    out = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, is_causal=seen is None, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def _folded(product: Product) -> Kernel:
    """A kernel of a product that takes the queries of T tokens (Hk, G*T, D), keys and values."""

    def kernel(q: Tensor, k: Tensor, v: Tensor, bound: Tensor | None) -> Tensor:
        T, Hq, D = q.shape
        Hk = k.shape[1]
        G = Hq // Hk
        folded = q.view(T, Hk, G, D).permute(1, 2, 0, 3).reshape(Hk, G * T, D)
        k, v = k.transpose(0, 1), v.transpose(0, 1)  # (Hk, S, D)
        if bound is not None:  # with a mask no fused kernel splits the keys over processors
            out = _masked(folded, k, v, bound)  # (Hk, G, D)
        else:
            out = product(folded, k, v, T)  # (Hk, G*T, D)
        return out.view(Hk, G, T, D).permute(2, 0, 1, 3).reshape(T, Hq, D)

    return kernel


@lru_cache(maxsize=1)  # the layers of one forward share it
def causal_bias(T: int, S: int, G: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Additive mask (G*T, S), bottom-right causal, the same for each of G folded heads."""
    # Rows start at multiples of 16, or the CUDA kernels copy the mask at each call. A normal
    # tensor, not an inference one: what is cached here may serve a training step later.
    with torch.inference_mode(False):
        rows = torch.full((T, -(-S // 16) * 16), float('-inf'), dtype=dtype, device=device)
        return rows.triu(S - T + 1).repeat(G, 1)[:, :S]


def _bias(q: Tensor, k: Tensor, T: int) -> Tensor | None:
    """What keeps the newest T tokens from those behind them; one has none behind it."""
    return None if T == 1 else causal_bias(T, k.shape[1], q.shape[1] // T, q.dtype, q.device)


def _parted(q: Tensor, k: Tensor, v: Tensor, T: int) -> Tensor:
    """The kernel that sdpa runs on a CPU, for past and new tokens apart: the past has no mask.

    Each half tells the logarithm of what it was divided by, and so what share of the whole it is.
    That, (1, Hk, G*T), carries no gradient: it is not to learn by.
    """
    past = k.shape[1] - T
    if T == 1 or not past:
        return _sdpa(q, k, v, T)
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    bias = _bias(q, k[:, past:], T)  # (G*T, T)
    old, before = flash(q[None], k[None, :, :past], v[None, :, :past])
    new, since = flash(q[None], k[None, :, past:], v[None, :, past:], attn_mask=bias)
    share = torch.sigmoid(since - before)[..., None]  # (1, Hk, G*T, 1)
    return torch.lerp(old.float(), new.float(), share)[0].to(q.dtype)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, T: int) -> Tensor:
    # The fused CUDA kernels want four dimensions.
    bias = _bias(q, k, T)
    return functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias)[0]


def _matmul(q: Tensor, k: Tensor, v: Tensor, T: int) -> Tensor:
    return _masked(q, k, v, _bias(q, k, T))


def _masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)).float()  # (Hk, G*T, S)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1).to(v.dtype) @ v


def _varlen(q: Tensor, k: Tensor, v: Tensor, bound: Tensor | None) -> Tensor:
    """Flash attention 2 as torch has it built in."""
    from torch.nn.attention import varlen

    T, S = len(q), len(k)
    out = varlen.varlen_attn(
        q,
        k,
        v,
        _ends(T, q.device),
        _ends(S, q.device),
        T,
        S,
        window_size=(-1, -1 if T == 1 else 0),  # with one query a window would forbid split keys
        enable_gqa=True,
        seqused_k=bound,
    )
    assert isinstance(out, Tensor)  # a pair only where it is asked for
    return out


def _ends(count: int, device: torch.device) -> Tensor:
    """Where the only sequence begins and ends: (2,) int32."""
    return _all_ends(1 << count.bit_length(), device)[count]


@cache  # some twenty at most; a captured graph goes on reading from them
def _all_ends(limit: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        ends = torch.arange(limit, dtype=torch.int32, device=device)
        return torch.stack([torch.zeros_like(ends), ends], dim=1)  # (limit, 2)


def _flash(package: str) -> Kernel:
    """Flash attention from a package of its own, imported when it is first used."""

    def kernel(q: Tensor, k: Tensor, v: Tensor, bound: Tensor | None) -> Tensor:
        used = len(k) if bound is None else bound
        run = import_module(package).flash_attn_with_kvcache
        return run(q[None], k[None], v[None], cache_seqlens=used, causal=True)[0]

    return kernel


# The fastest first; the last one runs everywhere.
BACKENDS: dict[str, Kernel] = {
    'flash3': _flash('flash_attn_interface'),
    'varlen': _varlen,
    'flash2': _flash('flash_attn'),
    'parted': _folded(_parted),
    'sdpa': _folded(_sdpa),
    'matmul': _folded(_matmul),
}
