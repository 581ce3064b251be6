# SPDX-License-Identifier: Apache-2.0
"""Floors: bytes and operations are those that PyTorch itself counts, and the published ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from svlm_core.benchmark.costs import Costs
from svlm_core.benchmark.models import SIZES, random_model
from svlm_core.card import EMBEDDED
from svlm_core.model.config import parse_config, read_json
from svlm_core.model.weights import blank, weights_of


@pytest.fixture(scope='module')
def model():
    config = parse_config(read_json(EMBEDDED / 'config.json'))
    return random_model(config, torch.device('cpu'), 'float32', 'auto')


def published(size: str) -> Costs:
    """Costs of a model that has no memory."""
    config = parse_config({**read_json(EMBEDDED / 'config.json'), **SIZES[size]})
    text = config.text
    keys = 2 * text.layers * text.kv_heads * text.head_dim * 2
    return Costs(text, config.vision, 0, keys)


@pytest.mark.parametrize(
    ('size', 'billions', 'keys', 'new', 'held', 'teraflop', 'sees'),
    [('7b', 8.29, 57_344, 745, 13_300, 9.7 + 3.9, 3.9),
     ('3b', 3.75, 36_864, 745, 13_300, 10.9 - 3.9, 3.9)],
)  # fmt: skip
def test_published_sizes_cost_what_was_reckoned_for_them(
    size, billions, keys, new, held, teraflop, sees
):
    config = parse_config({**read_json(EMBEDDED / 'config.json'), **SIZES[size]})
    weights = weights_of(*blank(config, 'matmul')).values()
    assert sum(w.numel() for w in weights) / 1e9 == pytest.approx(billions, rel=0.01)
    costs = published(size)
    assert costs.key_bytes == keys
    assert costs.prefill_operations(new, held) / 1e12 == pytest.approx(teraflop, rel=0.06)
    assert costs.vision_operations((1, 40, 72)) / 1e12 == pytest.approx(sees, rel=0.06)


def test_the_tower_does_the_operations_that_are_counted_in_it(model):
    vision = model.config.vision
    grid = (1, 8, 12)  # whole windows
    patches = torch.randn(96, vision.in_channels * vision.temporal_patch * vision.patch_size**2)
    plain = sdpa_kernel(SDPBackend.MATH)  # the fused kernels are not counted
    with plain, FlopCounterMode(display=False) as counted, torch.no_grad():
        model.vision(patches, grid)
    assert Costs.of(model).vision_operations(grid) == counted.get_total_flops()


def test_a_token_reads_all_weights_but_other_rows_of_the_embeddings(model):
    costs, text = Costs.of(model), model.config.text
    held = sum(p.nbytes for p in model.language.parameters())
    assert costs.weight_bytes == held - text.vocab_size * text.hidden_size * 4
    assert costs.token_bytes(10) - costs.token_bytes(0) == 10 * costs.key_bytes
