# SPDX-License-Identifier: Apache-2.0
"""The bound on the memory: computed from the settings, never exceeded, and not a token too large.

The streams here are as greedy for room as a stream can be: frames at their largest, replies that
never end by themselves, and a clock with as many digits as the bound reckons with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svlm_core import Stream, StreamSettings, preset
from svlm_core.capacity import capacity, whole_stream
from svlm_core.config import Sampling
from svlm_core.prompt import LONGEST_TIME, Prompt
from svlm_core.transcript import Role

WIDE = 3  # vision tokens of the largest frames
ROUNDS = 50
OPEN = 1  # the line feed that a reply gets with the next round


@st.composite
def bounded(draw, robot: bool) -> StreamSettings:
    return preset(
        'robot' if robot else 'reference',
        policy=draw(st.sampled_from(('streaming', 'streaming', 'recompute', 'window'))),
        rope=draw(st.sampled_from(('contiguous', 'native'))),
        query=draw(st.sampled_from(('', 'what moves'))),
        previous_text=draw(st.sampled_from(('', 'the red ball ' * 30))),
        vision_window=draw(st.integers(0 if robot else 1, 5)),
        text_rounds=draw(st.integers(1, 5)),
        text_sink=draw(st.integers(0, 15)),
        text_window=draw(st.integers(0 if robot else 1, 15)),
        reset_every=draw(st.integers(1, 6)),
        max_new_tokens=draw(st.integers(2, 5)),
        fps=draw(st.sampled_from((2, 4))),
        min_vision_tokens=1,
        max_vision_tokens=WIDE,
        query_tokens=0,
        sampling=Sampling(temperature=2.0, top_k=0, seed=draw(st.integers(0, 99))),
    )


def fullest(stream: Stream) -> int:
    """The most tokens that the stream held between rounds, over all rounds.

    Where it can be asked, it keeps an exchange as often as it can.
    """
    stream._speaker._stops = frozenset()
    if stream._fork:
        stream._fork._speaker._stops = frozenset()
    frames = np.zeros((stream.settings.frames_per_round, 28, 28 * WIDE, 3), np.uint8)
    start, most = LONGEST_TIME - 1 - ROUNDS, 0
    for number in range(ROUNDS):
        most = max(most, stream.step(frames, start + number).held)
        assert stream.encoded <= most <= stream.capacity
        if stream._fork and stream.transcript.find(Role.QUESTION) is None:
            stream.keep(stream.fork().ask('what moves'))
            most = max(most, stream.held)
    return most


@given(bounded(robot=True))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_a_robots_memory_is_never_exceeded_and_filled_to_the_last_token(engine, chosen):
    stream = engine.open(chosen)
    assert fullest(stream) == stream.capacity - OPEN


@given(bounded(robot=True), st.integers(20, 40))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_so_it_is_where_answers_are_kept(engine, chosen, room):
    stream = engine.open(replace(chosen, ask_tokens=room))
    assert fullest(stream) in (stream.capacity - OPEN, stream.capacity)


@given(bounded(robot=False))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_as_published_it_is_never_exceeded_either(engine, chosen):
    stream = engine.open(chosen)
    query = len(engine.tokenizer.encode(chosen.query))  # leaves with the first round
    given_text = len(engine.tokenizer.encode(chosen.previous_text))  # cut only later
    assert fullest(stream) >= stream.capacity - OPEN - 1 - query - given_text


@pytest.mark.parametrize('policy', ['streaming', 'full_attention', 'recompute', 'window'])
def test_a_short_stream_fits_into_the_bound_of_its_length_whatever_the_policy(
    engine, noise, policy
):
    chosen = preset(
        'reference', policy=policy, vision_window=None, text_rounds=1000, text_sink=None,
        text_window=None, reset_every=4, query='what moves', max_vision_tokens=4,
        min_vision_tokens=1,
    )  # fmt: skip
    room = whole_stream(Prompt(engine.tokenizer, chosen), chosen, 10)
    stream = engine.open(preset('reference', **{**vars(chosen), 'capacity': room}))
    for number in range(10):
        stream.step(noise(number, 56, 56), number)
    assert stream.held <= room


def test_what_the_user_gives_is_what_is_allocated(tokenizer):
    chosen = preset('robot', capacity=777)
    assert capacity(Prompt(tokenizer, chosen), chosen) == 777


@pytest.mark.parametrize(
    ('name', 'less'),
    [('vision_window', 4), ('text_rounds', 4), ('text_sink', 8), ('text_window', 8),
     ('max_new_tokens', 5), ('max_vision_tokens', 9)],
)  # fmt: skip
def test_every_limit_counts(tokenizer, name, less):
    def bound(**changes) -> int:
        chosen = preset('robot', **changes)
        return capacity(Prompt(tokenizer, chosen), chosen)

    assert bound(**{name: less}) < bound()
    assert bound(policy='window', reset_every=10) < bound(policy='window', reset_every=11)
    assert bound(ask_tokens=50) == bound() + 50
    assert bound(query_tokens=200) == bound() + 72
    assert bound(time_origin='wrapped') < bound()
    assert bound(vision_window=0) < bound(vision_window=1)
