# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder in, a model ready to run out. No pickle, no remote code."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from svlm_core import hub
from svlm_core.errors import CheckpointError, SettingsError
from svlm_core.model.backends import choose_backend
from svlm_core.model.config import DTYPES, ModelConfig, read_config, read_json
from svlm_core.model.language import LanguageModel
from svlm_core.model.quantised import pack_layers
from svlm_core.model.vision import VisionTower
from svlm_core.model.weights import blank, fill, read_weights, weights_of

# Mean and deviation of pixels that CLIP was trained with, and Qwen2-VL after it.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# What a CPU that multiplies bfloat16 itself says that it can: there it takes half of the bytes.
BFLOAT16 = ('avx512_bf16', 'amx_bf16')

SAMPLE = 64  # weights of each parameter that tell a model from another

FILES = ['*.json', '*.safetensors', '*.txt', '*.jinja']  # all that is fetched: data, no code


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint. `mean`, `std` (3,) float32 of pixels in 0..1, on the device."""

    config: ModelConfig
    language: LanguageModel
    vision: VisionTower
    folder: Path
    mean: Tensor
    std: Tensor
    stop_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def identity(self) -> str:
        """What tells a model from another: its sizes and a sample of its weights, taken once.

        It is the same in float32 and bfloat16; in float16 too, for weights published in bfloat16.
        """
        weights = sorted(weights_of(self.language, self.vision).items())
        plain = (weight.to_dense().flatten() for _, weight in weights)  # packed ones one by one
        sample = torch.cat([weight[:: -(-len(weight) // SAMPLE)].clone() for weight in plain])
        # What float16 loses of a bfloat16 lies below 2**-14.
        coarse = (sample.bfloat16().float() * 2**14).round().int().cpu()
        sizes = repr((self.config.text, self.config.vision, [name for name, _ in weights]))
        return hashlib.sha256(sizes.encode() + coarse.numpy().tobytes()).hexdigest()


def load(
    folder: Path | str, device: str = 'auto', dtype: str = 'auto', attention: str = 'auto'
) -> Model:
    """Load a Qwen2.5-VL or Qwen2-VL from a Hugging Face folder of safetensors, in either layout.

    `device` is 'auto' (the first GPU, else the CPU) or a name that PyTorch knows; `dtype` is
    'auto' (see `choose_dtype`), 'float32', 'bfloat16' or 'float16'; `attention` is 'auto'
    (the fastest back end that runs) or the name of one.
    Raises CheckpointError when the folder is no complete checkpoint of either,
    SettingsError for a device or a type that is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f'{folder} is no folder: give the folder of a checkpoint')
    config = read_config(folder)
    place = choose_device(device)
    kind = choose_dtype(dtype, config, place)
    stop_ids = read_stop_ids(folder)
    mean, std = read_pixel_statistics(folder)
    language, vision = blank(config, choose_backend(place, kind, attention))
    shapes = {name: weight.shape for name, weight in weights_of(language, vision).items()}
    fill(language, vision, read_weights(folder, shapes, place, kind))
    pack_layers(language, kind)
    return Model(
        config=config,
        language=language.eval(),
        vision=vision.eval(),
        folder=folder,
        mean=torch.tensor(mean, device=place),
        std=torch.tensor(std, device=place),
        stop_ids=stop_ids,
        device=place,
        dtype=kind,
    )


def resolve(name: Path | str) -> Path:
    """The folder of a checkpoint: an existing folder as it is, or `org/name` from the Hub.

    The network is used only for a name that is no folder, and not when HF_HUB_OFFLINE is set.
    Raises CheckpointError when there is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r'[\w-][\w.-]*/[\w-][\w.-]*', str(name)):
        raise CheckpointError(f'{name} is no folder, and no name on the Hugging Face Hub')
    try:
        return hub.snapshot(str(name), FILES)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(
            f'{name} is no folder, and cannot be had from the Hugging Face Hub: {reason}'
        ) from error


def choose_device(name: str) -> torch.device:
    """The device of a name. Raises SettingsError when this machine has none such."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f'device={name!r} is not available ({reason}): choose auto or cpu'
        ) from error


def choose_dtype(name: str, config: ModelConfig, device: torch.device) -> torch.dtype:
    """The type to compute in; auto: as saved, on a CPU float32 for what it cannot multiply itself.

    Raises SettingsError for an unknown name.
    """
    if name == 'auto':
        name = config.dtype if device.type != 'cpu' or _multiplies(config.dtype) else 'float32'
    if name not in DTYPES:
        raise SettingsError(f'dtype={name!r} is unknown: choose one of auto, {", ".join(DTYPES)}')
    return getattr(torch, name)


def _multiplies(dtype: str) -> bool:
    """Whether this CPU multiplies numbers of a type of 16 bits itself."""
    # Older torch cannot be asked.
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, 'get_capabilities') else {}
    return dtype == 'bfloat16' and any(able.get(name) for name in BFLOAT16)


def read_stop_ids(folder: Path) -> frozenset[int]:
    """The ids that end a reply. Raises CheckpointError when the folder names none."""
    config = read_json(folder / 'config.json')
    sources = [config, config.get('text_config') or {}]
    if (folder / 'generation_config.json').is_file():
        sources.insert(0, read_json(folder / 'generation_config.json'))
    for source in sources:
        ids = source.get('eos_token_id')
        if isinstance(ids, int):
            return frozenset([ids])
        if ids:
            return frozenset(map(int, ids))
    raise CheckpointError(
        f'{folder}: neither generation_config.json nor config.json has an eos_token_id'
    )


def read_pixel_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixels in 0..1, per channel, that the checkpoint was trained with."""
    for name in ('preprocessor_config', 'video_preprocessor_config', 'processor_config'):
        path = folder / f'{name}.json'
        if path.is_file():
            content = read_json(path)
            try:
                nested = content.get('image_processor', content)  # as transformers 5 has it
                r, g, b = map(float, nested.get('image_mean', MEAN))
                x, y, z = map(float, nested.get('image_std', STD))
            except (AttributeError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f'{path}: image_mean and image_std must be three numbers each'
                ) from error
            return [r, g, b], [x, y, z]
    return list(MEAN), list(STD)
