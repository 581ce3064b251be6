# SPDX-License-Identifier: Apache-2.0
"""The preallocated memory of one stream: planes of keys and values. It knows no policy.

Three planes (layer, slot, key head, head size): keys before rotation, keys rotated, values. Keys
are rotated from their unrotated copy, never twice over: an already rotated bf16 key that is turned
again and again drifts without bound. With native positions a key keeps the rotation it came with,
and the unrotated plane is absent. In memory the keys of one head lie one after the other, so that
attention reads them in one go.

Attention does not ask in which order keys lie. So what stays keeps its slot, and tokens from the
end fill the slots of what has left: a round moves about as much as it forgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.errors import MemoryFull
from svlm_core.free import free_bytes
from svlm_core.model.config import TextConfig
from svlm_core.rope import rotate_into

# Tokens, of so many layers in all, that are rotated at once: what is written again while a CPU
# still has it in its cache, and what is worth the launching on a GPU.
TURNED = {'cpu': 1024, 'cuda': 16384}
SWAPPED = 256  # tokens that change places at once


class Cache:
    """Keys and values of a list of `length` tokens, in the first of `capacity` slots.

    What is appended stands in order behind all else. A lower `length` forgets the newest tokens,
    down to what the last change of order has left. Raises MemoryFull when the device has no room.
    """

    def __init__(
        self,
        config: TextConfig,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        keep_unrotated: bool,
    ) -> None:
        shape = (config.layers, config.kv_heads, capacity, config.head_dim)
        size = (2 + keep_unrotated) * prod(shape) * dtype.itemsize

        def plane() -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device).transpose(1, 2)

        try:
            check_room(size, device)
            self.keys = plane()  # rotated (L, S, H, D)
            self.values = plane()  # (L, S, H, D)
            self.unrotated = plane() if keep_unrotated else None  # (L, S, H, D)
            heads = torch.arange(config.layers * config.kv_heads, device=device)
            self._first = (capacity * heads).view(config.layers, -1, 1)  # row of a head (L, H, 1)
        except (RuntimeError, MemoryError) as error:  # a GPU and a host say it differently
            raise MemoryFull(
                f'{device} has no room for a memory of {capacity} tokens '
                f'({size / 2**30:.1f} GiB): give lower limits or a smaller capacity'
            ) from error
        self.capacity = capacity
        self.length = 0
        self._slots = np.arange(capacity)  # of each token, and of those to come

    @property
    def slots(self) -> np.ndarray:
        """Where the tokens stand: slots (length,), in the order of the tokens."""
        return self._slots[: self.length]

    @property
    def planes(self) -> list[Tensor]:
        """All buffers, for accounting: they are allocated once and stay where they are."""
        planes = [self.keys, self.values]
        return planes if self.unrotated is None else [*planes, self.unrotated]

    @property
    def bytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self.planes)

    def clear(self) -> None:
        """Forget all tokens."""
        self._stand(np.arange(0))

    def keep(self, tokens: np.ndarray, front: int) -> None:
        """Forget all but these `tokens` (n,), have them in this order, the `front` in front.

        The first `front` of them then stand in the first slots, in any order. Should the device
        have no room for that, all is as it was.
        """
        slots = self._slots[tokens]
        first, rest = _placed(slots[:front], 0), _placed(slots[front:], front)
        placed = np.concatenate([first, rest])
        moved = np.flatnonzero(placed != slots)
        self._move(slots[moved], placed[moved])
        self._stand(placed)

    def settle(self, count: int) -> None:
        """Let the first `count` tokens stand in order in the first slots."""
        away = np.flatnonzero(self._slots[:count] != np.arange(count))
        for low in range(0, len(away), SWAPPED):
            tokens = away[low : low + SWAPPED]  # each goes to the slot of its number
            slots = self._slots[tokens]
            left, taken = np.setdiff1d(slots, tokens), np.setdiff1d(tokens, slots)
            self._exchange(np.concatenate([slots, taken]), np.concatenate([tokens, left]))

    def insert(self, at: int, count: int) -> None:
        """Make room for `count` tokens from slot `at` on, before which all stand in order."""
        self.settle(at)
        moved = np.arange(at, min(at + count, self.length))
        free = np.arange(max(at + count, self.length), self.length + count)
        self._exchange(moved, free)
        self._stand(np.insert(self.slots, at, np.arange(at, at + count)))

    def turn(self, cos: Tensor, sin: Tensor) -> None:
        """Rotate anew the keys in the first n slots, by tables (n, D) in the order of slots."""
        if self.unrotated is None or not len(cos):
            return
        layers = max(1, TURNED[cos.device.type] // len(cos))
        front = (plane[:, : len(cos)].split(layers) for plane in (self.unrotated, self.keys))
        for unrotated, keys in zip(*front, strict=True):  # (layers, n, H, D)
            rotate_into(keys, unrotated, cos, sin)

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

    def fill(self, filled: Mapping[str, Tensor], slots: np.ndarray) -> None:
        """Hold what another cache of the same model and kind had `filled`, in those `slots`."""
        self._stand(slots)
        for name, plane in self.filled.items():
            plane.copy_(filled[name])

    def _exchange(self, sources: np.ndarray, targets: np.ndarray) -> None:
        """Let the tokens that stand in some slots stand in others."""
        owners = np.argsort(self.slots)[sources]
        self._move(sources, targets)
        self._slots[owners] = targets

    def _move(self, sources: np.ndarray, targets: np.ndarray) -> None:
        """Copy what stands in some slots to others."""
        if not len(sources):
            return
        origin, target = (
            (self._first + self._index(slots)).flatten() for slots in (sources, targets)
        )  # (L * H * n,)
        # All is picked up before anything is put down: a want of room changes nothing.
        moved = [_rows(plane).index_select(0, origin) for plane in self.planes]
        for plane, new in zip(self.planes, moved, strict=True):
            _rows(plane).index_copy_(0, target, new)

    def _stand(self, slots: np.ndarray) -> None:
        """Let tokens stand in `slots` (n,), which are all of the first n."""
        count = len(slots)
        self._slots = np.concatenate([slots, np.arange(count, self.capacity)])
        self.length = count

    def _index(self, slots: np.ndarray) -> Tensor:
        return gpu.upload(slots, self.keys.device)


def _rows(plane: Tensor) -> Tensor:
    """All that a plane holds, as it lies: rows (L * H * S, D)."""
    return plane.transpose(1, 2).flatten(0, 2)


def _placed(slots: np.ndarray, low: int) -> np.ndarray:
    """Slots for tokens that stand in `slots` (n,): all those from `low` to `low` + n.

    Who stands in one of them stays.
    """
    placed, away = slots.copy(), (slots < low) | (slots >= low + len(slots))
    free = np.ones(len(slots), dtype=bool)
    free[slots[~away] - low] = False
    placed[away] = low + np.flatnonzero(free)
    return placed


def check_room(size: int, device: torch.device) -> None:
    """Raise MemoryError when the device says that it has fewer free bytes than `size`.

    Linux promises memory that it does not have, and kills who uses it.
    """
    free = free_bytes(device)
    if free is not None and size > free:
        raise MemoryError(f'{size} bytes wanted, {free} free')
