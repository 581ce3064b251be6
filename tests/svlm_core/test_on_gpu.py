# SPDX-License-Identifier: Apache-2.0
"""On a GPU: the golden traces hold, steps are captured, and nothing grows. Else skipped."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from streams import noise, said, small, watch
from svlm_core import StreamingVLM, gpu
from svlm_core.benchmark.machine import allocations, memory_used, settle
from svlm_core.config import Sampling
from svlm_core.model.attention import BACKENDS
from svlm_core.model.backends import verdict
from svlm_core.parity import Case, compare
from svlm_core.stream import Stream

GPU = torch.device('cuda')
CASES = sorted(p.parent.name for p in (Path(__file__).parents[1] / 'parity').glob('*/case.json'))
GREEDY = Sampling(temperature=0)
HALF = torch.bfloat16

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU here')


@pytest.fixture(autouse=True)
def complete() -> Iterator[None]:
    """Work that could not be captured fails a test: here it is to be."""
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='no graph')
        yield


@pytest.fixture
def taken(monkeypatch) -> list[torch.device]:
    """The devices on which something was captured, in order."""
    devices, capture = [], gpu.capture
    monkeypatch.setattr(
        gpu, 'capture', lambda work, device: devices.append(device) or capture(work, device)
    )
    return devices


def of(golden: Path, dtype: torch.dtype, backend: str) -> StreamingVLM:
    """The tiny golden checkpoint on the GPU; skips where a back end does not run."""
    if problem := verdict(backend, GPU, dtype):
        pytest.skip(f'{backend}: {problem}')
    kind = str(dtype).removeprefix('torch.')
    return StreamingVLM.from_pretrained(golden / 'checkpoint', str(GPU), kind, backend)


def launched(m: pytest.MonkeyPatch) -> None:
    """Let no work be captured from now on."""
    m.setattr(gpu, 'replays', lambda device: False)


@pytest.mark.parametrize('backend', ['sdpa', 'matmul'])
@pytest.mark.parametrize('name', CASES)
def test_the_published_system_is_reproduced_with_graphs(golden, taken, name, backend):
    assert compare(Case(golden / name), of(golden, torch.float32, backend)).exact
    assert len(taken) >= 2  # the step and the tower


def test_the_published_system_is_reproduced_without_them(golden, taken, monkeypatch):
    launched(monkeypatch)
    assert compare(
        Case(golden / 'streaming-small-budget'), of(golden, torch.float32, 'sdpa')
    ).exact
    assert not taken


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_step_in_16_bits_is_captured_once_and_says_the_same(golden, taken, backend):
    engine = of(golden, HALF, backend)
    stream = engine.open(small(sampling=GREEDY))
    assert len(taken) == 1
    captured = said(watch(stream, range(8)))
    assert len(taken) == 2  # with the tower, at the first round
    with pytest.MonkeyPatch.context() as m:
        launched(m)
        assert said(watch(engine.open(small(sampling=GREEDY)), range(8))) == captured


def test_the_same_seed_gives_the_same_words(golden):
    engine = of(golden, HALF, 'sdpa')
    first, second = (said(watch(engine.open(small()), range(8))) for _ in range(2))
    assert first == second


def test_frames_that_were_encoded_ahead_say_the_same(golden):
    engine, films = of(golden, torch.float32, 'sdpa'), [noise(number) for number in range(8)]

    def told(coming: list[np.ndarray | None]) -> list[tuple[int, ...]]:
        stream = engine.open(small(sampling=GREEDY))
        return said([stream.step(*shown) for shown in zip(films, range(8), coming, strict=True)])

    assert told([*films[1:], None]) == told([None] * 8)


@pytest.mark.parametrize('policy', ['streaming', 'recompute'])
def test_nothing_is_allocated_captured_or_kept_once_the_window_is_full(golden, taken, policy):
    stream = of(golden, HALF, 'sdpa').open(small(policy=policy), endless=True)

    def held(stream: Stream, first: int, last: int) -> tuple[int, int | None, int]:
        for number in range(first, last):
            stream.step(noise(number % 8), 1000 + number)  # all times are of four digits
        settle(GPU)
        gc.collect()
        return memory_used(GPU), allocations(GPU), len(taken)

    assert held(stream, 0, 40) == held(stream, 40, 240)
