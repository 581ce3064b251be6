# SPDX-License-Identifier: Apache-2.0
"""Joules that a device has used: of a counter, or of a power that is summed over time.

A counter may tick more coarsely than a second of stream takes, so only what it tells of many
seconds together means anything. A Jetson has sensors of power at its supply rails instead
(INA3221, by the kernel's hwmon files), which a thread reads again and again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from svlm_core.benchmark.sensors import Nvml, number, nvml, text

POWERCAP = Path('/sys/class/powercap')  # Intel's and AMD's counters; often for root alone
HWMON = Path('/sys/class/hwmon')
IDLE = 2.0  # seconds that idleness is watched
PERIOD = 0.05  # seconds between two readings of a power
WHOLE = ('VDD_IN', 'POM_5V_IN', 'VIN')  # rails of a Jetson that feed all others
FED = ('VDDQ_VDD2_1V8AO', 'NC')  # fed by a rail that is counted, and not connected

Reading = Callable[[], float | None]


@dataclass(frozen=True)
class Source:
    """What can be read, and of what: joules so far, or watts now. None: this time it failed."""

    name: str
    read: Reading
    watts: bool = False


def energy_source(device: torch.device) -> Source | None:
    """The best source of a device; None where nothing can be read."""
    if device.type == 'cuda':
        return _gpu_counter(device) or _rails()
    return _cpu_counter() or _rails()


@contextmanager
def counting(source: Source | None) -> Iterator[Reading]:
    """A reader of joules so far, good meanwhile. It tells None where there is no source."""
    if source is None:
        yield lambda: None
    elif not source.watts:
        yield source.read
    else:
        summed, over = Summed(source.read), threading.Event()
        thread = threading.Thread(target=summed.follow, args=(over,), daemon=True)
        thread.start()
        try:
            yield summed.joules
        finally:
            over.set()
            thread.join()


def idle_watts(source: Source | None) -> float | None:
    """What is used while nothing is asked of the device; takes seconds. None: nobody tells."""
    with counting(source) as joules:
        if (before := joules()) is None:
            return None
        began = time.monotonic()
        time.sleep(IDLE)
        after, ended = joules(), time.monotonic()
    return None if after is None else (after - before) / (ended - began)


class Summed:
    """Joules of a power that is read from time to time, and taken for even in between."""

    def __init__(self, watts: Reading, clock: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._clock = watts, clock
        self._lock = threading.Lock()
        self._last: tuple[float, float] | None = None
        self._sum: float | None = 0.0

    def follow(self, over: threading.Event) -> None:
        """Read until it is over."""
        while not over.wait(PERIOD):
            self.joules()

    def joules(self) -> float | None:
        """Joules up to now; None for good once a reading failed."""
        with self._lock:
            now, watts = self._clock(), self._watts()
            if watts is None or self._sum is None:
                self._sum = None
                return None
            if self._last is not None:
                then, before = self._last
                self._sum += (now - then) * (before + watts) / 2
            self._last = now, watts
            return self._sum


class Turning:
    """Joules of counters that begin again at 0 when they are full."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [(file, number(file.with_name('max_energy_range_uj'))) for file in files]
        self._last = [number(file) for file in files]
        self._sum = 0.0

    def joules(self) -> float | None:
        """Joules since this was made."""
        for place, (file, most) in enumerate(self._files):
            now, before = number(file), self._last[place]
            if now is None or before is None:
                return None
            self._sum += now - before if now >= before or not most else now + most - before
            self._last[place] = now
        return self._sum / 1e6


def _gpu_counter(device: torch.device) -> Source | None:
    library = nvml(device)
    if not isinstance(library, Nvml):
        return None

    def joules() -> float | None:
        told = library.ask('nvmlDeviceGetTotalEnergyConsumption')  # in mJ
        return None if told is None else told / 1000

    return None if joules() is None else Source('GPU, by NVML', joules)


def _cpu_counter() -> Source | None:
    files = sorted(POWERCAP.glob('*-rapl:?/energy_uj'))  # packages, without their parts
    if not files or any(number(file) is None for file in files):
        return None
    return Source('processor, by RAPL', Turning(files).joules)


def _rails() -> Source | None:
    found = {name: read for folder in sorted(HWMON.glob('*')) for name, read in _sensors(folder)}
    whole = [name for name in WHOLE if name in found]
    counted = whole[:1] or [name for name in found if name not in FED]
    reads = [found[name] for name in counted]

    def watts() -> float | None:
        told = [read() for read in reads]
        known = [value for value in told if value is not None]
        return sum(known) if len(known) == len(told) else None

    if not counted or watts() is None:
        return None
    return Source(f'rails {" + ".join(counted)}', watts, watts=True)


def _sensors(folder: Path) -> Iterator[tuple[str, Reading]]:
    """The rails that a chip of the INA family measures, by the names on the board."""
    if not text(folder / 'name').startswith('ina'):
        return
    for label in sorted(folder.glob('in*_label')):
        channel = label.name.removeprefix('in').removesuffix('_label')
        power = folder / f'power{channel}_input'  # in uW
        volts, amperes = folder / f'in{channel}_input', folder / f'curr{channel}_input'  # mV, mA
        if (name := text(label)) and power.is_file():
            yield name, partial(_product, 1e-6, power)
        elif name and volts.is_file() and amperes.is_file():
            yield name, partial(_product, 1e-6, volts, amperes)


def _product(unit: float, *files: Path) -> float | None:
    for file in files:
        if (value := number(file)) is None:
            return None
        unit *= value
    return unit
