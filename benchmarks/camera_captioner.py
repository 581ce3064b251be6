# SPDX-License-Identifier: Apache-2.0
"""The captioner for benchmarks/camera.py, with an engine that notes how old its frames are.

It is the embedded model; with a number of seconds it only sleeps as long in each round, the
interpreter free for other threads, as while a GPU works.

python camera_captioner.py REPORT.json SECONDS   # '': the model itself
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from camera_source import STAMP

from svlm_core.timeline import write_whole
from svlm_ros.captioner import main
from svlm_ros.weights import load_engine

TOKENS = 20  # of a reply of the engine that sleeps


@dataclass(frozen=True)
class Noted:
    """A round of the engine: when it began, the age of its newest frame then, how long it took.

    All in seconds; the first since the epoch.
    """

    began: float
    age: float
    took: float


class Watched:
    """A stream of the engine that takes notes of its rounds, and with `sleep` only sleeps."""

    def __init__(self, stream: Any, sleep: float | None, notes: list[Noted]) -> None:
        self._stream, self._sleep, self._notes = stream, sleep, notes
        self.last: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def tokens(self, frames: np.ndarray, start: float) -> Iterator[Any]:
        """The reply to a round; `frames` (T, H, W, 3) bear their stamps in their first bytes."""
        began, clock = time.time(), time.monotonic()
        stamp = int.from_bytes(frames[-1].reshape(-1)[:STAMP].tobytes(), 'little')
        yield from self._stream.tokens(frames, start) if self._sleep is None else self._doze()
        if self._sleep is None:
            self.last = self._stream.last
        self._notes.append(Noted(began, began - stamp / 1e9, time.monotonic() - clock))

    def _doze(self) -> Iterator[Any]:
        assert self._sleep is not None
        for number in range(TOKENS):
            time.sleep(self._sleep / TOKENS)
            yield SimpleNamespace(text='word ' * (number + 1), delta='word ')
        self.last = SimpleNamespace(text='word ' * TOKENS, ids=tuple(range(TOKENS)), seconds={})


class Engine:
    """The embedded model, opening such streams."""

    def __init__(self, engine: Any, sleep: float | None) -> None:
        self._engine, self._sleep = engine, sleep
        self.notes: list[Noted] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def open(self, settings: Any) -> Watched:
        """A stream with a memory of its own."""
        return Watched(self._engine.open(settings), self._sleep, self.notes)


def run(report: Path, sleep: float | None) -> int:
    """Run the node, then write what its engine noted; the exit status."""
    engines: list[Engine] = []

    def load(node: Any) -> Engine:
        engines.append(Engine(load_engine(node), sleep))
        return engines[-1]

    status = main(None, load)
    write_whole(report, json.dumps([asdict(note) for note in engines[-1].notes]))
    return status


if __name__ == '__main__':
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2]) if sys.argv[2] else None))
