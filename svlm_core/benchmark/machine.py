# SPDX-License-Identifier: Apache-2.0
"""The machine a benchmark runs on: what it is, what it can, what it uses.

The ceilings are measured in the same run as all else, because clocks and neighbours differ from
one day to the next.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

REPEATS = 5  # of which the best counts: a ceiling is what is possible
CPUINFO = Path('/proc/cpuinfo')
ENERGY = Path('/sys/class/powercap')  # Intel's and AMD's counters; often for root alone


@dataclass(frozen=True)
class Ceilings:
    """What the device reached: bytes per second read and written by a copy, operations per
    second of a large matrix product."""

    bytes_per_second: float
    operations_per_second: float


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure them; takes about a second."""
    size, side = (2**30, 8192) if device.type == 'cuda' else (2**27, 1024)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = best_time(lambda: target.copy_(source), device)
    a = torch.ones(side, side, dtype=dtype, device=device)
    b = torch.empty_like(a)
    multiplied = best_time(lambda: torch.mm(a, a, out=b), device)
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


def memory_peak(device: torch.device) -> int:
    """The most that `memory_used` has been since the process began."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def energy_counter(device: torch.device) -> Callable[[], float] | None:
    """A reader of joules used so far; None where no counter can be read."""
    if device.type == 'cuda':
        return _gpu_energy(device)
    files = sorted(ENERGY.glob('*-rapl:?/energy_uj'))  # packages, without their parts
    if not files or not all(os.access(file, os.R_OK) for file in files):
        return None
    return lambda: sum(int(file.read_text()) for file in files) / 1e6


def describe(device: torch.device) -> dict[str, Any]:
    """Day, device, clocks, versions and load: what a figure is worth nothing without."""
    about: dict[str, Any] = {
        'time': datetime.now(UTC).isoformat(timespec='seconds'),
        'device': str(device),
        'processor': _processor(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'load_1min_before': round(os.getloadavg()[0], 2),
        'system': platform.platform(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'svlm': version('svlm'),
    }
    return about | (_gpu(device) if device.type == 'cuda' else {'mhz': _megahertz()})


def _processor() -> str:
    return next((line for line in _cpu_field('model name')), platform.machine())


def _megahertz() -> list[int]:
    """The clock of each core now; empty where the system does not say."""
    return [round(float(value)) for value in _cpu_field('cpu MHz')]


def _cpu_field(name: str) -> list[str]:
    if not CPUINFO.is_file():
        return []
    pairs = (line.partition(':') for line in CPUINFO.read_text().splitlines())
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _gpu(device: torch.device) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(device)
    found = {
        'gpu': about.name,
        'capability': f'{about.major}.{about.minor}',
        'gpu_bytes': about.total_memory,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
    }
    if find_spec('pynvml') is None:
        return {**found, 'clocks': 'not told: pip install nvidia-ml-py'}
    import pynvml

    handle = _handle(device)
    return {
        **found,
        'driver': pynvml.nvmlSystemGetDriverVersion(),
        'sm_mhz': pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        'memory_mhz': pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        'power_limit_watts': pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
    }


def _gpu_energy(device: torch.device) -> Callable[[], float] | None:
    if find_spec('pynvml') is None:
        return None
    import pynvml

    handle = _handle(device)
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:  # a Jetson has none
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def _handle(device: torch.device) -> Any:
    import pynvml

    pynvml.nvmlInit()
    uuid = torch.cuda.get_device_properties(device).uuid
    return pynvml.nvmlDeviceGetHandleByUUID(f'GPU-{uuid}')
