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
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

WARM_UP = 2  # runs before a capture: kernels are chosen, and their workspaces made
RUNS = 5  # of which the fastest counts

Work = Callable[[], Tensor]


def replays(device: torch.device) -> bool:
    """Whether work on a device is captured: then what it reads of the host is fixed for good."""
    return device.type == 'cuda'


class Replayed:
    """Work that runs again and again over buffers that stay where they are.

    On a GPU it is one graph, captured here. Each call returns a tensor of its own. Where the
    kernels of a machine cannot be captured, a warning says so, and they are launched one by one:
    then it is not `captured`.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._run, self.captured = work, replays(device)
        if not self.captured:
            return
        try:
            self._run = capture(work, device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.captured = False
            reason = str(error).partition('\n')[0]
            warnings.warn(f'no graph on {device}, words take longer: {reason}', stacklevel=2)

    def __call__(self) -> Tensor:
        return self._run()


@torch.inference_mode()
def capture(work: Work, device: torch.device) -> Work:
    """The same work as one launch. Its numbers and addresses are those of now.

    A graph goes on using the scratch memory that products have on the stream it was captured on.
    So what runs side by side is captured on different ones: inside of an Aside on that, else on
    the one that all graphs of a device share whose replays follow each other.
    """
    with torch.cuda.device(device):
        for _ in range(WARM_UP):
            work()
        here = torch.cuda.current_stream()
        # The default stream cannot be captured.
        stream = _in_turn(device) if here == torch.cuda.default_stream() else here
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream), _recorded(graph):
            made = work()

    def replay() -> Tensor:
        graph.replay()
        return made.clone()  # the next replay overwrites what this one has made

    return replay


@cache
def _in_turn(device: torch.device) -> torch.cuda.Stream:
    """The stream of graphs that follow each other.

    Of those with high priority, which torch hands out apart from the others: it is never that of
    an Aside. Kernels keep their priority in a graph, so a word goes before frames.
    """
    return torch.cuda.Stream(device, priority=-1)


@contextmanager
def _recorded(graph: torch.cuda.CUDAGraph) -> Iterator[None]:
    """What is launched here goes into the graph. A failure leaves no trace in torch's allocator.

    Left as it is, that would take the capture for one that goes on, and free nothing any more
    that two streams have used.
    """
    device, pool = torch.cuda.current_device(), torch.cuda.graph_pool_handle()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # the graph has memory of its own
    try:
        # Other threads may allocate meanwhile: cameras, and other streams.
        graph.capture_begin(pool, capture_error_mode='thread_local')
        yield
        graph.capture_end()
    except BaseException:
        with suppress(RuntimeError):
            graph.capture_end()  # what broke it says more than that it is broken
        with suppress(RuntimeError, AttributeError):  # ended already; not to be had in older torch
            torch._C._cuda_endAllocateToPool(device, pool)
            torch._C._cuda_releasePool(device, pool)
        raise


def seconds(work: Work, device: torch.device) -> float:
    """How long a GPU takes for work that is captured, at best."""
    run = capture(work, device)
    with torch.cuda.device(device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(RUNS + 1)]
        for mark in marks:
            mark.record()
            run()
        torch.cuda.synchronize()
    return min(one.elapsed_time(then) for one, then in pairwise(marks)) / 1000


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


def upload(numbers: np.ndarray, device: torch.device) -> Tensor:
    """The same array on the device: one copy, from pinned memory, that nobody waits for."""
    held = torch.from_numpy(np.ascontiguousarray(numbers))
    return (held.pin_memory() if device.type == 'cuda' else held).to(device, non_blocking=True)


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
