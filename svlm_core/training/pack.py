# SPDX-License-Identifier: Apache-2.0
"""Several samples side by side in one sequence, none of which sees another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from svlm_core.training.samples import Sample


@dataclass(frozen=True, eq=False)
class Pack:
    """Samples of `lengths` tokens in one sequence of T.

    `ids` (T,), `positions` (3, T): each sample's begin at 0; `seen` (V,) and `asked` (M,) are
    places in the sequence. `films`, each (F, H, W, 3) uint8, fill the seen places in order.
    `until` has those of the samples.
    """

    ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    seen: Tensor
    films: tuple[Tensor, ...]
    asked: Tensor
    until: tuple[Tensor | None, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Pack:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Pack:
        """The same in memory from which a GPU copies fast; a data loader asks for it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pack:
        return Pack(
            ids=change(self.ids),
            positions=change(self.positions),
            lengths=self.lengths,
            seen=change(self.seen),
            films=tuple(map(change, self.films)),
            asked=change(self.asked),
            until=tuple(None if until is None else change(until) for until in self.until),
        )


def pack(samples: Sequence[Sample]) -> tuple[Pack, Tensor]:
    """The samples as one pack, and their labels (M,)."""
    lengths = tuple(map(len, samples))
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    alike = groupby((sample.film for sample in samples), key=lambda film: film.shape[1:])
    packed = Pack(
        ids=torch.cat([s.ids for s in samples]),
        positions=torch.cat([s.positions for s in samples], dim=1),
        lengths=lengths,
        seen=torch.cat([s.seen + at for s, at in zip(samples, starts, strict=True)]),
        films=tuple(torch.cat(list(films)) for _, films in alike),
        asked=torch.cat([s.asked + at for s, at in zip(samples, starts, strict=True)]),
        until=tuple(s.until for s in samples),
    )
    return packed, torch.cat([s.labels for s in samples])


class Collator:
    """Turns what a data set gives for one step into a batch as the trainer takes it.

    Rows that could not be read are left out and named in `problems`; nothing takes their place.
    A batch of which nothing is left holds the `blank` sample, from which nothing is learnt: with
    several processes, each has to run the model as often as the others.
    """

    def __init__(self, blank: Sample) -> None:
        self._blank = blank

    def __call__(self, items: Sequence[Sample | str | None]) -> dict[str, Any]:
        samples = [item for item in items if isinstance(item, Sample)]
        packed, labels = pack(samples or [self._blank])
        problems = [item for item in items if isinstance(item, str)]
        return {'pack': packed, 'labels': labels, 'problems': problems}
