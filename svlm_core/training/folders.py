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

from svlm_core.errors import SettingsError
from svlm_core.model.checkpoint import FILES
from svlm_core.model.config import TextConfig, parse_config, read_config, read_json
from svlm_core.model.weights import INDEX, blank, save, weights_of
from svlm_core.rope import Rotary
from svlm_core.training.checkpoints import begin, sync, writing
from svlm_core.training.recipe import Fresh

CARD = 'svlm.json'
BACK = (1, 2)  # tokens back at which heads of the first layer look
GAZE = 6.0  # how constant their keys and queries are: they look at one place, more or less
FOUND = 5.0  # by how much a token that is looked for stands out, in logits
SLOW = 2e-3  # radians a token: what turns no faster finds over a whole chunk
LOUD = 4.0  # how much wider embeddings are drawn, so that a word is heard beside what is written
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
    if fresh.find:
        begin_to_find(weights, language.config, draws)
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


def begin_to_find(
    weights: dict[str, Tensor], config: TextConfig, draws: np.random.Generator
) -> None:
    """Let the first heads begin by finding what stood behind a word: induction (arXiv 2209.11895).

    Heads of the first layer look one and two tokens back, whatever is there, and write into a
    token which one stood before it. Heads of the second look for tokens into which that one is
    written at which they stand, and those stand out a little. The rest is learnt in a minute; left
    to itself, a small model may spend all of its training before it finds anything.

    Raises SettingsError for a model that has no two heads to a key head, or only one layer.
    """
    if config.layers < 2 or config.heads // config.kv_heads < len(BACK):
        raise SettingsError('find needs two layers, and two heads to a key head')
    weights['model.embed_tokens.weight'] *= LOUD
    D, rotary = config.head_dim, Rotary(config.rope, torch.device('cpu'))
    _look_back(weights, D, rotary)
    _, sin = rotary.tables(torch.ones(3, 1))  # (1, D)
    slow = drawn('', (D, config.hidden_size), 0.1, draws) * (sin.T.abs() < SLOW)  # (D, hidden)
    _find(weights, D, slow)


def _look_back(weights: dict[str, Tensor], D: int, rotary: Rotary) -> None:
    """Keys get a constant part, queries the same turned back by so many tokens."""
    layer = 'model.layers.0.self_attn'
    queries, half = len(BACK) * D, D // 2
    cos, sin = rotary.tables(torch.tensor(BACK).expand(3, -1))  # (heads, D)
    weights[f'{layer}.k_proj.weight'][:D] = 0
    weights[f'{layer}.k_proj.bias'][:half] = GAZE
    weights[f'{layer}.q_proj.weight'][:queries] = 0
    turned = torch.cat([cos[:, :half], -sin[:, half:]], 1)  # (heads, D)
    weights[f'{layer}.q_proj.bias'][:queries] = GAZE * turned.flatten()


def _find(weights: dict[str, Tensor], D: int, read: Tensor) -> None:
    """Keys read (D, hidden) what is written; queries read what would be written of a token."""
    first, second = (f'model.layers.{layer}.self_attn' for layer in (0, 1))
    words = weights['model.embed_tokens.weight']  # (vocabulary, hidden)
    written = weights[f'{first}.o_proj.weight'][:, :D] @ weights[f'{first}.v_proj.weight'][:D]
    ask = read @ written  # (D, hidden)
    tokens = _normed(words + (_normed(words) @ written.T).roll(1, 0))  # each behind the last
    match = ((tokens @ ask.T)[:-1] * (tokens @ read.T)[1:]).sum(1).mean()
    scale = (FOUND * D**0.5 / match).sqrt()
    weights[f'{second}.q_proj.weight'][: len(BACK) * D] = (scale * ask).repeat(len(BACK), 1)
    weights[f'{second}.k_proj.weight'][:D] = scale * read


def _normed(x: Tensor) -> Tensor:
    """Vectors (n, hidden) as a fresh norm leaves them."""
    return x / x.square().mean(1, keepdim=True).sqrt()


def parameters(folder: Path) -> int:
    """How many parameters the model of a folder has."""
    language, vision = blank(read_config(folder), 'sdpa')
    return sum(weight.numel() for weight in weights_of(language, vision).values())
