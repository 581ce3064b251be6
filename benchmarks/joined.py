# SPDX-License-Identifier: Apache-2.0
"""What one product for query, key and value, and one for gate and up, would bring on a CPU.

A layer's five products, each by itself and joined to two, with what becomes of them up to the
rotation and up to the way down, in all layers of `--random mid` one after the other: from memory,
not from a cache. Prints one JSON line for each type and number of rows: medians of microseconds of
a layer, apart and joined in turns. Run it as `python benchmarks/joined.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from svlm_core.benchmark.models import random_engine
from svlm_core.model.language import Layer
from svlm_core.model.packed import PackedLinear

ROWS = (1, 290)  # a word, and a round
TURNS = 25

Way = Callable[[Tensor], Tensor]  # from what comes in (T, hidden) to what goes down (T, inner)


def apart(layer: Layer) -> Way:
    """As the model does it."""
    attention, mlp = layer.self_attn, layer.mlp

    def way(x: Tensor) -> Tensor:
        q, k, _ = (part(x) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
        torch.cat([q, k], dim=1)
        return functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)

    return way


def joined(layer: Layer) -> Way:
    """With two products of twice or thrice the outputs."""
    attention, mlp = layer.self_attn, layer.mlp
    heads = beside([attention.q_proj, attention.k_proj, attention.v_proj])
    wide = beside([mlp.gate_proj, mlp.up_proj])
    turned = len(attention.q_proj.weight) + len(attention.k_proj.weight)

    def way(x: Tensor) -> Tensor:
        heads(x).tensor_split([turned], -1)
        gate, up = wide(x).chunk(2, -1)
        return functional.silu(gate) * up

    return way


def beside(parts: Sequence[PackedLinear]) -> PackedLinear:
    """One layer that gives what several give of the same input, side by side."""
    weight = torch.cat([part.weight.to_dense() for part in parts])  # (N, K)
    biases = [part.bias for part in parts if part.bias is not None]
    return PackedLinear(weight, torch.cat(biases) if biases else None)


def spent(way: Sequence[Way], x: Tensor) -> float:
    """Microseconds of a layer."""
    began = time.perf_counter()
    for layer in way:
        layer(x)
    return (time.perf_counter() - began) / len(way) * 1e6


@torch.inference_mode()
def compare(dtype: str) -> None:
    """Time both ways in turns."""
    model = random_engine('mid', 'cpu', dtype).model
    layers = list(model.language.layers)
    ways = {way.__name__: [way(layer) for layer in layers] for way in (apart, joined)}
    for rows in ROWS:
        x = torch.randn(rows, model.config.text.hidden_size).to(model.dtype)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, way in ways.items():
                found[name].append(spent(way, x))
        told = {name: round(median(times)) for name, times in found.items()}
        print(json.dumps({'dtype': dtype, 'rows': rows, **told}), flush=True)


def main() -> None:
    """Compare both ways in two types."""
    compare('float32')
    compare('bfloat16')


if __name__ == '__main__':
    main()
