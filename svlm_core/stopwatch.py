# SPDX-License-Identifier: Apache-2.0
"""How long each stage of a round took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds of wall clock per named stage; `with watch('prefill'): ...`."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        return dict(self._seconds)
