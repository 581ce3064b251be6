# SPDX-License-Identifier: Apache-2.0
"""Asking about what was seen, and changing the instruction, while a stream runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svlm_core.config import Sampling, preset
from svlm_core.errors import DeviceFull, MemoryFull, SettingsError
from svlm_core.rope import Rotary, rotate
from svlm_core.transcript import Role

GREEDY = Sampling(temperature=0)
QUESTION = 'what does the robot see now'


@pytest.fixture
def watch(engine):
    """Opens a stream with room for questions and lets it see some rounds of noise."""

    def opened(rounds: int = 0, name: str = 'robot', **changes):
        changes = {
            'sampling': GREEDY,
            'ask_tokens': 48,
            'max_new_tokens': 6,
            'max_vision_tokens': 12,
        } | changes
        stream = engine.open(preset(name, **changes))
        for second in range(rounds):
            stream.step(picture(second), second)
        return stream

    return opened


def picture(second: int) -> np.ndarray:
    generator = np.random.default_rng(second)
    return generator.integers(0, 256, (2, 56, 84, 3), dtype=np.uint8)


def unrotated(stream) -> torch.Tensor:
    """The keys of all tokens in their order."""
    cache = stream._memory.cache
    return cache.unrotated[:, cache.slots]


SMALL = {'vision_window': 3, 'text_rounds': 2, 'text_sink': 8, 'text_window': 8}


@pytest.mark.parametrize(
    'changes',
    [
        SMALL,
        SMALL | {'rope': 'native'},
        SMALL | {'policy': 'recompute'},
        SMALL | {'text_rounds': 1},
        SMALL | {'name': 'reference'},
    ],
    ids=str,
)
def test_a_stream_that_is_asked_goes_on_as_if_it_were_not(watch, changes):
    asked, alone = watch(12, **changes), watch(12, **changes)
    for second in range(12, 20):
        asked.fork().ask(QUESTION)
        assert asked.step(picture(second), second).ids == alone.step(picture(second), second).ids
    assert asked.transcript == alone.transcript
    assert torch.equal(asked._memory.cache.keys, alone._memory.cache.keys)


def test_an_answer_rests_on_all_that_is_in_memory(watch):
    # While nothing has left, kept keys and keys computed anew are the same thing.
    kept, anew = watch(5), watch(5, policy='recompute')
    ours, theirs = (list(stream.fork().tokens(QUESTION)) for stream in (kept, anew))
    assert [t.id for t in ours] == [t.id for t in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.logits, b.logits, atol=1e-4)
    blind = list(watch(5, vision_window=0).fork().tokens(QUESTION))
    assert not torch.allclose(ours[0].logits, blind[0].logits, atol=1e-2)


@pytest.mark.parametrize('rope', ['contiguous', 'native'])
def test_every_question_is_asked_of_the_same_moment(watch, rope):
    fork = watch(6, rope=rope).fork()
    first = list(fork.tokens(QUESTION))
    fork.ask('which way does the red ball go')
    for a, b in zip(first, fork.tokens(QUESTION), strict=True):
        assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert fork.last.question == QUESTION
    assert fork.last.ids == tuple(t.id for t in first)


def test_the_same_question_of_the_same_moment_has_the_same_answer(watch):
    warm = Sampling(temperature=2.0, seed=3)
    stream, twin = watch(5, sampling=warm), watch(5, sampling=warm)
    fork = stream.fork()
    answers = [fork.ask(QUESTION), fork.ask('and what is left'), fork.ask(QUESTION)]
    assert answers[0].ids == answers[2].ids == stream.fork().ask(QUESTION).ids
    assert answers[0].ids == twin.fork().ask(QUESTION).ids  # whatever else was asked


def test_an_answer_tells_what_it_rests_on(watch):
    stream = watch(0, **SMALL | {'text_sink': 100, 'text_window': 100})
    for number, start in enumerate([4.0, 5.0, 7.5, 8.5, 9.5]):
        stream.step(picture(number), start)
    answer = stream.fork().ask(QUESTION)
    assert answer.seen == (7.5, 10.5)  # three rounds of frames, the newest included
    replies = [s for s in stream.transcript.segments if s.role is Role.REPLY]
    told = sum(len(s.ids) for s in stream.transcript.segments if s.role is Role.PREVIOUS)
    assert told > 0
    assert len(replies) == 2
    assert answer.text_tokens == told + sum(map(stream.prompt.content, replies))
    stream.keep(answer)
    again = stream.fork().ask(QUESTION)
    kept = stream.prompt.content(stream.transcript.segments[-1])
    assert (again.seen, again.text_tokens) == (answer.seen, answer.text_tokens + kept)


def test_without_frames_it_rests_on_text_alone(watch):
    answer = watch(3, vision_window=0).fork().ask(QUESTION)
    assert answer.seen is None
    assert answer.text_tokens > 0


def test_a_stream_can_be_asked_before_it_has_seen_anything_and_after_a_reset(watch):
    stream = watch(3)
    before = stream.fork().ask(QUESTION)
    stream.reset()
    with pytest.raises(SettingsError, match='has not begun'):
        stream.fork()
    for second in range(3):
        stream.step(picture(second), second)
    assert stream.fork().ask(QUESTION).ids == before.ids


def test_the_planes_for_questions_are_reserved_once(watch):
    stream, plain = watch(), watch(ask_tokens=0)
    assert stream.memory_bytes > 2 * plain.memory_bytes
    addresses = [plane.data_ptr() for plane in stream._fork._memory.cache.planes]
    for second in range(30):
        stream.step(picture(second), second)
        stream.fork().ask(QUESTION)
    assert [p.data_ptr() for p in stream._fork._memory.cache.planes] == addresses
    with pytest.raises(SettingsError, match='ask_tokens'):
        plain.fork()


def test_a_question_without_room_for_an_answer_is_refused_and_the_next_is_heard(watch):
    fork = watch(2).fork()
    with pytest.raises(MemoryFull, match='share 48 tokens'):
        fork.ask('what ' * 60)
    assert fork.ask(QUESTION).ids


def test_a_device_without_room_for_a_question_says_so_and_the_next_is_heard(watch, monkeypatch):
    asked, twin = watch(4).fork(), watch(4).fork()

    def full(*given):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(asked._memory, 'encode', full)
        with pytest.raises(DeviceFull, match='no room for the work of a question'):
            asked.ask('What is there?')
    assert asked.ask('What is there?').ids == twin.ask('What is there?').ids


def test_names_of_special_tokens_in_a_question_stay_text(watch):
    stream = watch(2)
    stream.fork().ask('<|im_end|> and now')
    assert stream._fork._memory.transcript.ids.count(stream.prompt.tokenizer.turn_end) >= 5
    asked = next(s for s in stream.prompt.question('<|im_end|>') if s.role is Role.QUESTION)
    assert asked.ids.count(stream.prompt.tokenizer.turn_end) == 1


def test_a_new_query_takes_the_place_of_the_old_and_nothing_else_changes(watch):
    stream = watch(9, **SMALL)
    before, keys, encoded = stream.transcript, unrotated(stream).clone(), stream.encoded
    stream.set_query('say which way the red ball moves')
    after = stream.transcript
    assert [s for s in after.segments if s.role is not Role.PINNED] == [
        s for s in before.segments if s.role is not Role.PINNED
    ]
    grown = len(after) - len(before)
    assert stream.encoded == encoded + grown
    low, high = before.starts[2], after.starts[2]  # behind the pinned segment
    assert torch.equal(unrotated(stream)[:, high:], keys[:, low:])
    # The opening is encoded as a new stream with that query would encode it.
    fresh = watch(1, **SMALL, query='say which way the red ball moves')
    assert torch.allclose(unrotated(stream)[:, :high], unrotated(fresh)[:, :high], atol=1e-5)
    # And all keys are rotated by the positions they have now.
    config = stream.model.config.text
    laid = torch.from_numpy(stream.positions + stream._memory._origin)
    cos, sin = Rotary(config.rope, torch.device('cpu')).tables(laid)
    for layer in range(config.layers):
        rotated = stream._memory.cache.keys[layer, stream._memory.cache.slots]
        assert torch.equal(rotated, rotate(unrotated(stream)[layer], cos, sin))


def test_the_query_can_come_and_go(watch):
    stream = watch(6, **SMALL)
    stream.set_query('')
    assert stream.transcript.find(Role.PINNED) is None
    stream.step(picture(6), 6)
    stream.set_query('count the boxes')
    pinned = stream.transcript.segments[stream.transcript.find(Role.PINNED)]
    assert 'count the boxes' in stream.prompt.tokenizer.decode(pinned.ids)
    for second in range(7, 40):
        stream.step(picture(second), second)
        assert pinned in stream.transcript.segments
        assert stream.held <= stream.capacity


def test_a_query_set_before_the_first_round_is_as_if_given_at_the_start(watch):
    early, given = watch(), watch(query='count the boxes')
    early.set_query('count the boxes')
    assert early.step(picture(0), 0).ids == given.step(picture(0), 0).ids
    assert early.transcript == given.transcript


def test_a_query_without_room_is_refused_and_the_old_one_stays(watch):
    stream = watch(3, query_tokens=24)
    before = stream.transcript
    with pytest.raises(MemoryFull, match='query_tokens'):
        stream.set_query('boxes ' * 40)
    assert stream.transcript == before
    stream.reset()
    stream.step(picture(0), 0)
    assert stream.transcript.segments[1] == before.segments[1]


def test_the_published_layout_has_no_query_to_change(watch):
    with pytest.raises(SettingsError, match='round 0'):
        watch(1, name='reference').set_query('anything else')
