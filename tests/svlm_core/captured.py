# SPDX-License-Identifier: Apache-2.0
"""A captured graph on the CPU: operations are written down once, and done again as they were.

Like a CUDA graph it knows the tensors it was captured with and nothing else: numbers of the host,
branches, and tensors that are made anew for each call stay as they were then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from svlm_core import gpu

HOST = {  # operations that wait for the device
    'aten::_local_scalar_dense',
    'aten::item',
    'aten::is_nonzero',
    'aten::nonzero',
    'aten::masked_select',
}


def tensors(made: Any) -> list[Tensor]:
    """The tensors that an operation made."""
    if isinstance(made, Tensor):
        return [made]
    return [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]


def place(tensor: Tensor) -> int:
    """Where the memory begins that a tensor has with all of its views."""
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Writes down what is done meanwhile; a view of memory stays one, and is nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, tuple, dict, list[Tensor]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name().split('.')[0] not in HOST, f'{func} cannot be captured'
        made = func(*args, **(kwargs or {}))
        if not func.is_view or any(place(of) != place(args[0]) for of in tensors(made)):
            self._done.append((func, args, kwargs or {}, tensors(made)))
        return made

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, made in self._done:
            again = tensors(func(*args, **kwargs))
            for old, new in zip(made, again, strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Captures:
    """Takes the place of `gpu.capture`, and counts."""

    def __init__(self) -> None:
        self.count = self.replays = 0

    @torch.inference_mode()
    def __call__(self, work: gpu.Work, device: torch.device) -> gpu.Work:
        self.count += 1
        for _ in range(gpu.WARM_UP):
            work()
        tape = Tape()
        with tape:
            made = work()

        def replay() -> Tensor:
            self.replays += 1
            tape.replay()
            return made.clone()

        return replay
