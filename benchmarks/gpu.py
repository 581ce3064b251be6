# SPDX-License-Identifier: Apache-2.0
"""What to ask of a GPU first: its attention, and its products with one row.

Attention: each back end that runs here, captured in a graph and held against a product in float64;
1 query, of a length that only the device knows, and 768, at 13k keys, with the layers of 7B.
Products: what bandwidth the seven shapes of a layer, and the head, reach with one row. Both go
through more memory than any cache holds, as a token does. Prints JSON lines, the first with
device, versions and day. Run it as `python benchmarks/gpu.py`; a CPU takes small sizes, `--size
tiny --keys 200 --queries 1 16 --mebibytes 4`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from svlm_core import gpu
from svlm_core.benchmark.machine import best_time, ceilings, describe
from svlm_core.benchmark.models import SIZES
from svlm_core.card import EMBEDDED
from svlm_core.model.attention import BACKENDS, attend, bounded
from svlm_core.model.backends import verdict
from svlm_core.model.checkpoint import choose_device, choose_dtype
from svlm_core.model.config import ModelConfig, parse_config, read_json
from svlm_core.model.weights import blank

SPARE = 512  # slots of the memory behind the keys in use


@dataclass(frozen=True)
class Asked:
    """Time the attention and the products of a model on this machine."""

    device: str = 'auto'
    """auto, cpu, cuda, cuda:1, ..."""
    dtype: str = 'auto'
    """auto, float32, bfloat16 or float16"""
    size: Literal['7b', '3b', 'mid', 'tiny'] = '7b'
    """Whose heads and layers."""
    keys: int = 13_300
    """Tokens in memory."""
    queries: tuple[int, ...] = (1, 768)
    """New tokens: a word, and a second of vision."""
    mebibytes: int = 1024
    """Of copies of a weight that a product goes through."""

    def run(self) -> None:
        """Print lines for the machine, for each back end and number of queries, and each shape."""
        config = parse_config({**read_json(EMBEDDED / 'config.json'), **SIZES[self.size]})
        device = choose_device(self.device)
        dtype = choose_dtype(self.dtype, config, device)
        most = ceilings(device, dtype)
        tell(
            **describe(device),
            dtype=str(dtype).removeprefix('torch.'),
            size=self.size,
            copy_gb_per_second=most.bytes_per_second / 1e9,
            tflop_per_second=most.operations_per_second / 1e12,
        )
        for count in self.queries:
            for name in BACKENDS:
                if reason := verdict(name, device, dtype):
                    tell(attention=name, queries=count, does_not_run=reason)
                else:
                    self.attention(name, count, config, device, dtype)
        for name, layer in shapes(config).items():
            self.product(name, layer, device, dtype)

    @torch.inference_mode()
    def attention(
        self, name: str, T: int, config: ModelConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        """One back end on the keys and values of all layers, one after another as in a token."""
        text, draws = config.text, torch.Generator(device).manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draws, dtype=dtype, device=device)

        q = drawn(T, text.heads, text.head_dim)
        planes = drawn(text.layers, 2, text.kv_heads, self.keys + SPARE, text.head_dim)
        planes = planes.transpose(2, 3)  # as a memory has them
        length = torch.tensor([self.keys], dtype=torch.int32, device=device)

        def layers() -> Tensor:
            one = T == 1  # a word; frames are read with a length that the host knows
            bound = bounded(length, planes.shape[2], name) if one else None
            for k, v in planes if one else planes[:, :, : self.keys]:
                out = attend(q, k, v, name, bound)
            return out

        run, captured = replayed(layers, device)
        wrong = 0.0
        # Captured once: of a word the device alone knows how much is in use.
        for used in (self.keys - 1, self.keys) if T == 1 else (self.keys,):
            length.fill_(used)
            k, v = planes[-1, :, :used]
            wrong = max(wrong, far(run(), attend_in_double(q, k, v)))
        seconds = best_time(run, device) / text.layers
        read = 2 * self.keys * text.kv_heads * text.head_dim * dtype.itemsize
        pairs = T * (self.keys - (T - 1) / 2)  # of a query and a key
        tell(
            attention=name,
            queries=T,
            keys=self.keys,
            captured=captured,
            wrong_by=wrong,
            microseconds=1e6 * seconds,
            gb_per_second=read / seconds / 1e9,
            tflop_per_second=4 * text.heads * text.head_dim * pairs / seconds / 1e12,
        )

    @torch.inference_mode()
    def product(
        self, name: str, layer: nn.Linear, device: torch.device, dtype: torch.dtype
    ) -> None:
        """One row by the weight of a layer, from memory and not from a cache."""
        outputs, inputs = layer.out_features, layer.in_features
        size = outputs * inputs * dtype.itemsize
        copies = max(1, -(-self.mebibytes * 2**20 // size))
        weights = torch.empty(copies, outputs, inputs, dtype=dtype, device=device).normal_()
        x = torch.randn(1, inputs, dtype=dtype, device=device)
        out = torch.empty(copies, 1, outputs, dtype=dtype, device=device)

        def products() -> Tensor:
            for made, weight in zip(out, weights, strict=True):
                torch.mm(x, weight.T, out=made)
            return out

        run, captured = replayed(products, device)
        seconds = best_time(run, device) / copies
        tell(
            product=name,
            outputs=outputs,
            inputs=inputs,
            captured=captured,
            microseconds=1e6 * seconds,
            gb_per_second=size / seconds / 1e9,
        )


def shapes(config: ModelConfig) -> dict[str, nn.Linear]:
    """The linear layers of one layer of a language model, and its head; without memory."""
    language, _ = blank(config, 'matmul')
    first = language.layers[0].named_modules()
    found = {name.rpartition('.')[2]: m for name, m in first if isinstance(m, nn.Linear)}
    rows, inputs = language.embed_tokens.weight.shape
    return {**found, 'lm_head': nn.Linear(inputs, rows, bias=False, device='meta')}


def replayed(work: Callable[[], Tensor], device: torch.device) -> tuple[gpu.Replayed, bool]:
    """The work as one launch, and whether it could be captured."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        run = gpu.Replayed(work, device)
    refused = any(str(warning.message).startswith('no graph') for warning in told)
    return run, gpu.replays(device) and not refused


def attend_in_double(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (T, Hq, D) by its definition: every query sees all keys up to its own."""
    T, S, group = len(q), len(k), q.shape[1] // k.shape[1]
    hidden = torch.ones(T, S, dtype=torch.bool, device=q.device).triu(S - T + 1)
    heads = []
    for head in range(q.shape[1]):  # one by one: all together would take gigabytes
        keys, values = k[:, head // group].double(), v[:, head // group].double()
        scores = (q[:, head].double() @ keys.T * q.shape[-1] ** -0.5).masked_fill(
            hidden, float('-inf')
        )
        heads.append(scores.softmax(-1) @ values)
    return torch.stack(heads, dim=1)


def far(found: Tensor, expected: Tensor) -> float:
    """The largest difference."""
    return float((found.double() - expected).abs().max())


def tell(**told: object) -> None:
    """One line of JSON; figures with four digits."""
    short = {k: float(f'{v:.4g}') if isinstance(v, float) else v for k, v in told.items()}
    print(json.dumps(short), flush=True)


if __name__ == '__main__':
    tyro.cli(Asked).run()
