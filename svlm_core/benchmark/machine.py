# SPDX-License-Identifier: Apache-2.0
"""The machine a benchmark runs on: what it is, what it can, what it uses.

The ceilings are measured in the same run as all else, because clocks and neighbours differ from
one day to the next.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from svlm_core.benchmark.energy import energy_source, idle_watts
from svlm_core.benchmark.sensors import Nvml, cpu_clocks, cpu_field, nvml, state
from svlm_core.model.packed import PackedLinear, packs

THERE = 'there'  # said of NVML where it answers
REPEATS = 5  # of which the best counts: a ceiling is what is possible


@dataclass(frozen=True)
class Ceilings:
    """What the device reached: bytes per second read and written by a copy, operations per
    second of a large matrix product."""

    bytes_per_second: float
    operations_per_second: float


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure them; takes about a second. A CPU multiplies as engines do, if that is faster."""
    size, side = (2**30, 8192) if device.type == 'cuda' else (2**27, 1024)
    # Random, because a chip that moves and multiplies constants draws less, and clocks higher.
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    copied = best_time(lambda: target.copy_(source), device)
    a = torch.randn(side, side, dtype=dtype, device=device)
    b = torch.empty_like(a)
    products: list[Callable[[], Tensor]] = [lambda: torch.mm(a, a, out=b)]
    if device.type == 'cpu' and packs(dtype):
        packed = PackedLinear(a)
        products.append(lambda: packed(a))
    multiplied = min(best_time(product, device) for product in products)
    return Ceilings(2 * size / copied, 2 * side**3 / multiplied)


def best_time(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few repeats."""
    times = []
    for _ in range(1 + REPEATS):
        settle(device)
        started = time.perf_counter()
        work()
        settle(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def settle(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def memory_used(device: torch.device) -> int:
    """Bytes that this process holds now: tensors on a GPU, resident memory on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device)
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def forget_memory(device: torch.device) -> None:
    """Give back what nobody holds any more, and let `memory_peak` begin anew."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def memory_peak(device: torch.device) -> int:
    """The most bytes of tensors since `forget_memory`; a CPU knows only what is used now."""
    return (
        torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else memory_used(device)
    )


def memory_reserved(device: torch.device) -> int | None:
    """Bytes that torch keeps of a GPU, in use or not; None on a CPU."""
    return torch.cuda.memory_reserved(device) if device.type == 'cuda' else None


def allocations(device: torch.device) -> int | None:
    """How often this process has asked the GPU for memory so far; None on a CPU."""
    return (
        torch.cuda.memory_stats(device).get('num_device_alloc') if device.type == 'cuda' else None
    )


def describe(device: torch.device) -> dict[str, Any]:
    """Day, device, clocks, versions and load: what a figure is worth nothing without."""
    about: dict[str, Any] = {
        'time': datetime.now(UTC).isoformat(timespec='seconds'),
        'device': str(device),
        'processor': next(iter(cpu_field('model name')), platform.machine()),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'load_1min_before': round(os.getloadavg()[0], 2),
        'system': platform.platform(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'svlm': version('svlm'),
    }
    source = energy_source(device)
    about |= _gpu(device) if device.type == 'cuda' else {'mhz': cpu_clocks()}
    return about | {
        'energy': source and source.name,
        'idle_watts': idle_watts(source),
        'state_before': state(device),
    }


def untold(about: Mapping[str, Any]) -> str:
    """A line on what a machine kept to itself, and why if that is known; empty: it told all."""
    asked = {**about, **about['state_before']}
    missing = ', '.join(name for name, value in asked.items() if value is None)
    reason = about.get('nvml', THERE)
    why = '' if reason == THERE else f' ({reason})'
    return f'not told by this machine: {missing}{why}' if missing else ''


def _gpu(device: torch.device) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(device)
    library = nvml(device)
    limit = None
    if isinstance(library, Nvml):
        limit = library.ask('nvmlDeviceGetPowerManagementLimit')  # in mW
    return {
        'gpu': about.name,
        'capability': f'{about.major}.{about.minor}',
        'gpu_bytes': about.total_memory,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
        'nvml': THERE if isinstance(library, Nvml) else library,
        'driver': library.driver() if isinstance(library, Nvml) else None,
        'power_limit_watts': None if limit is None else limit / 1000,
    }
