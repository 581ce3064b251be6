# SPDX-License-Identifier: Apache-2.0
"""An operator's sentences: pinned behind the query, for hours, until they are taken away."""

from __future__ import annotations

import pytest
import torch

from streams import failing, noise, pinning, said, small, state, watch
from svlm_core import Stream
from svlm_core.errors import MemoryFull, SettingsError
from svlm_core.transcript import Role

BALL, DOOR = 'The red ball is dangerous.', 'Nobody may pass the door.'


def pinned(stream: Stream) -> str:
    """What the pinned turn says."""
    turns = [s for s in stream.transcript.segments if s.role is Role.PINNED]
    (text,) = [stream.prompt.tokenizer.decode(turn.ids) for turn in turns] or ['']
    return text.removeprefix('user\n').removesuffix('\n')


def test_sentences_stand_behind_the_query_a_line_each(engine):
    stream = engine.open(small(query='Say what moves.'))
    watch(stream, range(3))
    stream.pin(BALL)
    stream.pin(DOOR)
    assert stream.pins == (BALL, DOOR)
    assert pinned(stream) == f'Say what moves.\n{BALL}\n{DOOR}'
    assert stream.transcript.segments[1].role is Role.PINNED
    stream.set_query('')
    assert pinned(stream) == f'{BALL}\n{DOOR}'
    stream.unpin()
    assert stream.pins == ()
    assert stream.transcript.find(Role.PINNED) is None
    stream.set_query('Say what moves.')
    stream.pin(DOOR)
    assert pinned(stream) == f'Say what moves.\n{DOOR}'


def test_they_are_encoded_where_they_stand_and_the_rest_stays(engine):
    stream, fresh = engine.open(small()), engine.open(small(query=f'{small().query}\n{BALL}'))
    watch(stream, range(6))
    watch(fresh, range(1))
    rest = stream.transcript.segments[2:]
    stream.pin(BALL)
    assert stream.transcript.segments[2:] == rest
    opening = fresh.transcript.starts[2]
    ours, theirs = (s._memory.cache.unrotated[:, :opening] for s in (stream, fresh))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pinning
def test_they_stay_for_many_rounds(engine, policy):
    rounds = 60 if policy['policy'] == 'full_attention' else 120
    stream = engine.open(small(**policy, max_new_tokens=2))
    watch(stream, range(2))
    stream.pin(BALL)
    for number in range(2, rounds):
        stream.step(noise(number % 5), number)
        assert BALL in pinned(stream)
        assert stream.held <= stream.capacity


def test_pinned_before_the_first_round_is_as_if_given_with_the_query(engine):
    early, given = engine.open(small()), engine.open(small(query=f'{small().query}\n{BALL}'))
    early.pin(BALL)
    assert said(watch(early, range(3))) == said(watch(given, range(3)))
    assert early.transcript == given.transcript


def test_a_sentence_is_pinned_once_however_it_is_spaced(engine):
    stream = engine.open(small())
    watch(stream, range(2))
    stream.pin(BALL)
    before = state(stream)
    stream.pin('  The red\n ball is   dangerous. ')
    assert stream.pins == (BALL,)
    assert state(stream) == before


@pytest.mark.parametrize('sentence', ['', '  ', '\n\t'])
def test_an_empty_sentence_is_refused(engine, sentence):
    with pytest.raises(SettingsError, match='the sentence to pin is empty'):
        engine.open(small()).pin(sentence)


def test_a_reset_keeps_what_is_pinned(engine):
    stream, twin = engine.open(small()), engine.open(small())
    watch(stream, range(4))
    for one in (stream, twin):
        one.pin(BALL)
    stream.reset()
    assert stream.pins == (BALL,)
    assert said(watch(stream, range(4))) == said(watch(twin, range(4)))
    assert BALL in pinned(stream)


def test_query_and_sentences_share_their_room(engine):
    stream = engine.open(small(query='Say what moves.', query_tokens=48))
    watch(stream, range(3))
    stream.pin(BALL)
    before = state(stream)
    for order in (lambda: stream.pin('boxes ' * 20), lambda: stream.set_query('boxes ' * 20)):
        with pytest.raises(MemoryFull, match='there is room for 48: raise query_tokens') as full:
            order()
        assert '\n' not in str(full.value)
        assert (stream.query, stream.pins) == ('Say what moves.', (BALL,))
        assert state(stream) == before
    stream.unpin()
    stream.set_query('boxes ' * 10)


def test_a_query_that_was_given_longer_than_its_room_can_come_back(engine):
    long = 'Say what moves and where it goes. ' * 4
    stream = engine.open(small(query=long, query_tokens=8))
    watch(stream, range(2))
    stream.set_query('')
    stream.set_query(long)
    assert pinned(stream) == long
    with pytest.raises(MemoryFull, match='query_tokens'):
        stream.pin(BALL)


def test_half_a_character_is_refused_and_changes_nothing(engine):
    stream = engine.open(small())
    watch(stream, range(2))
    before, query = state(stream), stream.query
    for order in (stream.pin, stream.set_query):
        with pytest.raises(SettingsError, match='no valid character'):
            order('half \udcff a character')
    assert (state(stream), stream.query, stream.pins) == (before, query, ())


def test_where_the_next_round_would_have_no_room_they_are_refused(engine):
    settings = small(policy='full_attention', capacity=150)
    stream, twin = engine.open(settings), engine.open(settings)
    watch(twin, range(3))
    watch(stream, range(3))
    with pytest.raises(MemoryFull, match=r'needs \d+ tokens and the memory holds 150'):
        stream.pin(f'{BALL} {DOOR}')
    assert stream.pins == ()
    assert said(watch(stream, [3])) == said(watch(twin, [3]))
    stream.set_query('')  # what frees tokens is always welcome


def test_a_device_that_fails_on_the_way_begins_the_stream_anew(engine, monkeypatch):
    stream, fresh = engine.open(small()), engine.open(small())
    watch(stream, range(3))
    with monkeypatch.context() as m:
        m.setattr(engine._model.language, 'forward', failing(RuntimeError('broken')))
        with pytest.raises(RuntimeError, match='broken'):
            stream.pin(BALL)
    assert (stream.held, stream.seconds, stream.pins) == (0, 0, (BALL,))
    fresh.pin(BALL)
    assert said(watch(stream, range(3))) == said(watch(fresh, range(3)))


def test_the_published_layout_pins_nothing(engine):
    stream = engine.open(small(published_quirks=True))
    watch(stream, range(1))
    for order in (lambda: stream.pin(BALL), stream.unpin):
        with pytest.raises(SettingsError, match=r'preset reference .* pins nothing'):
            order()
