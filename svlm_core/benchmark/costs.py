# SPDX-License-Identifier: Apache-2.0
"""What a round must move and compute, whoever computes it: the floors of its time.

A token reads all weights of the language model and the keys and values of the memory. A prefill
computes: two operations for each weight and token, and attention.
"""

from __future__ import annotations

from dataclasses import dataclass

from svlm_core.model.checkpoint import Model
from svlm_core.model.config import TextConfig, VisionConfig
from svlm_core.rope import Grid


@dataclass(frozen=True)
class Costs:
    """Bytes and operations of one model; `weight_bytes` are those that each token reads."""

    text: TextConfig
    vision: VisionConfig
    weight_bytes: int
    key_bytes: int  # of one token in memory, keys and values of all layers

    @classmethod
    def of(cls, model: Model) -> Costs:
        """The costs of a model in the types that it is held in."""
        text, language = model.config.text, model.language
        held = dict(language.state_dict())
        if not text.tie_embeddings:  # one row of them is read
            held = {name: w for name, w in held.items() if not name.startswith('embed_tokens')}
        keys = 2 * text.layers * text.kv_heads * text.head_dim * model.dtype.itemsize
        return cls(text, model.config.vision, sum(w.nbytes for w in held.values()), keys)

    def token_bytes(self, keys: int) -> int:
        """Bytes that one token reads with so many tokens in memory."""
        return self.weight_bytes + keys * self.key_bytes

    def prefill_operations(self, new: int, keys: int) -> float:
        """Operations to read `new` tokens, after which `keys` are in memory."""
        t = self.text
        width, narrow = t.heads * t.head_dim, t.kv_heads * t.head_dim
        layer = t.hidden_size * (2 * width + 2 * narrow + 3 * t.intermediate_size)
        seen = new * (keys - (new - 1) / 2)  # pairs of a query and a key
        head = t.hidden_size * t.vocab_size  # of the last token alone
        return 2 * (new * t.layers * layer + head) + 4 * t.layers * width * seen

    def vision_operations(self, grid: Grid) -> float:
        """Operations to encode frames whose patches are a grid (t, h, w)."""
        v = self.vision
        steps, patches = grid[0], grid[1] * grid[2]  # patches of one step
        window = (v.window_size // v.patch_size) ** 2
        block = v.hidden_size * (4 * v.hidden_size + (3 if v.gated else 2) * v.intermediate_size)
        full = len([n for n in v.full_attention_blocks if n < v.depth])
        pairs = patches * (full * patches + (v.depth - full) * min(window, patches))
        cell = v.merge_size**2
        inner = v.hidden_size * cell
        entry = v.in_channels * v.temporal_patch * v.patch_size**2 * v.hidden_size
        exit_ = inner * (inner + v.out_hidden_size) / cell
        linear = patches * (v.depth * block + entry + exit_)
        return steps * (2 * linear + 4 * v.hidden_size * pairs)
