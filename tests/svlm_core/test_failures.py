# SPDX-License-Identifier: Apache-2.0
"""A machine that fails in the middle of a round: what the stream still knows afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from streams import failing, named, noise, said, small, watch
from svlm_core import StreamingVLM
from svlm_core import cache as cache_module


@contextmanager
def broken_tower(engine: StreamingVLM, patch: pytest.MonkeyPatch, error: BaseException):
    with patch.context() as m:
        m.setattr(engine._model.vision, 'forward', failing(error))
        yield


@contextmanager
def broken_prefill(engine: StreamingVLM, patch: pytest.MonkeyPatch, error: BaseException):
    """The first layers have stored their keys when the last one fails."""
    with patch.context() as m:
        m.setattr(engine._model.language.layers[-1], 'forward', failing(error))
        yield


@contextmanager
def broken_rotation(engine: StreamingVLM, patch: pytest.MonkeyPatch, error: BaseException):
    """The keys of one layer are rotated by their new positions, those of the next are not."""
    fail, rotate = failing(error, after=1), cache_module.rotate_into
    with patch.context() as m:
        m.setitem(cache_module.TURNED, 'cpu', 1)  # a layer at a time
        m.setattr(cache_module, 'rotate_into', lambda *args: fail() or rotate(*args))
        m.setattr(engine._model.language.layers[-1], 'forward', failing(error))
        yield


Break = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize('broken', [broken_tower, broken_prefill, broken_rotation])
@pytest.mark.parametrize('error', [RuntimeError('out of memory'), KeyboardInterrupt()], ids=repr)
@named
def test_a_round_that_could_not_be_read_has_never_been(
    engine, monkeypatch, policy, error, broken: Break
):
    stream, twin = engine.open(small(**policy)), engine.open(small(**policy))
    for rounds in ([], range(5), range(5, 6), range(6, 7)):
        assert said(watch(stream, rounds)) == said(watch(twin, rounds))
        with broken(engine, monkeypatch, error):
            for attempt in range(2):  # the second finds what the first has left behind
                with pytest.raises(type(error)):
                    stream.step(noise(90 + attempt, 56, 56), 90)
    rounds = range(7, 13)
    assert said(watch(stream, rounds)) == said(watch(twin, rounds))
    assert stream.transcript == twin.transcript
    assert torch.equal(*(s._memory.cache.keys[:, : s.encoded] for s in (stream, twin)))
    assert len(stream._views) == len(twin._views)


def test_a_failure_in_the_middle_of_a_reply_cuts_it_there(engine, monkeypatch):
    stream, twin = engine.open(small()), engine.open(small())
    watch(stream, range(4))
    watch(twin, range(4))
    with monkeypatch.context() as m:
        fail, say = failing(RuntimeError('out of memory'), after=1), stream._memory.say
        m.setattr(stream._memory, 'say', lambda token: fail() or say(token))
        with pytest.raises(RuntimeError, match='out of memory'):
            stream.step(noise(4), 4)
    tokens = twin.tokens(noise(4), 4)
    cut = (next(tokens).id, next(tokens).id)
    tokens.close()
    assert stream.last.ids == twin.last.ids == cut
    assert said(watch(stream, range(5, 9))) == said(watch(twin, range(5, 9)))
