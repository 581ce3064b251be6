# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to the same one in fewer bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from svlm_core.errors import CheckpointError
from svlm_core.model.config import QUANTISED, read_config, read_json
from svlm_core.model.quantised import quantise
from svlm_core.model.weights import blank, read_weights, weights_of
from svlm_core.training.folders import CARD, write_model


def write_quantised(folder: Path, source: Path, bits: int) -> tuple[int, int]:
    """Write the checkpoint `source` with weights of `bits`; bytes of its weights, and of the new.

    The folder appears only when it is complete. Raises CheckpointError for a source that is none,
    or is quantised already, SettingsError for layers that cannot be held so, OutputError.
    """
    config = read_config(source)
    if config.bits is not None:
        raise CheckpointError(f'{source} is quantised already: give what it was made of')
    language, vision = blank(replace(config, bits=None), 'matmul')
    kind = getattr(torch, config.dtype)
    shapes = {name: weight.shape for name, weight in weights_of(language, vision).items()}
    weights = read_weights(source, shapes, torch.device('cpu'), kind)
    before = sum(weight.nbytes for weight in weights.values())
    narrow = quantise(weights, language, bits, kind)
    card = read_json(source / CARD) if (source / CARD).is_file() else {}
    card = {**card, 'name': f'{card.get("name") or source.name}-int{bits}'}
    wanted = {'quantization_config': {'quant_method': QUANTISED, 'bits': bits}}
    write_model(folder, source, narrow, card, wanted)
    return before, sum(weight.nbytes for weight in narrow.values())
