# SPDX-License-Identifier: Apache-2.0
"""The memory: after any plan, keys stand where the transcript says that their tokens stand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from svlm_core import Stream, preset
from svlm_core.cache import TURNED
from svlm_core.errors import DeviceFull
from svlm_core.rope import lay_out, rotate, rotate_into
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
        # All share what they have more than these: rotation knows distances alone.
        tables = memory._rotary.tables(torch.from_numpy(wanted + memory._laid[0, 0]))
        slots = memory.cache.slots
        for keys, unrotated in zip(memory.cache.keys, memory.cache.unrotated, strict=True):
            assert torch.equal(keys[slots], rotate(unrotated[slots], *tables))


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


def turned_by(stream: Stream, monkeypatch) -> list[int]:
    """How many tokens, of those in front, are rotated anew at each change."""
    turned: list[int] = []
    turn = stream._memory.cache.turn
    monkeypatch.setattr(
        stream._memory.cache,
        'turn',
        lambda cos, sin: turned.append(len(cos)) or turn(cos, sin),
    )
    return turned


def test_only_the_text_before_the_rounds_is_rotated_again(engine, noise, monkeypatch):
    limits = {**LIMITS, 'vision_window': 8, 'text_rounds': 8, 'reset_every': 20}
    stream = engine.open(preset('robot', **limits, text_refresh_interval=None))
    turned, rounds = turned_by(stream, monkeypatch), []
    for number in range(24):
        stream.step(noise(number, 140, 112), number)
        rounds.append(stream.transcript.starts[first_of_rounds(stream)])
    assert turned[:8] == [0] * 8  # nothing has left
    for count, first in list(zip(turned, rounds, strict=True))[9:]:  # text has begun to move
        assert 0 < count <= first


def test_as_published_positions_begin_at_zero_each_time(engine, noise):
    stream = engine.open(preset('reference', **LIMITS))
    for number in range(12):
        stream.step(noise(number), number)
        assert stream._memory._laid[0, 0] == 0


def test_positions_begin_at_zero_again_before_they_leave_the_line(engine, noise, monkeypatch):
    monkeypatch.setattr('svlm_core.memory.LINE', 300)
    stream = engine.open(preset('robot', **LIMITS))
    origins = []
    for number in range(60):
        stream.step(noise(number), number)
        origins.append(stream._memory._laid[0, 0])
    assert max(origins) > 100
    assert sum(a > b == 0 for a, b in pairwise(origins)) > 2
    assert stream._memory._laid.max() < 300


def test_a_turn_that_fails_is_done_again(engine, noise, monkeypatch):
    """The device is full in the midst of rotating, some layers later than others."""
    stream, twin = (engine.open(preset('robot', **LIMITS)) for _ in range(2))
    monkeypatch.setitem(TURNED, 'cpu', 1)  # a layer at a time
    for number in range(8):
        assert stream.step(noise(number), number).ids == twin.step(noise(number), number).ids
    turned = []

    def full(*given):
        turned.append(given)
        if len(turned) == 2:
            raise torch.OutOfMemoryError
        return rotate_into(*given)

    with monkeypatch.context() as patch:
        patch.setattr('svlm_core.cache.rotate_into', full)
        with pytest.raises(DeviceFull):
            stream.step(noise(8), 8)
    assert len(turned) == 2
    for number in range(8, 16):
        assert stream.step(noise(number), number).ids == twin.step(noise(number), number).ids
        memory = stream._memory
        tables = memory._rotary.tables(torch.from_numpy(memory._laid[:, : stream.encoded]))
        slots = memory.cache.slots
        for keys, unrotated in zip(memory.cache.keys, memory.cache.unrotated, strict=True):
            assert torch.equal(keys[slots], rotate(unrotated[slots], *tables))


def first_of_rounds(stream: Stream) -> int:
    segments = stream.transcript.segments
    return next(n for n, segment in enumerate(segments) if segment.round is not None)


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
