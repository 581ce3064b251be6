# SPDX-License-Identifier: Apache-2.0
"""Streams that run for hours, and in half precision."""

from __future__ import annotations

import gc
import resource

import pytest
import torch

from streams import POLICIES, each, named, noise, small
from svlm_core import StreamingVLM


@each(POLICIES[:4])
def test_the_memory_never_moves_and_never_overflows(engine, policy):
    stream = engine.open(small(**policy, max_new_tokens=2))
    planes, size = [plane.data_ptr() for plane in stream.planes], stream.memory_bytes
    for number in range(200):  # twice through all sizes and pictures
        stream.step(noise(number % 7, 28 * (1 + number % 4), 28 * (1 + number % 3)), number)
        assert stream.encoded <= stream.held <= stream.capacity
        assert len(stream.transcript.segments) <= 5 + 6 * 3
        assert len(stream._views) <= (3 if stream.settings.policy == 'recompute' else 0)
    assert [plane.data_ptr() for plane in stream.planes] == planes
    assert stream.memory_bytes == size


def resident() -> int:
    """Bytes of the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_long_stream_leaves_no_trace_on_the_host(engine):
    stream = engine.open(small(max_new_tokens=2))
    frames = [noise(number) for number in range(8)]

    def minutes(first: int, last: int) -> tuple[int, int]:
        for number in range(60 * first, 60 * last):
            stream.step(frames[number % 8], number)
        gc.collect()
        return len(gc.get_objects()), resident()

    minutes(0, 5)
    objects, bytes_before = minutes(5, 10)
    later, bytes_after = minutes(10, 30)
    assert later - objects < 50
    assert bytes_after - bytes_before < 3 * 2**20


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@named
def test_half_precision_runs_too(golden, dtype, policy):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', device='cpu', dtype=dtype)
    stream, full = engine.open(small(**policy)), []
    for number in range(8):
        full += list(stream.tokens(noise(number), number))
    assert all(token.logits.isfinite().all() for token in full)
    assert {plane.dtype for plane in stream.planes} == {getattr(torch, dtype)}


def test_half_precision_sees_nearly_what_full_precision_sees(golden, engine):
    half = StreamingVLM.from_pretrained(golden / 'checkpoint', device='cpu', dtype='bfloat16')
    logits = [next(e.open(small()).tokens(noise(0), 0)).logits for e in (engine, half)]
    spread = float(logits[0].std())
    torch.testing.assert_close(logits[0], logits[1], atol=0.3 * spread, rtol=0)
