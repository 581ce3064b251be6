# SPDX-License-Identifier: Apache-2.0
"""Which sample comes when: every source, shuffled, epoch after epoch, cut into whole batches.

The order is a pure function of the seed, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from svlm_core.training.samples import Sample


class Source(Protocol):
    """Samples by number. What cannot be read is a line that says why.

    `run` neighbours cost less together than apart, and stay together.
    """

    run: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample | str: ...


class Course:
    """All that a stage learns from, in its order, as PyTorch's data loader takes it.

    The last batch may lack samples: those are None. Raises ValueError where there is nothing.
    """

    def __init__(self, sources: Sequence[Source], epochs: int, batch: int, seed: int) -> None:
        self._sources = sources
        self._starts = np.cumsum([0, *map(len, sources)])
        self._seed = seed
        self._per_epoch = int(self._starts[-1])
        if not self._per_epoch:
            raise ValueError('there is nothing to learn from')
        self._total = epochs * self._per_epoch
        self.steps = -(-self._total // batch)
        self._length = self.steps * batch
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample | str | None:
        if not 0 <= index < self._length:
            raise IndexError(index)
        if index >= self._total:
            return None
        epoch, place = divmod(index, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        number = self._order[place]
        source = int(np.searchsorted(self._starts, number, side='right')) - 1
        return self._sources[source][int(number - self._starts[source])]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """All samples of an epoch; runs stay whole."""
        draws = np.random.default_rng([self._seed, epoch])
        firsts = [
            np.arange(0, len(source), source.run) + start
            for source, start in zip(self._sources, self._starts, strict=False)
        ]
        ends = [
            np.minimum(part + source.run, start + len(source))
            for part, source, start in zip(firsts, self._sources, self._starts, strict=False)
        ]
        runs = np.stack([np.concatenate(firsts), np.concatenate(ends)], axis=1)
        return np.concatenate([np.arange(low, high) for low, high in draws.permutation(runs)])
