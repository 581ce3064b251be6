# SPDX-License-Identifier: Apache-2.0
"""Training that was stopped at any moment goes on as if it had not been.

A checkpoint is a folder: per process one safetensors file with its part of what training changes
(weights, moments of the optimiser, random numbers), and the trainer's own account of where it is.
It is written under another name and renamed when it is on the disk, so there is never half of one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from svlm_core.errors import CheckpointError, OutputError

STATE, SCHEDULE = 'trainer_state.json', 'schedule.json'
WEIGHT, RANDOM = 'weight', 'random'  # kinds of tensors; the others are moments of the optimiser


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in the folder of a stage; half-written ones are removed."""
    for part in folder.glob('.checkpoint-*'):
        shutil.rmtree(part, ignore_errors=True)
    return max(_all(folder), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written; -1 of a folder that is none."""
    number = re.fullmatch(r'checkpoint-(\d+)', checkpoint.name)
    return int(number[1]) if number else -1


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while a folder is written into an OutputError that names it."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise OutputError(f'{folder} cannot be written: {reason}') from error


def begin(part: Path) -> None:
    """Make the folder that a checkpoint is written into: its name, hidden by a dot."""
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)


def finish(part: Path, keep: int) -> None:
    """Give a checkpoint its name once it is on the disk, and remove all but the newest `keep`."""
    for path in (*part.iterdir(), part):
        sync(path)
    part.replace(part.with_name(part.name.removeprefix('.')))
    sync(part.parent)
    for old in sorted(_all(part.parent), key=step_of)[:-keep]:
        shutil.rmtree(old.rename(old.with_name(f'.{old.name}')))


def write(path: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Write what this process holds into its file."""
    tensors = {name: _local(tensor).cpu().contiguous() for name, tensor in _held(model, optimizer)}
    save_file(tensors, path)


def read(path: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Put back what this process held.

    Raises CheckpointError when it was written by another number of processes, or for another
    model.
    """
    if not path.is_file():
        found = sorted(file.name for file in path.parent.glob('*.safetensors'))
        raise CheckpointError(
            f'{path} is missing ({path.parent} holds {", ".join(found) or "no others"}): go on '
            'with as many processes as training was begun with'
        )
    parameters = _trainable(model)
    try:
        with safe_open(path, framework='pt') as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is damaged ({error}): remove {path.parent}') from error
    moments: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    try:
        for name, tensor in stored.items():
            kind, _, owner = name.partition('/')
            if kind == WEIGHT:
                _local(parameters[owner].data).copy_(tensor)
            elif kind != RANDOM:
                moments[owner][kind] = _like(parameters[owner], tensor)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f'{path} is of another model ({error}): take the recipe it was begun with'
        ) from error
    for name, held in moments.items():
        optimizer.state[parameters[name]] = held


def read_random(path: Path) -> None:
    """Go on with the random numbers from where this process was."""
    with safe_open(path, framework='pt') as file:
        torch.set_rng_state(file.get_tensor(f'{RANDOM}/cpu'))
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(file.get_tensor(f'{RANDOM}/cuda'))


def write_schedule(part: Path, scheduler: LRScheduler) -> None:
    """Write where the learning rate is."""
    (part / SCHEDULE).write_text(json.dumps(scheduler.state_dict()))


def read_schedule(checkpoint: Path, scheduler: LRScheduler, optimizer: Optimizer) -> None:
    """Go on with the learning rate from where it was."""
    scheduler.load_state_dict(json.loads((checkpoint / SCHEDULE).read_text()))
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group['lr'] = rate


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob('checkpoint-*') if step_of(path) >= 0]


def _held(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in _trainable(model).items():
        yield f'{WEIGHT}/{name}', parameter.data
        for kind, tensor in optimizer.state[parameter].items():
            yield f'{kind}/{name}', tensor
    yield f'{RANDOM}/cpu', torch.get_rng_state()
    if torch.cuda.is_available():
        yield f'{RANDOM}/cuda', torch.cuda.get_rng_state()


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _like(parameter: Tensor, local: Tensor) -> Any:
    """This process's part of a tensor that is cut as `parameter` is; a count stays whole."""
    local = local.to(parameter.device)
    if not isinstance(parameter, DTensor) or local.ndim == 0:
        return local
    return DTensor.from_local(
        local,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
