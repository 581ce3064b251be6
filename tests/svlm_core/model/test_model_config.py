# SPDX-License-Identifier: Apache-2.0
"""A `config.json` is read in every layout that is in use, and refused when it cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stock_model import CASES, PARITY, STOCK, config
from svlm_core.errors import CheckpointError
from svlm_core.model.config import parse_config, read_config
from svlm_core.rope import RopeSpec

# What the published 7B model says of itself.
PUBLISHED: dict[str, Any] = {
    'architectures': ['Qwen2_5_VLForConditionalGeneration'],
    'model_type': 'qwen2_5_vl',
    'eos_token_id': 151645,
    'hidden_act': 'silu',
    'hidden_size': 3584,
    'intermediate_size': 18944,
    'num_attention_heads': 28,
    'num_hidden_layers': 28,
    'num_key_value_heads': 4,
    'rms_norm_eps': 1e-06,
    'rope_theta': 1000000.0,
    'sliding_window': 32768,
    'tie_word_embeddings': False,
    'torch_dtype': 'bfloat16',
    'use_sliding_window': False,
    'video_token_id': 151656,
    'vision_config': {
        'hidden_size': 1280,
        'in_chans': 3,
        'model_type': 'qwen2_5_vl',
        'spatial_patch_size': 14,
        'tokens_per_second': 2,
        'torch_dtype': 'bfloat16',
    },
    'rope_scaling': {'type': 'mrope', 'mrope_section': [16, 24, 24]},
    'vocab_size': 152064,
}

# Where Qwen2-VL-7B, and LiveCC-7B made from it, say something else.
QWEN2_VL: dict[str, Any] = {
    'architectures': ['Qwen2VLForConditionalGeneration'],
    'model_type': 'qwen2_vl',
    'vision_config': {
        'depth': 32,
        'embed_dim': 1280,
        'mlp_ratio': 4,
        'num_heads': 16,
        'in_chans': 3,
        'hidden_size': 3584,
        'patch_size': 14,
        'spatial_merge_size': 2,
        'spatial_patch_size': 14,
        'temporal_patch_size': 2,
    },
}


def test_the_published_7b_model() -> None:
    found = parse_config(PUBLISHED)
    assert (found.dtype, found.video_token_id) == ('bfloat16', 151656)
    assert found.text.rope == RopeSpec(128, 1e6, (16, 24, 24), 2)
    assert (found.text.heads, found.text.kv_heads, found.text.head_dim) == (28, 4, 128)
    assert found.text.norm_eps == 1e-6
    assert not found.text.tie_embeddings


def test_fields_that_a_fine_tune_leaves_out_are_those_of_the_published_tower() -> None:
    tower = parse_config(PUBLISHED).vision
    assert (tower.depth, tower.heads, tower.intermediate_size) == (32, 16, 3420)
    assert (tower.patch_size, tower.merge_size, tower.temporal_patch) == (14, 2, 2)
    assert (tower.window_size, tower.full_attention_blocks) == (112, (7, 15, 23, 31))
    assert (tower.out_hidden_size, tower.in_channels) == (3584, 3)
    assert parse_config({**PUBLISHED, 'vision_config': {'hidden_size': 1280}}).vision == replace(
        tower, tokens_per_second=4
    )


def test_the_published_qwen2_vl_7b_model() -> None:
    found = parse_config({**PUBLISHED, **QWEN2_VL})
    assert found.text == replace(
        parse_config(PUBLISHED).text, rope=RopeSpec(128, 1e6, (16, 24, 24), None)
    )
    tower = found.vision
    assert (tower.depth, tower.heads, tower.hidden_size) == (32, 16, 1280)
    assert (tower.intermediate_size, tower.out_hidden_size, tower.gated) == (5120, 3584, False)
    assert tower.full_attention_blocks == tuple(range(32))
    assert parse_config({**PUBLISHED, **QWEN2_VL, 'vision_config': {}}) == found


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_the_layouts_of_transformers_4_and_5_read_the_same(case: Any, tmp_path: Path) -> None:
    flat = config(case)
    settings, _ = STOCK[case.kind]
    settings(architectures=flat['architectures'], **_without(flat)).save_pretrained(tmp_path)
    nested = json.loads((tmp_path / 'config.json').read_text())
    assert 'rope_parameters' in nested['text_config']
    assert 'hidden_size' not in nested
    assert read_config(tmp_path) == parse_config(flat)


def _without(flat: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat.items() if key != 'architectures'}


def test_a_config_that_holds_both_layouts_is_read() -> None:
    found = read_config(PARITY)
    assert found.text.rope == RopeSpec(16, 1e6, (2, 3, 3), 2)
    assert found.text.vocab_size == 512


@pytest.mark.parametrize('top', [False, True])
@pytest.mark.parametrize('nested', [False, True])
def test_tied_embeddings_may_be_said_at_either_level(top: bool, nested: bool) -> None:
    raw = {
        **PUBLISHED,
        'tie_word_embeddings': top,
        'text_config': {'tie_word_embeddings': nested},
    }
    assert parse_config(raw).text.tie_embeddings == (top or nested)


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        (
            {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama'},
            r'describes LlamaForCausalLM \(model_type llama\): only Qwen2_5_VL',
        ),
        (
            {'architectures': ['Qwen3VLForConditionalGeneration'], 'model_type': 'qwen3_vl'},
            r'Qwen3VLForConditionalGeneration \(model_type qwen3_vl\): only',
        ),
        (
            {'architectures': ['Qwen2VLForConditionalGeneration']},
            r'Qwen2VLForConditionalGeneration \(model_type qwen2_5_vl\): only',
        ),
        ({'model_type': None}, 'model_type None'),
        ({'quantization_config': {'quant_method': 'awq'}}, 'something else has quantised'),
        ({'hidden_size': None}, 'wrong value'),
        ({'vocab_size': 0}, 'vocab_size=0 must be at least 1'),
        ({'num_attention_heads': 0}, 'wrong value'),
        ({'num_attention_heads': 30}, '30 heads and 4 key heads do not divide'),
        ({'num_key_value_heads': 5}, '28 heads and 5 key heads do not divide'),
        ({'rope_scaling': {'type': 'yarn', 'mrope_section': [16, 24, 24]}}, 'rope type yarn'),
        ({'rope_scaling': {'type': 'mrope', 'mrope_section': [16, 24]}}, 'wrong value'),
        ({'rope_scaling': {'type': 'mrope', 'mrope_section': [16, 24, 25]}}, 'half the head size'),
        ({'rope_scaling': {'type': 'mrope'}}, "lacks the field 'mrope_section'"),
        ({'torch_dtype': 'float8_e4m3fn'}, 'dtype float8_e4m3fn is not one of float32'),
        ({'use_sliding_window': True}, 'sliding window'),
        ({'hidden_act': 'gelu'}, 'only silu'),
        ({'vision_config': {'hidden_size': 1280, 'out_hidden_size': 2048}}, 'size 2048 do not'),
        ({'vision_config': {'hidden_size': 1284}}, 'not a multiple of 4x16'),
        ({'vision_config': {'hidden_size': 1280, 'window_size': 14}}, 'smaller than a merged'),
        ({'vision_config': {'hidden_size': 1280, 'hidden_act': 'gelu'}}, 'vision activation gelu'),
        ({'vision_config': {'hidden_size': 1280, 'tokens_per_second': None}}, 'wrong value'),
        ({'vision_config': [1280]}, 'wrong value'),
        ({'vision_config': None}, "lacks the field 'hidden_size'"),
        ({**QWEN2_VL, 'model_type': 'qwen2_5_vl'}, r'\(model_type qwen2_5_vl\): only'),
        ({**QWEN2_VL, 'vision_config': {'hidden_act': 'silu'}}, 'only quick_gelu is'),
        ({**QWEN2_VL, 'vision_config': {'hidden_size': 1536}}, 'size 1536 do not'),
        ({**QWEN2_VL, 'vision_config': {'embed_dim': None}}, 'wrong value'),
        ({**QWEN2_VL, 'vision_config': {'depth': 0}}, 'depth=0 must be at least 1'),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused_with_the_reason(
    changes: dict[str, Any], line: str, tmp_path: Path
) -> None:
    raw = {**PUBLISHED, **changes}
    (tmp_path / 'config.json').write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=line) as caught:
        read_config(tmp_path)
    assert str(tmp_path / 'config.json') in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('field', ['hidden_size', 'vocab_size', 'rope_scaling', 'video_token_id'])
def test_a_missing_field_is_named(field: str) -> None:
    raw = {key: value for key, value in PUBLISHED.items() if key != field}
    with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
        parse_config(raw)


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        (None, 'config.json is missing: give the folder'),
        (b'{"model_type": ', 'config.json cannot be read'),
        (b'[1]', 'holds no JSON object'),
        (b'\xff\xfe', 'config.json cannot be read'),
    ],
    ids=['missing', 'cut', 'list', 'binary'],
)
def test_a_file_that_is_no_config_is_named(
    content: bytes | None, line: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / 'config.json').write_bytes(content)
    with pytest.raises(CheckpointError, match=line):
        read_config(tmp_path)
