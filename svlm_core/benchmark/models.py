# SPDX-License-Identifier: Apache-2.0
"""Models of published sizes with random weights: speed needs no training, and no download.

They speak the words of the built-in model, whose tokenizer they borrow; what they say is noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from svlm_core.card import EMBEDDED, Card
from svlm_core.engine import EngineInfo, StreamingVLM
from svlm_core.errors import DeviceFull, SettingsError
from svlm_core.model.backends import choose_backend
from svlm_core.model.checkpoint import MEAN, STD, Model, choose_device, choose_dtype
from svlm_core.model.config import VISION_DEFAULTS, ModelConfig, parse_config, read_json
from svlm_core.model.packed import pack
from svlm_core.model.quantised import pack_layers
from svlm_core.model.weights import blank, fill, weights_of
from svlm_core.prompt import ChatTokenizer

Size = Literal['7b', '3b', 'mid', 'tiny']
SPREAD = 0.02  # deviation of random weights

PUBLISHED: dict[str, Any] = {
    'torch_dtype': 'bfloat16',
    'rope_theta': 1e6,
    'rope_scaling': {'type': 'mrope', 'mrope_section': [16, 24, 24]},
}
SEES: dict[str, Any] = {**VISION_DEFAULTS, 'hidden_size': 1280, 'in_channels': 3}

# Fields of config.json in which a size differs from the built-in model.
SIZES: dict[Size, dict[str, Any]] = {
    '7b': {
        **PUBLISHED,
        'vocab_size': 152064,
        'hidden_size': 3584,
        'intermediate_size': 18944,
        'num_hidden_layers': 28,
        'num_attention_heads': 28,
        'num_key_value_heads': 4,
        'vision_config': SEES,
    },
    '3b': {
        **PUBLISHED,
        'vocab_size': 151936,
        'hidden_size': 2048,
        'intermediate_size': 11008,
        'num_hidden_layers': 36,
        'num_attention_heads': 16,
        'num_key_value_heads': 2,
        'tie_word_embeddings': True,
        'vision_config': {**SEES, 'out_hidden_size': 2048},
    },
    'mid': {
        **PUBLISHED,
        'torch_dtype': 'float32',
        'rope_scaling': {'type': 'mrope', 'mrope_section': [8, 12, 12]},
        'hidden_size': 512,
        'intermediate_size': 2048,
        'num_hidden_layers': 8,
        'num_attention_heads': 8,
        'num_key_value_heads': 2,
        'vision_config': {
            **SEES,
            'depth': 6,
            'hidden_size': 256,
            'intermediate_size': 684,
            'num_heads': 4,
            'fullatt_block_indexes': [2, 5],
            'out_hidden_size': 512,
        },
    },
    'tiny': {},
}


def random_engine(
    size: Size,
    device: str = 'auto',
    dtype: str = 'auto',
    attention: str = 'auto',
    bits: int | None = None,
) -> StreamingVLM:
    """An engine with random weights, always the same ones on one device.

    Raises SettingsError for a device or type that is not there, DeviceFull where it has no room.
    """
    if size not in get_args(Size):
        raise SettingsError(f'no size {size!r}: choose one of {", ".join(get_args(Size))}')
    config = parse_config({**read_json(EMBEDDED / 'config.json'), **SIZES[size]}, size)
    config = replace(config, bits=bits)
    model = random_model(config, choose_device(device), dtype, attention)
    pack(model)
    card = Card(name=f'random {size}', trained=False, limits='Its weights are random.')
    return StreamingVLM(model, ChatTokenizer(EMBEDDED), EngineInfo.of(model, card))


def random_model(config: ModelConfig, device: torch.device, dtype: str, attention: str) -> Model:
    """A model of this shape: matrices are normal, biases 0, norms 1."""
    kind = choose_dtype(dtype, config, device)
    language, vision = blank(config, choose_backend(device, kind, attention))
    draws = torch.Generator(device).manual_seed(0)
    try:
        weights = {
            name: _drawn(name, weight, kind, draws)
            for name, weight in weights_of(language, vision).items()
        }
    except torch.OutOfMemoryError as error:
        raise DeviceFull(f'{device} has no room for these weights: take a smaller size') from error
    fill(language, vision, weights)
    pack_layers(language, kind)
    return Model(
        config=config,
        language=language.eval(),
        vision=vision.eval(),
        folder=EMBEDDED,
        mean=torch.tensor(MEAN, device=device),
        std=torch.tensor(STD, device=device),
        stop_ids=frozenset(),
        device=device,
        dtype=kind,
    )


def _drawn(name: str, shape: Tensor, dtype: torch.dtype, draws: torch.Generator) -> Tensor:
    weight = torch.zeros(shape.shape, dtype=dtype, device=draws.device)
    if name.endswith('.bias'):
        return weight
    if not shape.is_floating_point():  # quantised
        top = torch.iinfo(shape.dtype).max
        whole = weight.to(torch.int32).random_(0, top + 1, generator=draws)
        return whole.to(shape.dtype)
    if name.endswith(('.weight_scale', '.weight_scale_zero')):
        return weight.fill_(SPREAD / 128 if name.endswith('scale') else SPREAD / 8)
    if weight.ndim == 1:
        return weight.fill_(1)
    return weight.normal_(0, SPREAD, generator=draws)
