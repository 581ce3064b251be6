# SPDX-License-Identifier: Apache-2.0
"""Clocks and temperature: what figures depend on, and what a machine may keep to itself.

NVIDIA's management library answers some queries on some GPUs: a slice of a GPU has no clock of
its own, a Jetson hardly anything. There the kernel's files are asked. What nobody tells is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path('/proc/cpuinfo')
DEVFREQ = Path('/sys/class/devfreq')  # clocks of a Jetson's units, in Hz
THERMAL = Path('/sys/class/thermal')  # temperatures, in thousandths of a degree
UNITS = ('gpu', 'ga10b', 'gv11b')  # what a Jetson calls its GPU

State = dict[str, float | None]


@dataclass(frozen=True)
class Nvml:
    """The library, and the GPU that is meant."""

    library: Any
    handle: Any

    def ask(self, query: str, *given: Any) -> Any:
        """What the library's function of this name tells of the GPU; None: it does not."""
        try:
            return getattr(self.library, query)(self.handle, *given)
        except self.library.NVMLError:
            return None

    def driver(self) -> str | None:
        """The version of the driver."""
        try:
            return str(self.library.nvmlSystemGetDriverVersion())
        except self.library.NVMLError:
            return None


def nvml(device: torch.device) -> Nvml | str:
    """The library for a GPU, or why there is none."""
    try:
        import pynvml
    except ImportError:
        return 'pip install nvidia-ml-py'
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        return Nvml(pynvml, _handle(pynvml, str(uuid)))
    except pynvml.NVMLError as error:
        return f'NVML: {error}'


def _handle(library: Any, uuid: str) -> Any:
    try:
        return library.nvmlDeviceGetHandleByUUID(f'GPU-{uuid}')
    except library.NVMLError:  # a slice of a GPU has a name of its own
        return library.nvmlDeviceGetHandleByUUID(f'MIG-{uuid}')


def state(device: torch.device) -> State:
    """Clocks in MHz and degrees Celsius of a device now."""
    if device.type != 'cuda':
        cores = cpu_clocks()
        return {'mhz': max(cores, default=None), 'celsius': _hottest('')}
    sm = memory = celsius = None
    if isinstance(told := nvml(device), Nvml):
        kinds = told.library
        sm = told.ask('nvmlDeviceGetClockInfo', kinds.NVML_CLOCK_SM)
        memory = told.ask('nvmlDeviceGetClockInfo', kinds.NVML_CLOCK_MEM)
        celsius = told.ask('nvmlDeviceGetTemperature', kinds.NVML_TEMPERATURE_GPU)
    return {
        'sm_mhz': _unit_clock() if sm is None else sm,
        'memory_mhz': memory,
        'celsius': _hottest('gpu') if celsius is None else celsius,
    }


def cpu_clocks() -> list[int]:
    """The clock of each core now, in MHz; empty where the system does not say."""
    return [round(float(value)) for value in cpu_field('cpu MHz')]


def cpu_field(name: str) -> list[str]:
    """A field of each core in the kernel's list of them."""
    if not CPUINFO.is_file():
        return []
    pairs = (line.partition(':') for line in CPUINFO.read_text().splitlines())
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def number(file: Path) -> float | None:
    """The number in a file of the kernel; None where it tells none."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None


def text(file: Path) -> str:
    """The words in a file of the kernel; empty where it has none."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ''


def _unit_clock() -> float | None:
    folders = (f for f in sorted(DEVFREQ.glob('*')) if any(unit in f.name for unit in UNITS))
    clocks = [c for folder in folders if (c := number(folder / 'cur_freq')) is not None]
    return max(clocks) / 1e6 if clocks else None


def _hottest(word: str) -> float | None:
    """Degrees of the hottest zone that has this word in its name."""
    zones = (z for z in THERMAL.glob('thermal_zone*') if word in text(z / 'type').lower())
    known = [t for zone in zones if (t := number(zone / 'temp')) is not None]
    return max(known) / 1000 if known else None
