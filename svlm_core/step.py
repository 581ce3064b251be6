# SPDX-License-Identifier: Apache-2.0
"""One token through the model: the step that is repeated for every word.

It is a pure function of buffers that stay where they are: the token, its rotation, its slot, and
the planes of a memory. So a GPU can replay it as one graph (`gpu.Replayed`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.cache import Cache
from svlm_core.errors import MemoryFull
from svlm_core.model.attention import attend, bounded
from svlm_core.model.checkpoint import Model


@dataclass(frozen=True)
class Placing:
    """One token that goes into the `slot` (1,) and attends over the first `reach` slots.

    The `bound` keeps it to those in use; None: all of them are. A graph fixes `reach`, so there it
    is all that the memory can hold, and the device knows how far it is filled.
    """

    cos: Tensor
    sin: Tensor
    cache: Cache
    slot: Tensor
    reach: int
    bound: Tensor | None
    backend: str

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> Tensor:
        k, v = self.cache.put(layer, self.slot, keys, rotated, values)  # (capacity, Hk, D)
        return attend(q, k[: self.reach], v[: self.reach], self.backend, self.bound)


class Step:
    """Runs single tokens through a model into one memory.

    Raises MemoryFull where the device has no room to capture that as a graph.
    """

    def __init__(self, model: Model, cache: Cache) -> None:
        device, head_dim = model.device, model.config.text.head_dim
        self._language, self._cache = model.language, cache
        self._token = torch.zeros(1, dtype=torch.long, device=device)
        self._slot = torch.zeros(1, dtype=torch.long, device=device)
        self._length = torch.ones(1, dtype=torch.int32, device=device)
        self._cos = torch.ones(1, head_dim, device=device)
        self._sin = torch.zeros(1, head_dim, device=device)
        self._captured = gpu.replays(device)
        self._reach = cache.capacity
        try:
            self._run = gpu.Replayed(self._forward, device)
        except torch.OutOfMemoryError as error:
            raise MemoryFull(
                f'{device} has room for a memory of {cache.capacity} tokens, but not for the '
                'graph of its decoding: give lower limits or a smaller capacity, or free it'
            ) from error
        self._captured = self._run.captured

    def __call__(self, token: Tensor, slot: int, cos: Tensor, sin: Tensor) -> Tensor:
        """The scores (V,) float32 after a `token` (1,) whose keys and values go into a slot.

        `cos`, `sin` (1, D) are its rotation. Nothing here waits for the device.
        """
        self._token.copy_(token)
        self._cos.copy_(cos)
        self._sin.copy_(sin)
        self._slot.fill_(slot)
        self._length.fill_(slot + 1)
        if not self._captured:
            self._reach = slot + 1
        return self._run()

    def _forward(self) -> Tensor:
        reach, backend = self._reach, self._language.backend
        bound = bounded(self._length, reach, backend) if self._captured else None
        reading = Placing(self._cos, self._sin, self._cache, self._slot, reach, bound, backend)
        x = self._language.embed(self._token)  # (1, hidden)
        return self._language.logits(self._language(x, reading)[0])
