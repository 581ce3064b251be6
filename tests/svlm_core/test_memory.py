# SPDX-License-Identifier: Apache-2.0
"""The memory: after any plan, keys stand where the transcript says that their tokens stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svlm_core import Stream, preset
from svlm_core.rope import lay_out, rotate
from svlm_core.transcript import Role

LIMITS = {
    'vision_window': 2,
    'text_rounds': 4,
    'text_sink': 6,
    'text_window': 9,
    'reset_every': 5,
    'max_new_tokens': 6,
    'max_vision_tokens': 12,
}


def laid_by_hand(stream: Stream, seconds_per_grid: float = 1) -> np.ndarray:
    """Positions (3, n) of everything in memory, from the transcript alone."""
    runs = [run for segment in stream.transcript.segments for run in segment.runs()]
    return lay_out(runs, 0, seconds_per_grid, rate=2)


@pytest.mark.parametrize('policy', ['streaming', 'recompute', 'window'])
def test_contiguous_positions_have_no_gaps_and_keys_are_rotated_by_them(engine, noise, policy):
    stream = engine.open(preset('robot', **LIMITS, policy=policy))
    memory = stream._memory
    for number in range(40):
        stream.step(noise(number, 56, 28 * (1 + number % 3)), number)
        wanted = laid_by_hand(stream)[:, : stream.encoded]
        np.testing.assert_array_equal(stream.positions, wanted)
        tables = memory._rotary.tables(torch.from_numpy(wanted))
        used = slice(stream.encoded)
        for keys, unrotated in zip(memory.cache.keys, memory.cache.unrotated, strict=True):
            assert torch.equal(keys[used], rotate(unrotated[used], *tables))


def test_the_positions_of_a_bounded_stream_are_bounded(engine, noise):
    stream = engine.open(preset('robot', **LIMITS))
    highest = []
    for number in range(120):
        stream.step(noise(number % 5, 56, 84), number)
        highest.append(stream.positions.max())
    assert max(highest[60:]) <= max(highest[:60]) + 12  # the clock gains two digits a round
    assert max(highest) < stream.capacity


def test_native_positions_only_grow_and_are_never_given_twice(engine, noise):
    stream = engine.open(preset('robot', **LIMITS, rope='native'))
    last = -1.0
    for number in range(40):
        stream.step(noise(number, 56, 56), number)
        assert stream.positions[0, 0] == last + 1
        last = float(stream.positions.max())
    assert last > stream.capacity
    assert stream._memory.cache.unrotated is None


def test_only_what_moved_is_rotated_again(engine, noise, monkeypatch):
    stream = engine.open(preset('robot', **LIMITS))
    relayed: list[int] = []
    relay = stream._memory.cache.relay
    monkeypatch.setattr(
        stream._memory.cache,
        'relay',
        lambda first, *tables: relayed.append(first) or relay(first, *tables),
    )
    fixed = None
    for number in range(20):
        stream.step(noise(number), number)
        opening = stream.transcript.find(Role.PREVIOUS_OPEN)
        fixed = fixed or stream.transcript.starts[opening + 1]
        assert relayed.pop() >= fixed  # system and query stay where they are
        assert relayed == []


def test_the_reply_that_moves_takes_its_last_word_along(engine, noise):
    """A cut-off reply's last token has no keys when the round ends; with one round of text it is
    moved at once, and gets them where it was said."""
    limits = {**LIMITS, 'text_rounds': 1, 'text_sink': 50, 'text_window': 50}
    stream = engine.open(preset('robot', **limits))
    stream._speaker._stops = frozenset()
    words: list[int] = []
    for number in range(6):
        stream.step(noise(number), number)
        held = stream.transcript
        place = held.find(Role.PREVIOUS)
        told = held.segments[place].ids if place is not None else ()
        assert list(told) == words
        reply = held.segments[-1]
        words += reply.ids[: stream.prompt.content(reply)]


def test_a_forgotten_round_takes_its_keys_along(engine, noise):
    stream = engine.open(preset('robot', **LIMITS))
    stream.step(noise(0), 0)
    stream.step(noise(1), 1)
    memory, before = stream._memory, len(stream.transcript)
    memory.forget_round(1)
    assert memory.cache.length == len(memory.transcript) < before
    assert all(s.round != 1 for s in memory.transcript.segments)
