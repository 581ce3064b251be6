# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors files, under the names of published checkpoints.

Those are `model.*` and `lm_head.weight` for the language model and `visual.*` for the vision
tower. Later versions of transformers put other prefixes before them; those are read too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from svlm_core.errors import CheckpointError, DeviceFull, OutputError
from svlm_core.model.config import ModelConfig, read_json
from svlm_core.model.language import LanguageModel
from svlm_core.model.quantised import replace_layers
from svlm_core.model.vision import VisionTower

SINGLE, INDEX = 'model.safetensors', 'model.safetensors.index.json'
HEAD = 'lm_head.weight'
OTHER_PREFIXES = {  # the first that fits is replaced
    'model.language_model.': 'model.',
    'model.visual.': 'visual.',
    'language_model.lm_head.': 'lm_head.',
    'language_model.model.': 'model.',
    'language_model.': 'model.',
}


def blank(config: ModelConfig, backend: str) -> tuple[LanguageModel, VisionTower]:
    """Both models with parameters that have a shape but no memory."""
    with torch.device('meta'):
        language = LanguageModel(config.text, backend)
        if config.bits is not None:
            replace_layers(language, config.bits)
        return language, VisionTower(config.vision)


def weights_of(language: LanguageModel, vision: VisionTower) -> dict[str, Tensor]:
    """Every weight by its published name; no copies."""
    text = {
        name if name.startswith('lm_head.') else f'model.{name}': weight
        for name, weight in language.state_dict().items()
    }
    return text | {f'visual.{name}': w for name, w in vision.state_dict().items()}


def fill(language: LanguageModel, vision: VisionTower, weights: Mapping[str, Tensor]) -> None:
    """Make `weights`, by published name, the parameters of both models; no copies."""
    part = 'visual.'
    text = {k.removeprefix('model.'): w for k, w in weights.items() if not k.startswith(part)}
    language.load_state_dict(text, assign=True)
    seen = {k.removeprefix(part): w for k, w in weights.items() if k.startswith(part)}
    vision.load_state_dict(seen, assign=True)


def save(folder: Path, weights: Mapping[str, Tensor]) -> Path:
    """Write `weights`, by published name, as the one safetensors file of a checkpoint folder.

    It appears only when it is complete. Raises OutputError when it cannot be written.
    """
    path, part = folder / SINGLE, folder / f'.{SINGLE}.part'
    held = {name: weight.detach().contiguous().cpu() for name, weight in weights.items()}
    try:
        save_file(held, part, {'format': 'pt'})  # transformers asks for the format
        with part.open('rb') as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f'{path} cannot be written: {error}') from error
    return path


def read_weights(
    folder: Path, shapes: Mapping[str, torch.Size], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The weights of a checkpoint by published name: exactly those that `shapes` asks for.

    They are read tensor by tensor, so the host never holds more than one shard beside the result.
    A head that repeats tied embeddings is left out. Raises CheckpointError when a file is missing
    or damaged, or when a weight is missing, unknown or of another shape; DeviceFull when the
    device has no room for them.
    """
    weights: dict[str, Tensor] = {}
    unknown: list[str] = []
    for path in shards(folder):
        try:
            with safe_open(path, framework='pt') as shard:
                for stored in shard.keys():  # noqa: SIM118 (not a mapping)
                    name = published_name(stored)
                    if name not in shapes:
                        unknown += [] if name == HEAD else [stored]
                        continue
                    weight = shard.get_tensor(stored)
                    if weight.shape != shapes[name]:
                        raise CheckpointError(
                            f'{path}: {stored} has the shape {tuple(weight.shape)}, but '
                            f'config.json asks for {tuple(shapes[name])}: they do not belong '
                            'together'
                        )
                    kind = dtype if weight.is_floating_point() else weight.dtype
                    weights[name] = weight.to(device, kind, copy=True)
        except torch.OutOfMemoryError as error:
            raise DeviceFull(
                f'{device} has no room for the weights of {folder}: take a smaller checkpoint, '
                'a smaller dtype or another device'
            ) from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f'{path} is damaged or incomplete ({error}): download it again'
            ) from error
    if unknown:
        raise CheckpointError(
            f'{folder} has weights that its architecture does not: {_listed(unknown)}: give a '
            'plain checkpoint, neither an adapter nor one that something else has quantised'
        )
    if missing := shapes.keys() - weights:
        raise CheckpointError(f'{folder} lacks weights: {_listed(missing)}: download it again')
    return weights


def published_name(stored: str) -> str:
    """The published name of a weight that a version of transformers may have stored otherwise."""
    for prefix, published in OTHER_PREFIXES.items():
        if stored.startswith(prefix):
            return published + stored.removeprefix(prefix)
    return stored


def shards(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint. Raises CheckpointError when one is missing."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob('*.bin'))
        if pickles:
            raise CheckpointError(
                f'{folder} holds only pickled weights ({_listed(pickles)}), which can run code '
                'and are not read: convert them to safetensors'
            )
        raise CheckpointError(f'{folder} has neither {SINGLE} nor {INDEX}: download it again')
    places = read_json(folder / INDEX).get('weight_map')
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f'{folder / INDEX} has no weight_map: download it again')
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f'{folder / INDEX} names {name!r}, which is not a file name')
        if not (folder / name).is_file():
            raise CheckpointError(f'{folder / name} is missing: download it again')
    return [folder / name for name in names]


def _listed(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    return f'{first} and {len(rest)} more' if rest else first
