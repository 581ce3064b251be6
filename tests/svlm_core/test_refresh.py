# SPDX-License-Identifier: Apache-2.0
"""Text refresh: previous text is encoded anew where it stands, and nothing else is touched.

That it is encoded exactly so, the oracle holds (test_oracle.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svlm_core import preset
from svlm_core.config import PRESETS
from svlm_core.errors import SettingsError
from svlm_core.transcript import Role

SMALL = {'vision_window': 4, 'text_rounds': 4, 'text_sink': 20, 'text_window': 20}


@pytest.fixture
def watch(engine, noise):
    """A stream after so many rounds of the same noise."""

    def watched(rounds: int, **changes):
        settings = preset('robot', **SMALL, **changes, max_vision_tokens=4, max_new_tokens=8)
        stream = engine.open(settings)
        for number in range(rounds):
            stream.step(noise(number, 56, 56), float(number))
        return stream

    return watched


def keys(stream, role: Role) -> torch.Tensor:
    """The unrotated keys (L, n, H, D) of the segments with a role."""
    held, cache = stream.transcript, stream._memory.cache
    tokens = [
        token
        for start, segment in zip(held.starts, held.segments, strict=False)
        for token in range(start, start + len(segment.ids))
        if segment.role is role and token < stream.encoded
    ]
    return cache.unrotated[:, cache.slots[tokens]].clone()


def test_the_robot_refreshes_and_the_published_system_does_not():
    assert PRESETS['robot'].refresh_rounds == 8
    assert PRESETS['reference'].text_refresh_interval is None
    assert PRESETS['reference'].refresh_rounds is None


def test_a_refresh_changes_the_keys_of_previous_text_alone(watch):
    plain, fresh = watch(9, text_refresh_interval=None), watch(9, text_refresh_interval=8)
    assert plain.transcript == fresh.transcript  # greedy or not, the keys had no time to matter
    for role in (Role.SYSTEM, Role.PINNED, Role.PREVIOUS_OPEN):
        assert torch.equal(keys(plain, role), keys(fresh, role))
    before, after = keys(plain, Role.PREVIOUS), keys(fresh, Role.PREVIOUS)
    assert torch.allclose(before[0], after[0], atol=1e-5)  # the first layer knows no context
    assert not torch.allclose(before[1:], after[1:], atol=1e-3)


def test_between_two_refreshes_everything_is_reused(watch, noise):
    stream = watch(9, text_refresh_interval=8)
    before = stream.held
    stream.step(noise(9, 56, 56), 9.0)
    assert stream.reused > before // 2
    reused = stream.reused
    for number in range(10, 17):
        stream.step(noise(number, 56, 56), float(number))
    previous = next(s for s in stream.transcript.segments if s.role is Role.PREVIOUS)
    assert stream.reused < reused + 20
    assert len(previous.ids) > 0


def test_without_previous_text_there_is_nothing_to_refresh(watch):
    plain, fresh = watch(4, text_refresh_interval=None), watch(4, text_refresh_interval=1)
    assert plain.transcript == fresh.transcript
    assert torch.equal(plain._memory.cache.keys, fresh._memory.cache.keys)


def test_a_refresh_allocates_nothing(watch, noise):
    stream = watch(9, text_refresh_interval=1)
    places = [plane.data_ptr() for plane in stream.planes]
    for number in range(9, 14):
        stream.step(noise(number, 56, 56), float(number))
    assert [plane.data_ptr() for plane in stream.planes] == places


@pytest.mark.parametrize('policy', ['recompute', 'window', 'full_attention'])
def test_other_policies_have_no_use_for_it(policy):
    assert preset('robot', policy=policy, text_refresh_interval=4).refresh_rounds is None


def test_the_interval_is_counted_in_whole_rounds_and_never_in_none():
    assert preset('robot', text_refresh_interval=4, chunk_seconds=2).refresh_rounds == 2
    assert preset('robot', text_refresh_interval=0.5).refresh_rounds == 1
    with pytest.raises(SettingsError, match='text_refresh_interval=0 is out of range'):
        preset('robot', text_refresh_interval=0)


def test_a_forced_reply_is_scored_as_if_it_had_been_said(engine, noise):
    settings = preset('robot', **SMALL, max_vision_tokens=4, sampling={'temperature': 0})
    stream, words = engine.open(settings), 'the red ball moves left .'
    scores = [stream.force(noise(n, 56, 56), float(n), words) for n in range(9)]
    anew = engine.open(preset('robot', **SMALL, max_vision_tokens=4, policy='full_attention',
                              capacity=4000))  # fmt: skip
    others = [anew.force(noise(n, 56, 56), float(n), words) for n in range(4)]
    for one, other in zip(scores, others, strict=False):  # nothing has left yet
        np.testing.assert_allclose(one, other, atol=2e-4)
    ids = stream.prompt.tokenizer.reply(words)
    assert stream.last.ids == ids
    assert scores[-1].shape[0] == len(ids)
    assert stream.transcript.segments[-1].ids[: len(ids)] == ids


def test_what_a_model_would_say_anyway_gets_the_best_score_when_it_is_forced(noise):
    from svlm_core import StreamingVLM
    from svlm_core.card import suited

    engine = StreamingVLM.from_pretrained(device='cpu')
    free, forced = (engine.open(suited('robot', None)) for _ in range(2))
    same = 0
    for number in range(12):
        frames = noise(number, 112, 112)
        said = free.step(frames, float(number))
        if said.stopped == 'limit':
            break
        scores = forced.force(frames, float(number), said.text)
        if said.ids != engine.tokenizer.reply(said.text):
            break
        assert scores.argmax(-1).tolist() == list(said.ids)
        same += 1
    assert same or not engine.info.trained


def test_a_reply_that_is_too_long_to_be_forced_is_refused(engine, noise):
    stream = engine.open(preset('robot', max_vision_tokens=4, max_new_tokens=3))
    with pytest.raises(SettingsError, match='more max_new_tokens'):
        stream.force(noise(0, 56, 56), 0.0, 'the red ball moves left')
    assert stream.held == 0
