# SPDX-License-Identifier: Apache-2.0
"""Training in processes of its own, which may be killed; imported once, started often."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = ['svlm_core.training.run', 'svlm_core.training.dry_run', 'training_runs']


def start(work: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """A process that does `work`, which must be a function of a module."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(MODULES)
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def finish(*processes: multiprocessing.process.BaseProcess) -> list[int | None]:
    """Wait for processes; their exit codes."""
    for process in processes:
        process.join(200)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def carry_out(recipe: Path, output: Path, resume: bool = False, kill: str = '') -> None:
    """Train; with `kill`, until the process kills itself at that point."""
    import torch

    from svlm_core.training.recipe import read_recipe
    from svlm_core.training.run import train

    torch.set_num_threads(1)
    multiprocessing.set_start_method('fork', force=True)  # of what prepares data: it is fast
    if kill:
        POINTS[kill]()
    train(read_recipe(recipe), output, resume=resume)


def take_part(recipe: Path, output: Path, rank: int, port: int, sharded: bool) -> None:
    """Train as one of two processes that talk over gloo, with FSDP2 where `sharded`."""
    os.environ |= {
        'RANK': str(rank),
        'LOCAL_RANK': str(rank),
        'WORLD_SIZE': '2',
        'LOCAL_WORLD_SIZE': '2',
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
        'ACCELERATE_USE_CPU': 'true',
    }
    if sharded:
        # What `accelerate launch` makes of training/fsdp2.yaml; accelerate itself offers
        # FSDP2 on GPUs alone.
        os.environ |= {
            'ACCELERATE_USE_FSDP': 'true',
            'FSDP_VERSION': '2',
            'FSDP_AUTO_WRAP_POLICY': 'TRANSFORMER_BASED_WRAP',
            'FSDP_RESHARD_AFTER_FORWARD': 'true',
        }
        _shard_on_cpu()
    carry_out(recipe, output, resume=output.is_dir() and (output / 'recipe.json').is_file())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _shard_on_cpu() -> None:
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    begin = AcceleratorState.__init__

    def begin_sharded(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        if (plugin := named.get('fsdp_plugin')) is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin

    AcceleratorState.__init__ = begin_sharded  # type: ignore[method-assign]


def die(*_: Any, **__: Any) -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _in_a_step() -> None:
    from svlm_core.training.trainer import ChunkTrainer

    loss = ChunkTrainer.compute_loss

    def fatal(self: Any, *arguments: Any, **named: Any) -> Any:
        found = loss(self, *arguments, **named)
        if self.state.global_step == 5:
            found.backward()
            die()
        return found

    ChunkTrainer.compute_loss = fatal  # type: ignore[method-assign]


def _half(module: Any, name: str, from_call: int) -> None:
    """The function `name` of a module, which writes a file, writes half of it and dies."""
    write, calls = getattr(module, name), []

    def fatal(content: Any, path: Any, *more: Any) -> None:
        calls.append(path)
        write(content, path, *more)
        if len(calls) >= from_call:
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    setattr(module, name, fatal)


def _in_a_checkpoint() -> None:
    from svlm_core.training import checkpoints

    _half(checkpoints, 'save_file', from_call=2)


def _before_it_has_its_name() -> None:
    from svlm_core.training import checkpoints

    calls: list[Path] = []

    def fatal(path: Path) -> None:
        calls.append(path)
        if path.name == '.checkpoint-6':
            die()

    checkpoints.sync = fatal


def _before_the_old_one_goes() -> None:
    from svlm_core.training import checkpoints

    class Fatal:
        rmtree = staticmethod(
            lambda path, **named: die() if path.name == '.checkpoint-3' and path.exists() else None
        )

    checkpoints.shutil = Fatal  # type: ignore[assignment]


def _in_the_model() -> None:
    from svlm_core.model import weights

    _half(weights, 'save_file', from_call=2)  # the first are fresh weights


POINTS: dict[str, Callable[[], None]] = {
    'in a step': _in_a_step,
    'in a checkpoint': _in_a_checkpoint,
    'before it has its name': _before_it_has_its_name,
    'before the old one goes': _before_the_old_one_goes,
    'in the model': _in_the_model,
}
