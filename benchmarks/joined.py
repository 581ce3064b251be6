# SPDX-License-Identifier: Apache-2.0
"""What one product for query, key and value, and one for gate and up, would bring on a CPU.

A layer's five products, each by itself and joined to two, with what becomes of them up to the
rotation and up to the way down. Prints one JSON line for each size and number of rows: medians of
the processor's microseconds, apart and joined in turns. Run it as `python benchmarks/joined.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from svlm_core.benchmark.models import Size, random_engine
from svlm_core.model.language import Layer

ROWS = (1, 90, 290)  # a word, and rounds of svlm-tiny and of mid
TURNS, TIMES = 15, 20


def products(layer: Layer, joined: bool) -> Callable[[Tensor], Tensor]:
    """From what comes in (T, hidden) to what goes down (T, inner)."""
    attention, mlp = layer.self_attn, layer.mlp
    three = attention.q_proj, attention.k_proj, attention.v_proj
    heads = torch.cat([part.weight for part in three])
    bias = torch.cat([part.bias for part in three])
    wide = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    turned = three[0].out_features + three[1].out_features

    def as_one(x: Tensor) -> Tensor:
        functional.linear(x, heads, bias).split([turned, len(bias) - turned], -1)
        gate, up = functional.linear(x, wide).chunk(2, -1)
        return functional.silu(gate) * up

    def apart(x: Tensor) -> Tensor:
        q, k, _ = (part(x) for part in three)
        torch.cat([q, k], dim=1)
        return functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)

    return as_one if joined else apart


def spent(work: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Microseconds of the processor for one call."""
    began = time.process_time()
    for _ in range(TIMES):
        work(x)
    return (time.process_time() - began) / TIMES * 1e6


@torch.inference_mode()
def compare(size: Size) -> None:
    """Time the first layer of a model, each way in turns."""
    layer = random_engine(size, 'cpu').model.language.layers[0]
    ways = {'apart': products(layer, False), 'joined': products(layer, True)}
    for rows in ROWS:
        x = torch.randn(rows, layer.self_attn.q_proj.in_features)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, work in ways.items():
                found[name].append(spent(work, x))
        told = {name: round(median(times)) for name, times in found.items()}
        print(json.dumps({'size': size, 'rows': rows, **told}), flush=True)


def main() -> None:
    """Compare both ways on two sizes."""
    torch.set_num_threads(1)
    compare('tiny')
    compare('mid')


if __name__ == '__main__':
    main()
