# SPDX-License-Identifier: Apache-2.0
"""Capturing into a graph, on a stand-in for what torch and its allocator do with captures."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch

from svlm_core import gpu
from svlm_core.errors import MemoryFull
from svlm_core.gpu import Replayed, capture

GPU = torch.device('cuda', 0)


class Stream:
    """One of 32 that torch hands out in turn, from a pool for each priority."""

    given: ClassVar[Counter[int]] = Counter()

    def __init__(self, device: torch.device, priority: int = 0) -> None:
        self.name = priority, self.given[priority] % 32
        self.given[priority] += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def wait_stream(self, other: Stream) -> None:
        pass


class Allocator:
    """Which captures torch's allocator takes for underway, and how many graphs hold a pool."""

    def __init__(self) -> None:
        self.underway: list[int] = []
        self.held: Counter[int] = Counter()
        self.pools = 0

    def handle(self) -> int:
        self.pools += 1
        return self.pools

    def begin(self, pool: int) -> None:
        self.underway.append(pool)
        self.held[pool] += 1

    def end(self, device: int, pool: int) -> None:
        if pool not in self.underway:
            raise RuntimeError('endAllocatePool: not currently recording to mempool_id')
        self.underway.remove(pool)

    def release(self, device: int, pool: int) -> None:
        self.held[pool] -= 1
        assert self.held[pool] >= 0

    @property
    def clean(self) -> bool:
        return not self.underway and not +self.held


class Machine:
    """A GPU as far as capturing goes. `broken` is a step of a capture that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocator, self.broken = Allocator(), ''
        self.invalid = False  # whether what is launched cannot be captured
        self.streams: list[Stream] = []  # each capture's
        self.default = self.current = Stream(GPU, 7)
        self.clock, self.last = 0, iter([])  # ms, and those that replays last
        machine, allocator = self, self.allocator

        class Graph:
            """As aten/src/ATen/cuda/CUDAGraph.cpp does it, in this order."""

            def capture_begin(self, pool: int, *, capture_error_mode: str) -> None:
                assert capture_error_mode == 'thread_local'
                assert machine.current != machine.default
                self.pool, self.ended, self.capturing = pool, False, False
                machine.streams.append(machine.current)
                allocator.begin(pool)
                machine.fail('begin')
                self.capturing = True

            def capture_end(self) -> None:
                if not self.capturing:
                    raise RuntimeError('the stream is not capturing')
                self.capturing = False
                if machine.invalid:
                    raise RuntimeError('operation failed due to a previous error during capture')
                allocator.end(0, self.pool)
                self.ended = True
                machine.fail('instantiate')

            def replay(self) -> None:
                machine.clock += next(machine.last, 1)

            def __del__(self) -> None:
                if self.ended:
                    allocator.release(0, self.pool)

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = machine.clock

            def elapsed_time(self, later: Event) -> float:
                return later.at - self.at

        @contextmanager
        def on(stream: Stream):
            before, machine.current = machine.current, stream
            try:
                yield
            finally:
                machine.current = before

        there = {
            'device': lambda device: on(machine.current),
            'current_device': lambda: 0,
            'current_stream': lambda device=None: machine.current,
            'default_stream': lambda: machine.default,
            'stream': on,
            'Stream': Stream,
            'CUDAGraph': Graph,
            'Event': Event,
            'graph_pool_handle': allocator.handle,
            'synchronize': lambda: None,
            'empty_cache': lambda: None,
        }
        for name, does in there.items():
            monkeypatch.setattr(torch.cuda, name, does)
        c = {'_cuda_endAllocateToPool': allocator.end, '_cuda_releasePool': allocator.release}
        for name, does in c.items():
            monkeypatch.setattr(torch._C, name, does, raising=False)

    def fail(self, step: str) -> None:
        if step == self.broken:
            raise RuntimeError(f'{step} failed')


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    gpu._in_turn.cache_clear()
    yield Machine(monkeypatch)
    gpu._in_turn.cache_clear()


def work() -> torch.Tensor:
    return torch.ones(1)


def test_a_graph_has_a_pool_of_its_own_and_gives_it_back(machine):
    run, other = capture(work, GPU), capture(work, GPU)
    assert torch.equal(run(), torch.ones(1))
    assert machine.allocator.underway == []
    assert +machine.allocator.held == {1: 1, 2: 1}
    del run, other
    assert machine.allocator.clean


@pytest.mark.parametrize('broken', ['begin', 'instantiate', 'work', 'invalid work', 'end'])
def test_a_capture_that_fails_leaves_no_trace_and_says_what_broke_it(machine, broken):
    calls = 0

    def failing() -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > gpu.WARM_UP and 'work' in broken:
            machine.invalid = broken == 'invalid work'
            raise RuntimeError('this work failed')
        return torch.ones(1)

    machine.broken, machine.invalid = broken, broken == 'end'
    says = 'previous error' if broken == 'end' else f'{broken.split()[-1]} failed'
    with pytest.warns(UserWarning, match=says):
        run = Replayed(failing, GPU)
    assert not run.captured
    assert machine.allocator.clean
    assert machine.current is machine.default
    machine.broken, machine.invalid = '', False
    assert Replayed(work, GPU).captured


def test_no_room_is_not_taken_for_what_cannot_be_captured(machine):
    calls = iter(range(gpu.WARM_UP))

    def hungry() -> torch.Tensor:
        if next(calls, None) is None:
            machine.invalid = True  # so that ending the capture fails as well
            raise torch.OutOfMemoryError('CUDA out of memory')
        return torch.ones(1)

    with pytest.raises(torch.OutOfMemoryError):
        Replayed(hungry, GPU)
    assert machine.allocator.clean


def test_graphs_that_follow_each_other_share_a_stream_that_is_never_one_aside(machine):
    for _ in range(70):
        capture(work, GPU)
        with gpu.Aside(GPU)():
            capture(work, GPU)
    steps, towers = set(machine.streams[::2]), set(machine.streams[1::2])
    assert len(steps) == 1
    assert not steps & towers


def test_work_takes_as_long_as_the_fastest_of_its_replays(machine):
    machine.last = iter([9, 3, 5, 4, 6])
    assert gpu.seconds(work, GPU) == 0.003
    assert machine.allocator.clean


def test_a_stream_for_which_there_is_no_room_says_so_in_one_line(engine, captures, monkeypatch):
    def full(work, device):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nMore of it')

    monkeypatch.setattr(gpu, 'capture', full)
    with pytest.raises(MemoryFull, match=r'cpu has room .* but not for the graph') as told:
        engine.open()
    assert '\n' not in str(told.value)
