# SPDX-License-Identifier: Apache-2.0
"""How long each stage of a round took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

Mark = float | torch.cuda.Event


class Stopwatch:
    """Adds up the time of named stages on a device; `with watch('prefill'): ...`.

    On a GPU, which works behind the back of its caller, the GPU itself marks where a stage begins
    and ends, so that timing makes nobody wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: defaultdict[str, list[tuple[Mark, Mark]]] = defaultdict(list)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = mark(self._device)
        try:
            yield
        finally:
            self._marks[stage].append((started, mark(self._device)))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        return {
            stage: sum(between(*pair) for pair in pairs) for stage, pairs in self._marks.items()
        }


def mark(device: torch.device) -> Mark:
    """This moment, as the device sees it."""
    if device.type != 'cuda':
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def between(start: Mark, end: Mark) -> float:
    """Seconds from one moment to another of the same device."""
    if isinstance(start, float):
        assert isinstance(end, float)
        return end - start
    assert isinstance(end, torch.cuda.Event)
    end.synchronize()
    return start.elapsed_time(end) / 1000
