# SPDX-License-Identifier: Apache-2.0
"""Limits that change while a stream runs: what a round may take, and how its words are drawn."""

from __future__ import annotations

import pytest

from streams import named, noise, said, small, watch
from svlm_core.capacity import Limits
from svlm_core.config import Sampling
from svlm_core.errors import SettingsError
from svlm_core.transcript import Role

GREEDY = Sampling(temperature=0)


def vision_tokens(stream) -> list[int]:
    """Vision tokens of the rounds in memory, from the oldest."""
    return [len(s.ids) - 2 for s in stream.transcript.segments if s.role is Role.VISION]


def test_replies_become_shorter_from_the_next_round_on(engine):
    stream = engine.open(small())
    stream._speaker._stops = frozenset()
    reader = stream.tokens(noise(0), 0)
    next(reader)
    stream.adjust(max_new_tokens=2)
    assert len(list(reader)) == 3
    assert len(stream.step(noise(1), 1).ids) == 2
    stream.adjust(max_new_tokens=4)
    assert len(stream.step(noise(2), 2).ids) == 4


def test_frames_become_smaller_and_the_memory_stays(engine):
    stream = engine.open(small())
    for number, most in enumerate([16, 16, 5, 1, 16]):
        stream.adjust(max_vision_tokens=most)
        stream.step(noise(number, 112, 112), number)
        assert vision_tokens(stream)[-1] <= most
    assert vision_tokens(stream) == [4, 1, 16]


@named
def test_smaller_frames_are_what_a_stream_of_smaller_frames_sees(engine, policy):
    adjusted, born = engine.open(small(**policy)), engine.open(small(**policy))
    adjusted.adjust(max_vision_tokens=4)
    for number in range(8):
        ids = adjusted.step(noise(number, 56, 56), number).ids
        assert ids == born.step(noise(number, 56, 56), number).ids
    assert adjusted.transcript == born.transcript


def test_what_is_in_force_can_be_read_and_the_settings_stay(engine):
    stream = engine.open(small())
    assert stream.limits == Limits(4, 16, stream.settings.sampling)
    opened = stream.settings
    stream.adjust(max_new_tokens=3)
    stream.adjust(max_vision_tokens=9, sampling=GREEDY)
    assert stream.limits == Limits(3, 9, GREEDY)
    assert stream.settings is opened
    watch(stream, range(3))
    stream.reset()
    assert stream.limits == Limits(3, 9, GREEDY)
    stream.adjust()
    assert stream.limits == Limits(3, 9, GREEDY)


@pytest.mark.parametrize(
    ('changes', 'complaint'),
    [
        ({'max_new_tokens': 5}, 'max_new_tokens=5 must lie between 1 and the 4 that'),
        ({'max_new_tokens': 0}, 'max_new_tokens=0 must lie between 1 and the 4 that'),
        ({'max_new_tokens': 10**9}, 'max_new_tokens=1000000000 must lie between 1 and the 4'),
        ({'max_vision_tokens': 17}, 'max_vision_tokens=17 must lie between 2 and the 16 that'),
        ({'max_vision_tokens': 1}, 'max_vision_tokens=1 must lie between 2 and the 16 that'),
        ({'max_new_tokens': 2.5}, 'max_new_tokens=2.5 is no whole number'),
        ({'max_new_tokens': True}, 'max_new_tokens=True is no whole number'),
        ({'sampling': 0.9}, 'sampling=0.9 is no Sampling'),
        ({'max_new_tokens': 2, 'max_vision_tokens': 99}, 'max_vision_tokens=99'),
    ],
    ids=str,
)  # fmt: skip
def test_more_than_was_reserved_is_refused_and_changes_nothing(engine, changes, complaint):
    stream = engine.open(small(min_vision_tokens=2))
    with pytest.raises(SettingsError, match=complaint) as caught:
        stream.adjust(**changes)
    assert '\n' not in str(caught.value)
    assert stream.limits == Limits.of(stream.settings)


def test_other_sampling_goes_on_with_the_same_random_numbers(engine):
    warm = {'temperature': 3.0, 'top_k': 0, 'repetition_penalty': 1.0}
    adjusted, twin = (engine.open(small(sampling=Sampling(seed=5, **warm))) for _ in range(2))
    assert said(watch(adjusted, range(3))) == said(watch(twin, range(3)))
    adjusted.adjust(sampling=Sampling(seed=5, **warm | {'top_p': 0.999999}))
    assert said(watch(adjusted, range(3, 6))) == said(watch(twin, range(3, 6)))
    adjusted.adjust(sampling=Sampling(seed=5, **warm | {'temperature': 0}))
    assert said(watch(adjusted, range(6, 9))) != said(watch(twin, range(6, 9)))


def test_another_seed_starts_them_again(engine):
    streams = [engine.open(small(sampling=Sampling(seed=seed))) for seed in (1, 2)]
    for stream in streams:
        stream.adjust(sampling=Sampling(seed=7))
    first = [said(watch(stream, range(3))) for stream in streams]
    assert first[0] == first[1]
    streams[0].adjust(sampling=Sampling(seed=8))
    streams[0].adjust(sampling=Sampling(seed=7))  # between two rounds: nothing was ever drawn
    assert said(watch(streams[0], range(3, 6))) == said(watch(streams[1], range(3, 6)))
    streams[0].adjust(sampling=Sampling(seed=8))
    assert said(watch(streams[0], range(6, 9))) != said(watch(streams[1], range(6, 9)))


def test_answers_are_drawn_as_the_rounds_are(engine):
    plain = {'repetition_penalty': 1.0, 'top_k': 0}
    stream = engine.open(small(ask_tokens=48, sampling=Sampling(temperature=5, **plain)))
    watch(stream, range(1))
    drawn = list(stream.fork().tokens('what moves'))
    assert any(token.id != int(token.logits.argmax()) for token in drawn)
    stream.adjust(sampling=Sampling(temperature=0, **plain))
    best = list(stream.fork().tokens('what moves'))
    assert all(token.id == int(token.logits.argmax()) for token in best)
