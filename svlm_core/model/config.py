# SPDX-License-Identifier: Apache-2.0
"""The shape of a Qwen2.5-VL or Qwen2-VL, from the `config.json` of a Hugging Face checkpoint.

Two layouts are in use: text fields at the top level (as the models were published) and nested
under `text_config` (as later versions of transformers write them).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.errors import CheckpointError
from svlm_core.rope import RopeSpec

ARCHITECTURES = {  # by model_type
    'qwen2_5_vl': 'Qwen2_5_VLForConditionalGeneration',
    'qwen2_vl': 'Qwen2VLForConditionalGeneration',
}
DTYPES = ('float32', 'bfloat16', 'float16')
BITS = (8, 4)  # of quantised weights
QUANTISED = 'svlm'  # their quant_method in config.json

# Checkpoints leave out the fields of the vision tower that are as in the published models.
VISION_DEFAULTS = {
    'depth': 32,
    'intermediate_size': 3420,
    'num_heads': 16,
    'patch_size': 14,
    'spatial_merge_size': 2,
    'temporal_patch_size': 2,
    'window_size': 112,
    'fullatt_block_indexes': [7, 15, 23, 31],
    'out_hidden_size': 3584,
    'tokens_per_second': 4,
    'hidden_act': 'silu',
}
QWEN2_VL_DEFAULTS = {
    'depth': 32,
    'embed_dim': 1280,
    'hidden_size': 3584,  # of the vision tokens
    'mlp_ratio': 4,
    'num_heads': 16,
    'patch_size': 14,
    'spatial_merge_size': 2,
    'temporal_patch_size': 2,
    'hidden_act': 'quick_gelu',
}


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the language model; `kv_heads` divides `heads`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    tie_embeddings: bool
    rope: RopeSpec


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the vision tower; patches, merge and window in pixels, patches and pixels.

    `gated`: RMSNorm and gated feed-forward layers, as in Qwen2.5-VL; else LayerNorm and two
    plain ones, as in Qwen2-VL. `tokens_per_second` None: see RopeSpec.
    """

    depth: int
    hidden_size: int
    intermediate_size: int
    heads: int
    patch_size: int
    merge_size: int
    temporal_patch: int
    window_size: int
    full_attention_blocks: tuple[int, ...]
    out_hidden_size: int
    tokens_per_second: float | None
    in_channels: int
    gated: bool


@dataclass(frozen=True)
class ModelConfig:
    """What a checkpoint says of itself; `dtype` is the name of the type it was saved in."""

    text: TextConfig
    vision: VisionConfig
    dtype: str
    video_token_id: int
    bits: int | None = None  # of the weights of the language model; None: those of dtype


def read_config(folder: Path | str) -> ModelConfig:
    """The configuration in a checkpoint folder.

    Raises CheckpointError when `config.json` is missing, unreadable, incomplete or of another
    architecture.
    """
    return parse_config(read_json(Path(folder) / 'config.json'), Path(folder) / 'config.json')


def parse_config(raw: dict[str, Any], where: Path | str = 'config.json') -> ModelConfig:
    """The configuration in the content of a `config.json`; `where` names it in errors."""
    _check_architecture(raw, where)
    text = {**raw, **(raw.get('text_config') or {})}
    dtype = raw.get('dtype') or raw.get('torch_dtype') or text.get('dtype') or 'float32'
    try:
        vision = _vision_fields(raw)
        tower = _vision(vision)
        config = ModelConfig(
            text=_text(text, raw.get('tie_word_embeddings', False), tower.tokens_per_second),
            vision=tower,
            dtype=str(dtype),
            video_token_id=int(raw['video_token_id']),
            bits=_bits(raw),
        )
    except KeyError as error:
        raise CheckpointError(f'{where} lacks the field {error}: download it again') from error
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(f'{where} has a field of a wrong value: {error}') from error
    if problem := _contradiction(config, text, vision):
        raise CheckpointError(f'{where}: {problem}')
    return config


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError when it is missing or is not one."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise CheckpointError(
            f'{path} is missing: give the folder of a Hugging Face checkpoint of Qwen2.5-VL '
            'or Qwen2-VL'
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds no JSON object: download it again')
    return content


def _check_architecture(raw: dict[str, Any], where: Path | str) -> None:
    kind = str(raw.get('model_type'))
    expected = ARCHITECTURES.get(kind)
    names = raw.get('architectures') or [expected]
    if expected is None or expected not in names:
        found = f'{", ".join(map(str, names))} (model_type {kind})'
        known = ' and '.join(f'{name} (model_type {key})' for key, name in ARCHITECTURES.items())
        raise CheckpointError(f'{where} describes {found}: only {known} are supported')
    if 'quantization_config' in raw and _bits(raw) not in BITS:
        raise CheckpointError(
            f'{where} describes weights that something else has quantised: give a float32, '
            'bfloat16 or float16 checkpoint, or what svlm quantize makes of one'
        )


def _bits(raw: dict[str, Any]) -> int | None:
    """The bits of weights that `svlm quantize` has written."""
    found = raw.get('quantization_config')
    if not isinstance(found, dict) or found.get('quant_method') != QUANTISED:
        return None
    return found.get('bits')


