# SPDX-License-Identifier: Apache-2.0
"""The oracle of these tests: stock transformers, as random models of many shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from svlm_core.model.checkpoint import Model
from svlm_core.model.language import Continuation
from svlm_core.model.vision import merged_grid, patchify
from svlm_core.rope import Rotary, lay_out

PARITY = Path(__file__).resolve().parents[2] / 'parity' / 'checkpoint'
VIDEO, VOCABULARY = 90, 96

Stock = Qwen2_5_VLForConditionalGeneration | Qwen2VLForConditionalGeneration
STOCK: dict[str, tuple[Any, Any]] = {  # configuration and model of a model_type
    'qwen2_5_vl': (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    'qwen2_vl': (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
}


@dataclass(frozen=True)
class Case:
    """One random architecture; `window` in pixels, `full` the blocks of full attention."""

    name: str
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    sections: tuple[int, int, int] = (2, 3, 3)
    layers: int = 2
    depth: int = 3
    vision_heads: int = 2
    vision_head_dim: int = 16
    window: int = 112
    full: tuple[int, ...] = (1,)
    tied: bool = False
    theta: float = 1e6
    kind: str = 'qwen2_5_vl'


CASES = [
    Case('as published, in small', heads=7, kv_heads=1, head_dim=16, tied=False),
    Case('tied, eight to one', heads=8, kv_heads=1, head_dim=8, sections=(1, 1, 2), tied=True),
    Case('no grouping', heads=3, kv_heads=3, head_dim=12, sections=(2, 2, 2), theta=1e4),
    Case('small windows', window=56, full=(0, 2), vision_heads=1, vision_head_dim=20),
    Case('one merged patch a window', window=28, full=(), depth=2),
    Case('full attention only', full=(0, 1), depth=2, layers=1, heads=14, kv_heads=2),
    Case('windows of three', window=84, full=(2,), vision_heads=4, vision_head_dim=8, layers=4),
    Case('Qwen2-VL', heads=7, kv_heads=1, kind='qwen2_vl'),
    Case('Qwen2-VL, tied', tied=True, vision_heads=1, vision_head_dim=20, kind='qwen2_vl'),
]


def config(case: Case) -> dict[str, Any]:
    """The `config.json` of a case, laid out as the models were published: flat."""
    size = case.heads * case.head_dim
    return {
        'architectures': [STOCK[case.kind][1].__name__],
        'model_type': case.kind,
        'torch_dtype': 'float32',
        'hidden_size': size,
        'intermediate_size': 2 * size + 8,
        'num_hidden_layers': case.layers,
        'num_attention_heads': case.heads,
        'num_key_value_heads': case.kv_heads,
        'hidden_act': 'silu',
        'max_position_embeddings': 32768,
        'rms_norm_eps': 1e-6,
        'rope_theta': case.theta,
        'rope_scaling': {'type': 'mrope', 'mrope_section': list(case.sections)},
        'tie_word_embeddings': case.tied,
        'use_sliding_window': False,
        'vocab_size': VOCABULARY,
        'eos_token_id': 1,
        'bos_token_id': 0,
        'pad_token_id': 0,
        'image_token_id': 91,
        'video_token_id': VIDEO,
        'vision_start_token_id': 92,
        'vision_end_token_id': 93,
        'vision_config': _tower(case, size),
    }


def _tower(case: Case, size: int) -> dict[str, Any]:
    """The `vision_config` of a case, whose vision tokens have this size."""
    hidden = case.vision_heads * case.vision_head_dim
    common = {
        'depth': case.depth,
        'num_heads': case.vision_heads,
        'in_channels': 3,
        'patch_size': 14,
        'spatial_merge_size': 2,
        'temporal_patch_size': 2,
    }
    if case.kind == 'qwen2_vl':
        return {**common, 'embed_dim': hidden, 'hidden_size': size, 'mlp_ratio': 3}
    return {
        **common,
        'hidden_act': 'silu',
        'hidden_size': hidden,
        'intermediate_size': 52,
        'out_hidden_size': size,
        'window_size': case.window,
        'fullatt_block_indexes': list(case.full),
        'tokens_per_second': 2,
    }


def build(case: Case, seed: int = 0) -> Stock:
    """Stock model of a case; norms and biases are random too, so that none can be left out."""
    torch.manual_seed(seed)
    settings, model = STOCK[case.kind]
    stock = model(settings(**config(case))).eval()
    with torch.no_grad():
        for name, weight in stock.named_parameters():
            around = 1 if 'norm' in name or 'ln_q' in name else 0
            weight.copy_(around + torch.randn_like(weight) * (0.2 if weight.dim() == 1 else 0.15))
    return stock


def save_stock(stock: Stock, folder: Path) -> Path:
    stock.generation_config.eos_token_id = [1, 2]
    stock.save_pretrained(folder)
    return folder


def pixels(height: int, width: int, count: int = 2, seed: int = 0) -> Tensor:
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.integers(0, 256, (count, height, width, 3), np.uint8))


@dataclass(frozen=True)
class Pair:
    """The same weights, twice."""

    stock: Stock
    ours: Model


@dataclass
class ListMemory:
    """The simplest memory: everything is kept, in lists, one entry per layer."""

    unrotated: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def extend(
        self, layer: int, start: int, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        planes = (self.unrotated, self.keys, self.values)
        for plane, new in zip(planes, (keys, rotated, values), strict=True):
            plane[layer] = torch.cat([plane[layer][:start], new]) if start else new
        return self.keys[layer], self.values[layer]


@dataclass(frozen=True)
class Story:
    """Text, a video, text: ids (n,), vectors (n, hidden), positions (3, n), and the video."""

    ids: Tensor
    x: Tensor
    positions: Tensor
    patches: Tensor
    grid: tuple[int, int, int]


def tell(model: Model, frames: Tensor, after: int = 12, seconds_per_grid: float = 1.0) -> Story:
    """A story about `frames`, with `after` tokens of text behind them."""
    settings = model.config
    patches, grid = patchify(frames, settings.vision, model.mean, model.std, model.dtype)
    merged = merged_grid(grid, settings.vision)
    count = int(np.prod(merged))
    torch.manual_seed(count)
    before, behind = torch.randint(2, 80, (6,)), torch.randint(2, 80, (after,))
    ids = torch.cat([before, torch.full((count,), settings.video_token_id), behind])
    features = model.vision(patches, grid)
    x = torch.cat([model.language.embed(before), features, model.language.embed(behind)])
    runs = [(6, None), (count, merged), (after, None)]
    rate = settings.vision.tokens_per_second
    positions = torch.from_numpy(lay_out(runs, 0, seconds_per_grid, rate))
    return Story(ids, x, positions, patches, grid)


def stock_logits(stock: Stock, story: Story) -> Tensor:
    """Logits (n, vocabulary) that stock transformers gives for every token of a story."""
    output = stock(
        input_ids=story.ids[None],
        pixel_values_videos=story.patches,
        video_grid_thw=torch.tensor([story.grid]),
        position_ids=story.positions[:, None],
        mm_token_type_ids=(story.ids[None] == stock.config.video_token_id).int() * 2,
    )
    return output.logits[0]


def our_logits(model: Model, story: Story, sizes: list[int]) -> Tensor:
    """Logits (chunks, vocabulary) after each of the chunks that a story is read in."""
    assert sum(sizes) == len(story.ids)
    cos, sin = Rotary(model.config.text.rope, model.device).tables(story.positions)
    memory, start, rows = ListMemory(), 0, []
    for size in sizes:
        new = slice(start, start + size)
        reading = Continuation(cos[new], sin[new], memory, start, model.language.backend)
        hidden = model.language(story.x[new], reading)[0]
        rows.append(model.language.logits(hidden))
        start += size
    return torch.stack(rows)
