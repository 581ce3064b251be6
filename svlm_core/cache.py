# SPDX-License-Identifier: Apache-2.0
"""The preallocated memory of one stream: planes of keys and values. It knows no policy.

Three planes (layer, slot, key head, head size): keys before rotation, keys rotated, values. Keys
are rotated from their unrotated copy once per round, never per token and never twice over: an
already rotated bf16 key that is turned again and again drifts without bound. With native
positions a key keeps the rotation it came with, and the unrotated plane is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor

from svlm_core.errors import MemoryFull
from svlm_core.free import free_bytes
from svlm_core.model.config import TextConfig
from svlm_core.rope import rotate


class Cache:
    """Keys and values of `capacity` slots, of which the first `length` are in use.

    Raises MemoryFull when the device has no room for them.
    """

    def __init__(
        self,
        config: TextConfig,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        keep_unrotated: bool,
    ) -> None:
        shape = (config.layers, capacity, config.kv_heads, config.head_dim)
        plane = partial(torch.zeros, dtype=dtype, device=device)
        size = (2 + keep_unrotated) * prod(shape) * dtype.itemsize
        try:
            check_room(size, device)
            self.keys = plane(shape)  # rotated (L, S, H, D)
            self.values = plane(shape)  # (L, S, H, D)
            self.unrotated = plane(shape) if keep_unrotated else None  # (L, S, H, D)
            self._moving = plane(shape[1:])  # (S, H, D) on its way to new slots
        except (RuntimeError, MemoryError) as error:  # a GPU and a host say it differently
            raise MemoryFull(
                f'{device} has no room for a memory of {capacity} tokens '
                f'({size / 2**30:.1f} GiB): give lower limits or a smaller capacity'
            ) from error
        self.capacity = capacity
        self.length = 0

    @property
    def planes(self) -> list[Tensor]:
        """All buffers, for accounting: they are allocated once and stay where they are."""
        planes = [self.keys, self.values, self._moving]
        return planes if self.unrotated is None else [*planes, self.unrotated]

    @property
    def bytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self.planes)

    def gather(self, spans: Sequence[range]) -> int:
        """Let slot i hold what the i-th token of `spans` holds now; return the first changed slot.

        Spans run over slots in use; what they leave out is forgotten.
        """
        first = spans[0].stop if spans and spans[0].start == 0 else 0
        moved = spans[1:] if first else spans
        length = first + sum(len(span) for span in moved)
        if first < length:
            new = self._moving[: length - first]  # (n, H, D)
            for plane in self._moved_planes():
                for layer in plane:  # (S, H, D)
                    torch.cat([layer[s.start : s.stop] for s in moved], out=new)
                    layer[first:length] = new
        self.length = length
        return first

    def relay(self, first: int, cos: Tensor, sin: Tensor) -> None:
        """Rotate the keys of slots `first` to `length` anew, by tables (length - first, D)."""
        if self.unrotated is None or first >= self.length:
            return
        used = slice(first, self.length)
        for keys, unrotated in zip(self.keys, self.unrotated, strict=True):
            rotate(unrotated[used], cos, sin, keys[used])

    def extend(
        self, layer: int, start: int, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values (T, H, D) from slot `start` on.

        Returns views (start + T, H, D) of the rotated keys and the values to attend over.
        """
        end = start + len(keys)
        if self.unrotated is not None:
            self.unrotated[layer, start:end] = keys
        self.keys[layer, start:end] = rotated
        self.values[layer, start:end] = values
        return self.keys[layer, :end], self.values[layer, :end]

    def put(
        self, layer: int, slot: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store one token's keys and values (1, H, D) in a `slot` (1,) that the device knows.

        Returns a layer's whole planes (S, H, D) of rotated keys and values.
        """
        if self.unrotated is not None:
            self.unrotated[layer].index_copy_(0, slot, keys)
        rotated_plane, value_plane = self.keys[layer], self.values[layer]
        rotated_plane.index_copy_(0, slot, rotated)
        value_plane.index_copy_(0, slot, values)
        return rotated_plane, value_plane

    @property
    def filled(self) -> dict[str, Tensor]:
        """What the slots in use hold: views (L, length, H, D) of the planes, by name."""
        planes = {'keys': self.keys, 'values': self.values, 'unrotated': self.unrotated}
        return {n: plane[:, : self.length] for n, plane in planes.items() if plane is not None}

    def fill(self, filled: Mapping[str, Tensor]) -> None:
        """Hold what another cache of the same model and kind had `filled`."""
        self.length = filled['keys'].shape[1]
        for name, plane in self.filled.items():
            plane.copy_(filled[name])

    def _moved_planes(self) -> list[Tensor]:
        return [self.keys if self.unrotated is None else self.unrotated, self.values]


def check_room(size: int, device: torch.device) -> None:
    """Raise MemoryError when the device says that it has fewer free bytes than `size`.

    Linux promises memory that it does not have, and kills who uses it.
    """
    free = free_bytes(device)
    if free is not None and size > free:
        raise MemoryError(f'{size} bytes wanted, {free} free')