def _text(raw: dict[str, Any], tied: bool, tokens_per_second: float | None) -> TextConfig:
    scaling = raw.get('rope_parameters') or raw['rope_scaling']
    head_dim = raw['hidden_size'] // raw['num_attention_heads']
    first, second, third = map(int, scaling['mrope_section'])
    rope = RopeSpec(
        head_dim=head_dim,
        theta=float(scaling.get('rope_theta') or raw['rope_theta']),
        sections=(first, second, third),
        tokens_per_second=tokens_per_second,
    )
    return TextConfig(
        vocab_size=int(raw['vocab_size']),
        hidden_size=int(raw['hidden_size']),
        intermediate_size=int(raw['intermediate_size']),
        layers=int(raw['num_hidden_layers']),
        heads=int(raw['num_attention_heads']),
        kv_heads=int(raw.get('num_key_value_heads') or raw['num_attention_heads']),
        head_dim=head_dim,
        norm_eps=float(raw['rms_norm_eps']),
        tie_embeddings=bool(tied or raw.get('tie_word_embeddings', False)),
        rope=rope,
    )


def _vision_fields(raw: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its vision tower, under the names of Qwen2.5-VL."""
    said = raw.get('vision_config') or {}
    if raw['model_type'] == 'qwen2_5_vl':
        return {**VISION_DEFAULTS, **said, 'gated': True}
    said = {**QWEN2_VL_DEFAULTS, **said}
    return {
        **said,
        'hidden_size': said['embed_dim'],
        'intermediate_size': int(said['embed_dim']) * int(said['mlp_ratio']),
        'out_hidden_size': said['hidden_size'],
        'window_size': int(said['patch_size']) * int(said['spatial_merge_size']),  # of no block
        'fullatt_block_indexes': range(int(said['depth'])),
        'tokens_per_second': None,
        'gated': False,
    }


def _vision(raw: dict[str, Any]) -> VisionConfig:
    return VisionConfig(
        depth=int(raw['depth']),
        hidden_size=int(raw['hidden_size']),
        intermediate_size=int(raw['intermediate_size']),
        heads=int(raw['num_heads']),
        patch_size=int(raw['patch_size']),
        merge_size=int(raw['spatial_merge_size']),
        temporal_patch=int(raw['temporal_patch_size']),
        window_size=int(raw['window_size']),
        full_attention_blocks=tuple(map(int, raw['fullatt_block_indexes'])),
        out_hidden_size=int(raw['out_hidden_size']),
        tokens_per_second=float(raw['tokens_per_second']) if raw['gated'] else None,
        in_channels=int(raw.get('in_channels') or raw.get('in_chans') or 3),
        gated=raw['gated'],
    )


def _contradiction(
    config: ModelConfig, raw_text: dict[str, Any], raw_vision: dict[str, Any]
) -> str | None:
    """What this engine cannot compute as the configuration asks, if anything."""
    text, vision, rope = config.text, config.vision, config.text.rope
    if problem := _out_of_range(text, vision):
        return problem
    scaling = raw_text.get('rope_parameters') or raw_text['rope_scaling']
    kind = scaling.get('rope_type') or scaling.get('type') or 'default'
    thinks, sees = raw_text.get('hidden_act', 'silu'), raw_vision['hidden_act']
    expected = 'silu' if vision.gated else 'quick_gelu'
    checks = [
        (kind in {'default', 'mrope'}, f'rope type {kind} is not supported: only mrope is'),
        (config.dtype in DTYPES, f'dtype {config.dtype} is not one of {", ".join(DTYPES)}'),
        (not raw_text.get('use_sliding_window'), 'sliding window attention is not supported'),
        (thinks == 'silu', f'activation {thinks} is not supported: only silu is'),
        (sees == expected, f'vision activation {sees} is not supported: only {expected} is'),
        (
            2 * sum(rope.sections) == rope.head_dim,
            f'mrope_section {rope.sections} does not sum to half the head size {rope.head_dim}',
        ),
        (
            vision.out_hidden_size == text.hidden_size,
            f'vision tokens of size {vision.out_hidden_size} do not fit a language model of '
            f'hidden_size {text.hidden_size}',
        ),
    ]
    return next((problem for fine, problem in checks if not fine), None)


def _out_of_range(text: TextConfig, vision: VisionConfig) -> str | None:
    """Which of the sizes are not positive, or do not divide as they must."""
    for part in (text, vision):
        for name, value in vars(part).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                return f'{name}={value} must be at least 1'
    if text.hidden_size % text.heads or text.heads % text.kv_heads:
        return (
            f'hidden_size={text.hidden_size}, {text.heads} heads and {text.kv_heads} key heads '
            'do not divide one another'
        )
    if vision.hidden_size % (4 * vision.heads):
        return f'vision hidden_size={vision.hidden_size} is not a multiple of 4x{vision.heads}'
    if vision.window_size < vision.patch_size * vision.merge_size:
        return f'window_size={vision.window_size} is smaller than a merged patch'
    return None
