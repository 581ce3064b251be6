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


class Tape(TorchDispatchMode):
    """Writes down what is done meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name().split('.')[0] not in HOST, f'{func} cannot be captured'
        made = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, made))
        return made

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, made in self._done:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
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
