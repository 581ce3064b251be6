# SPDX-License-Identifier: Apache-2.0
"""A question and its answer that are kept: a turn of the conversation, which ages like a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from oracle import Entry, NaiveModel, Oracle
from streams import failing, named, noise, pinning, said, small, state, watch
from svlm_core import Stream, StreamSettings
from svlm_core.caption import Answer
from svlm_core.config import Sampling
from svlm_core.errors import MemoryFull, SettingsError
from svlm_core.transcript import Role

QUESTION = 'what does the robot see now'
GREEDY = Sampling(temperature=0)


def roomy(**changes) -> StreamSettings:
    return small(**{'ask_tokens': 48, 'sampling': GREEDY} | changes)


def exchange(stream: Stream) -> Answer:
    """Ask a stream, and have it keep the answer."""
    answer = stream.fork().ask(QUESTION)
    stream.keep(answer)
    return answer


def told(stream: Stream) -> tuple[int, ...]:
    """The previous text in memory."""
    return sum((s.ids for s in stream.transcript.segments if s.role is Role.PREVIOUS), ())


# -- against the oracle -----------------------------------------------------------------------


class Listener(Oracle):
    """The brute-force stream, to which a question and its answer can be told."""

    def keep(self, question: str, answer: Sequence[int]) -> None:
        text, number = self.model.text, self.round - 1
        asked = [*text('<|im_start|>user\n'), *self.model.plain(question)]
        header = text('<|im_end|>\n<|im_start|>assistant\n')
        self.memory += self._line_feed()
        self.memory += [Entry(token, 'question', number) for token in (*asked, *header)]
        words = [token for token in answer if token not in self.model.end_ids]
        self.memory += [Entry(token, 'answer', number) for token in words]
        self.memory.append(Entry(self.model.id('<|im_end|>'), 'end', number))

    def _content(self, r: int) -> list[Entry]:
        answer = [entry for entry in self.memory if (entry.round, entry.part) == (r, 'answer')]
        if answer and answer[-1].id == self.model.terminator:
            answer.pop()
        return super()._content(r) + answer


LIMITS = [
    {},
    {'rope': 'native'},
    {'policy': 'recompute'},
    {'policy': 'window', 'reset_every': 4},
    {'policy': 'full_attention', 'capacity': 2000},
    {'text_rounds': 1, 'text_sink': 20, 'text_window': 20},
    {'text_rounds': 1, 'vision_window': 4, 'rope': 'native'},
    {'text_rounds': 5, 'vision_window': 1},
    {'vision_window': 0, 'text_rounds': 2},
    {'text_sink': None, 'text_window': None, 'capacity': 2000},
]


@pytest.mark.parametrize('limits', LIMITS, ids=str)
def test_every_round_agrees_with_an_oracle_that_was_told_the_same(engine, golden, limits):
    stream = engine.open(roomy(**limits))
    oracle = Listener(NaiveModel(golden / 'checkpoint'), stream.settings)
    rng, kept = np.random.default_rng(1), 0
    for number in range(24):
        logits = [token.logits.double() for token in stream.tokens(noise(number, 56, 84), number)]
        heard = oracle.step(noise(number, 56, 84), number, lambda scores: int(scores.argmax()))
        assert list(stream.last.ids) == heard.said, f'round {number}'
        assert list(stream.transcript.ids) == heard.kept, f'round {number}'
        np.testing.assert_allclose(torch.stack(logits).numpy(), heard.logits, atol=2e-4, rtol=0)
        if stream.settings.rope == 'contiguous':
            np.testing.assert_array_equal(stream.positions, heard.positions)
        if rng.random() < 0.5 and stream.transcript.find(Role.QUESTION) is None:
            oracle.keep(QUESTION, exchange(stream).ids)
            kept += 1
    assert kept >= (1 if stream.settings.policy == 'full_attention' else 3)


# -- what stays and what leaves ---------------------------------------------------------------


def test_an_exchange_ages_with_the_round_before_it(engine):
    stream = engine.open(roomy(text_rounds=3, text_sink=100, text_window=100))
    watch(stream, range(5))
    answer = exchange(stream)
    words = stream.prompt.exchange(4, answer)[-1]
    words = words.ids[: stream.prompt.content(words)]
    for number in (5, 6):
        assert stream.transcript.find(Role.QUESTION) is not None
        watch(stream, [number])
    reply = next(s for s in stream.transcript.segments if (s.role, s.round) == (Role.REPLY, 4))
    watch(stream, [7])
    assert stream.transcript.find(Role.QUESTION) is None
    assert not any(s.round == 4 and s.role is Role.REPLY for s in stream.transcript.segments)
    assert told(stream)[-len(words) :] == words
    assert (
        told(stream)[: -len(words)][-stream.prompt.content(reply) :]
        == (reply.ids[: stream.prompt.content(reply)])
    )
    exchange(stream)


def test_later_rounds_and_questions_know_of_it(engine):
    told_of, alone = engine.open(roomy()), engine.open(roomy())
    watch(told_of, range(4))
    watch(alone, range(4))
    exchange(told_of)
    first = [next(stream.tokens(noise(4), 4)).logits for stream in (told_of, alone)]
    assert not torch.allclose(*first, atol=1e-3)
    asked = [next(stream.fork().tokens('and now')).logits for stream in (told_of, alone)]
    assert not torch.allclose(*asked, atol=1e-3)


@pinning
def test_a_stream_that_is_asked_of_an_exchange_goes_on_as_if_it_were_not(engine, policy):
    asked, alone = engine.open(roomy(**policy)), engine.open(roomy(**policy))
    for number in range(8):
        assert said(watch(asked, [number])) == said(watch(alone, [number]))
        if number in (2, 5) and asked.transcript.find(Role.QUESTION) is None:
            alone.keep(exchange(asked))
        asked.fork().ask('and now')
        assert state(asked) == state(alone)


def test_a_reset_forgets_it(engine):
    stream, twin = engine.open(roomy()), engine.open(roomy())
    watch(stream, range(3))
    exchange(stream)
    stream.reset()
    assert said(watch(stream, range(5))) == said(watch(twin, range(5)))
    assert stream.transcript == twin.transcript


def test_query_and_pins_may_change_beside_it(engine):
    stream = engine.open(roomy())
    watch(stream, range(4))
    exchange(stream)
    rest = [s for s in stream.transcript.segments if s.role is not Role.PINNED]
    stream.pin('the red ball is dangerous')
    stream.set_query('')
    assert [s for s in stream.transcript.segments if s.role is not Role.PINNED] == rest
    watch(stream, range(4, 30))
    assert stream.held <= stream.capacity


@pinning
@pytest.mark.parametrize('part', ['vision', 'language'])
def test_a_round_that_fails_behind_it_has_never_been(engine, monkeypatch, policy, part):
    stream, twin = engine.open(roomy(**policy)), engine.open(roomy(**policy))
    for one in (stream, twin):
        watch(one, range(3))
        exchange(one)
    for number in range(3, 9):
        with monkeypatch.context() as m:
            where = getattr(engine._model, part)
            m.setattr(where, 'forward', failing(RuntimeError('broken')))
            for _ in range(2):
                with pytest.raises(RuntimeError, match='broken'):
                    stream.step(noise(77, 56, 56), 77)
        assert said(watch(stream, [number])) == said(watch(twin, [number]))
        assert stream.transcript == twin.transcript


def test_a_question_is_text_whatever_it_says(engine):
    stream = engine.open(roomy())
    watch(stream, range(2))
    answer = stream.fork().ask('<|im_end|>')
    before = stream.transcript.ids.count(stream.prompt.tokenizer.turn_end)
    stream.keep(answer)
    assert stream.transcript.ids.count(stream.prompt.tokenizer.turn_end) == before + 2


def test_an_answer_that_is_late_stands_behind_the_round_of_its_time(engine):
    stream = engine.open(roomy())
    watch(stream, range(3))
    answer = stream.fork().ask(QUESTION)
    watch(stream, range(3, 5))
    stream.keep(answer)
    *_, last, asked, header, reply = stream.transcript.segments
    assert (last.role, asked.role, reply.role) == (Role.REPLY, Role.QUESTION, Role.REPLY)
    assert {s.round for s in (last, asked, header, reply)} == {4}


def test_a_reply_that_is_being_read_ends_where_an_exchange_begins(engine):
    stream = engine.open(roomy())
    watch(stream, range(2))
    answer = stream.fork().ask(QUESTION)
    reader = stream.tokens(noise(2), 2)
    next(reader)
    stream.keep(answer)
    assert list(reader) == []
    assert stream.transcript.segments[-1].round == 2


# -- what is refused --------------------------------------------------------------------------


def test_one_exchange_at_a_time_stands_in_place(engine):
    stream = engine.open(roomy())
    watch(stream, range(3))
    answer = exchange(stream)
    before = state(stream)
    with pytest.raises(SettingsError, match='an earlier question still stands in memory'):
        stream.keep(answer)
    assert state(stream) == before


@pytest.mark.parametrize(
    ('changes', 'rounds', 'complaint'),
    [
        ({'published_quirks': True}, 2, 'preset reference keeps no answers'),
        ({}, 0, 'has not begun'),
        ({'ask_tokens': 0}, 2, 'there is room for 0: open the stream with more ask_tokens'),
        ({'ask_tokens': 20}, 2, 'there is room for 20'),
        ({'capacity': 130}, 2, r'needs \d+ tokens and the memory holds 130'),
    ],
)
def test_an_answer_that_cannot_be_kept_is_refused(engine, changes, rounds, complaint):
    asked = engine.open(roomy())
    watch(asked, range(2))
    answer = asked.fork().ask(QUESTION)
    stream, twin = engine.open(roomy(**changes)), engine.open(roomy(**changes))
    watch(stream, range(rounds))
    watch(twin, range(rounds))
    with pytest.raises((SettingsError, MemoryFull), match=complaint) as caught:
        stream.keep(answer)
    assert '\n' not in str(caught.value)
    assert said(watch(stream, range(rounds, 5))) == said(watch(twin, range(rounds, 5)))


def test_another_end_than_the_markers_does_not_stay_in_memory(engine):
    stream = engine.open(roomy(text_sink=100, text_window=100, text_rounds=1))
    watch(stream, range(2))
    other = max(stream.prompt.tokenizer.special - {stream.prompt.tokenizer.turn_end})
    answer = stream.fork().ask(QUESTION)
    stream.keep(replace(answer, ids=(*answer.ids[:3], other), stopped='end'))
    assert other not in stream.transcript.segments[-1].ids
    watch(stream, range(2, 4))
    assert other not in told(stream)


@named
def test_the_first_segments_of_a_fork_are_those_of_its_stream(engine, policy):
    stream = engine.open(roomy(**policy))
    watch(stream, range(4))
    if not stream.settings.published_quirks:
        exchange(stream)
    fork = stream.fork()
    fork.ask('and now')
    held, copied = stream.transcript.segments, fork._memory.transcript.segments
    assert copied[: len(held) - 1] == held[:-1]
