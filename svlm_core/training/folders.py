# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders that training begins with and ends in: whole, and loadable by anyone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svlm_core.model.checkpoint import FILES
from svlm_core.model.config import parse_config, read_config, read_json
from svlm_core.model.weights import INDEX, blank, save, weights_of
from svlm_core.training.checkpoints import begin, sync, writing
from svlm_core.training.recipe import Fresh

CARD = 'svlm.json'
OWN = {CARD, INDEX, 'README.md', 'config.json'}  # of the source alone, or written anew


def write_model(
    folder: Path,
    source: Path,
    weights: Mapping[str, Tensor],
    card: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder: `weights` by published name, all else from `source`.

    `card` says what it is; `config` are fields of config.json that differ. The folder appears
    only when it is complete. Raises OutputError when it cannot be written.
    """
    part = folder.with_name(f'.{folder.name}.part')
    raw = laid_over(read_json(source / 'config.json'), config or {})
    kind = getattr(torch, parse_config(raw).dtype)
    with writing(folder):
        begin(part)
        for path in {path for pattern in FILES for path in source.glob(pattern)}:
            if path.name not in OWN and path.suffix != '.safetensors':
                shutil.copyfile(path, part / path.name)
        (part / 'config.json').write_text(json.dumps(raw, indent=2) + '\n')
        (part / CARD).write_text(json.dumps(card, indent=2) + '\n')
        save(part, {name: _as(kind, weight) for name, weight in weights.items()})
        for path in (*part.iterdir(), part):
            sync(path)
        part.replace(folder)
        sync(folder.parent)
    return folder


def _as(kind: torch.dtype, weight: Tensor) -> Tensor:
    """A weight in the type of its checkpoint; quantised ones keep theirs."""
    return weight.to(kind) if weight.is_floating_point() else weight


def write_fresh(folder: Path, source: Path, fresh: Fresh) -> Path:
    """Write a checkpoint folder with weights drawn from a seed; see `write_model`."""
    raw = laid_over(read_json(source / 'config.json'), fresh.config)
    language, vision = blank(parse_config(raw, source / 'config.json'), 'sdpa')
    draws = np.random.Generator(np.random.PCG64(fresh.seed))
    weights = {
        name: drawn(name, tuple(weight.shape), fresh.deviation, draws)
        for name, weight in sorted(weights_of(language, vision).items())
    }
    card = {'name': folder.name, 'trained': False, 'seed': fresh.seed}
    return write_model(folder, source, weights, card, fresh.config)


def laid_over(below: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with `changes`; what is an object in both is changed field by field."""
    inner = {
        name: laid_over(below[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
    }
    return {**below, **changes, **inner}


def drawn(
    name: str, shape: tuple[int, ...], deviation: float, draws: np.random.Generator
) -> Tensor:
    """One weight: norms 1, biases 0, matrices uniform, with the same bits on any machine."""
    if name.endswith('.bias'):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    edge = np.float32(deviation * 3**0.5)
    return torch.from_numpy((draws.random(shape, np.float32) * 2 - 1) * edge)


def parameters(folder: Path) -> int:
    """How many parameters the model of a folder has."""
    language, vision = blank(read_config(folder), 'sdpa')
    return sum(weight.numel() for weight in weights_of(language, vision).values())
