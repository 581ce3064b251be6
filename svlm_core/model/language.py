# SPDX-License-Identifier: Apache-2.0
"""The language model of Qwen2.5-VL (arXiv 2502.13923): one token sequence, one external memory.

It knows neither positions nor eviction: the caller gives a reading, which has rotation tables and
attends for each layer, and stores its new keys and values where there is a memory.
Shape legend: T new tokens, S = start + T tokens attended over, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from svlm_core.model.attention import attend
from svlm_core.model.config import TextConfig
from svlm_core.model.layers import GatedMLP, RMSNorm
from svlm_core.rope import rotate


class Memory(Protocol):
    """Where the keys and values of a stream live."""

    def extend(
        self, layer: int, start: int, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's keys, rotated keys and values, each (T, Hk, D), from slot `start` on.

        Returns the rotated keys and the values of slots 0 to S, each (S, Hk, D).
        """


class Reading(Protocol):
    """One forward: where its T tokens stand, and what they attend over.

    `cos`, `sin` (T, D) float32, from `rope.Rotary.tables`.
    """

    @property
    def cos(self) -> Tensor: ...

    @property
    def sin(self) -> Tensor: ...

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> Tensor:
        """What the last queries `q` (wanted, Hq, D) of a layer find, in the same shape.

        `keys`, the same `rotated`, and `values` are those of all T tokens, each (T, Hk, D).
        """


@dataclass(frozen=True)
class Continuation:
    """Tokens that are read into a memory from slot `start` on, and attend over all it holds."""

    cos: Tensor
    sin: Tensor
    memory: Memory
    start: int
    backend: str

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> Tensor:
        k, v = self.memory.extend(layer, self.start, keys, rotated, values)  # (S, Hk, D)
        return attend(q, k, v, self.backend)


class LanguageModel(nn.Module):
    """Decoder of grouped-query attention; parameter names are those of the checkpoints."""

    def __init__(self, config: TextConfig, backend: str) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Vectors (T, hidden) of token ids (T,)."""
        return self.embed_tokens(ids)

    def forward(self, x: Tensor, reading: Reading, wanted: int = 1) -> Tensor:
        """Read tokens `x` (T, hidden), T >= 1; the last states (wanted, hidden), for `logits`."""
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            # Above the last layer nothing needs the states that are not asked for.
            x = layer(x, reading, wanted if index == last else len(x))
        return self.norm(x)

    def logits(self, h: Tensor) -> Tensor:
        """Scores (..., vocabulary) float32 of the next token, from states (..., hidden)."""
        if self.config.tie_embeddings:
            return functional.linear(h, self.embed_tokens.weight).float()
        scores = self.lm_head(h.view(-1, h.shape[-1]))
        return scores.view(*h.shape[:-1], self.config.vocab_size).float()


class Layer(nn.Module):
    """Attention and feed-forward, each added to what came in."""

    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, bias=False)

    def forward(self, x: Tensor, reading: Reading, wanted: int) -> Tensor:
        """Of `x` (T, hidden) all keys and values are made; returns the last (wanted, hidden)."""
        attended = self.self_attn(self.input_layernorm(x), reading, wanted)
        x = x[-wanted:] + attended
        return x + self.mlp(self.post_attention_layernorm(x))


class Attention(nn.Module):
    """Grouped-query attention; query, key and value have a bias, output none."""

    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        self.index, self.head_dim = index, config.head_dim
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries)
        self.k_proj = nn.Linear(config.hidden_size, keys)
        self.v_proj = nn.Linear(config.hidden_size, keys)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(self, x: Tensor, reading: Reading, wanted: int) -> Tensor:
        D = self.head_dim
        q = self.q_proj(x).unflatten(-1, (-1, D))  # (T, Hq, D)
        k = self.k_proj(x).unflatten(-1, (-1, D))  # (T, Hk, D)
        v = self.v_proj(x).unflatten(-1, (-1, D))  # (T, Hk, D)
        turned = rotate(torch.cat([q, k], dim=1), reading.cos, reading.sin)  # (T, Hq + Hk, D)
        q, rotated = turned.split([q.shape[1], k.shape[1]], dim=1)
        out = reading.attend(self.index, q[-wanted:], k, rotated, v)  # (wanted, Hq, D)
        return self.o_proj(out.flatten(1))
