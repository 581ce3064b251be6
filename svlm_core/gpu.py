# SPDX-License-Identifier: Apache-2.0
"""What a GPU does otherwise than a CPU: it works behind the back of its caller. All of it is here.

Launching costs the host some microseconds for each of hundreds of kernels, and waiting costs
more. So work that repeats is captured once and launched whole, numbers travel to the host while
the next work runs already, and what does not depend on each other runs side by side. On a CPU
every function here does the same work at once and in order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

WARM_UP = 2  # runs before a capture: kernels are chosen, and their workspaces made

Work = Callable[[], Tensor]


def replays(device: torch.device) -> bool:
    """Whether work on a device is captured: then what it reads of the host is fixed for good."""
    return device.type == 'cuda'


class Replayed:
    """Work that runs again and again over buffers that stay where they are.

    On a GPU it is one graph, captured here. Each call returns a tensor of its own. Where the
    kernels of a machine cannot be captured, a warning says so, and they are launched one by one.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._run = work
        if not replays(device):
            return
        try:
            self._run = capture(work, device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).partition('\n')[0]
            warnings.warn(f'no graph on {device}, words take longer: {reason}', stacklevel=2)

    def __call__(self) -> Tensor:
        return self._run()


@torch.inference_mode()
def capture(work: Work, device: torch.device) -> Work:
    """The same work as one launch. Its numbers and addresses are those of now."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work()
            # Other threads may allocate meanwhile: cameras, and other streams.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'):
                made = work()
        torch.cuda.current_stream().wait_stream(stream)

    def replay() -> Tensor:
        graph.replay()
        return made.clone()  # the next replay overwrites what this one has made

    return replay


def fetch(number: Tensor) -> Callable[[], int]:
    """Send a number (1,) to the host; reading it waits for nothing that is launched later."""
    if number.device.type != 'cuda':
        return lambda: int(number)
    told = number.to('cpu', non_blocking=True)  # pinned
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(number.device))

    def read() -> int:
        arrived.synchronize()
        return int(told)

    return read


def upload(pixels: np.ndarray, device: torch.device) -> Tensor:
    """The same array on the device: one copy, from pinned memory, that nobody waits for."""
    held = torch.from_numpy(np.ascontiguousarray(pixels))
    return held.pin_memory().to(device, non_blocking=True) if device.type == 'cuda' else held


class Aside:
    """A stream of work of its own, beside what else the device does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Work in here begins after what is launched, and runs beside what is launched later."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def join(self, *made: Tensor) -> None:
        """Let what is launched from now on wait for all that runs aside, and use what it made."""
        if self._stream is None:
            return
        main = torch.cuda.current_stream(self._device)
        main.wait_stream(self._stream)
        for tensor in made:
            tensor.record_stream(main)  # its memory is not given away before it has been used
