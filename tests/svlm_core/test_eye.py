# SPDX-License-Identifier: Apache-2.0
"""Frames of the next round, encoded while this one is told; on a CPU a stand-in for the GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streams import POLICIES, each, noise, said, small
from svlm_core import Caption, Stream, gpu
from svlm_core.config import Sampling
from svlm_core.errors import FrameError
from svlm_core.eye import TOWERS, Eye
from svlm_core.gpu import upload
from svlm_core.shedding import CALM, Shedding
from svlm_core.view import look

GREEDY = Sampling(temperature=0)


def told(stream: Stream, films: list[np.ndarray], ahead: bool) -> list[Caption]:
    coming = [*films[1:], None] if ahead else [None] * len(films)
    return [
        stream.step(now, second, after)
        for second, (now, after) in enumerate(zip(films, coming, strict=True))
    ]


@each([POLICIES[0], POLICIES[2], {'policy': 'streaming', 'vision_window': 0}])
def test_what_was_encoded_ahead_is_what_would_have_been_seen(engine, captures, policy):
    films = [noise(number, 28 * (1 + number % 2), 56) for number in range(6)]
    streams = [engine.open(small(**policy, sampling=GREEDY)) for _ in range(2)]
    assert said(told(streams[0], films, True)) == said(told(streams[1], films, False))


def test_a_size_is_captured_once_also_when_frames_change_to_and_fro(engine, captures):
    stream = engine.open(small())
    opened = captures.count
    told(stream, [noise(number) for number in range(5)], True)
    assert captures.count == opened + 1
    for number in range(3):
        told(stream, [noise(number, 56, 28), noise(number)], True)
    assert captures.count == opened + 2


def test_shedding_resolution_captures_no_size_again(engine, captures):
    stream, opened = engine.open(small(max_vision_tokens=512)), captures.count
    shedding = Shedding('resolution', 20, 512)
    sizes = set()
    for late in (True, False, True):
        for number in range(2 * CALM):
            relief = shedding.ran(2.0 if late else 0.1, 1.0, {})
            stream.adjust(max_vision_tokens=relief.max_vision_tokens)
            sizes.add(relief.max_vision_tokens)
            stream.step(noise(number, 448, 448), number)
    assert len(sizes) == 4
    assert captures.count == opened + 3  # 512 tokens and 256 hold 256 of them as they are


def test_the_sizes_that_were_seen_last_are_kept(eye, captures):
    def see(width: int) -> int:
        before = captures.count
        eye.encode(eye.look(noise(0, 28, width), 16))
        return captures.count - before

    widths = [28 * (1 + n) for n in range(TOWERS + 1)]
    assert [see(width) for width in widths[:-1]] == [1] * TOWERS
    assert see(widths[0]) == 0
    assert see(widths[-1]) == 1, 'one more than are kept'
    assert see(widths[0]) == 0
    assert see(widths[1]) == 1, 'unused for longest'


def test_a_gpu_that_captures_nothing_works_in_order(engine, captures, monkeypatch):
    stream, expected = engine.open(small(sampling=GREEDY)), engine.open(small(sampling=GREEDY))
    films = [noise(number) for number in range(4)]
    words = said(told(expected, films, True))

    def refuse(work, device):
        raise RuntimeError('operation not permitted when stream is capturing')

    monkeypatch.setattr(gpu, 'capture', refuse)
    joined = []
    monkeypatch.setattr(gpu.Aside, 'join', lambda aside, *made: joined.append(made))
    with pytest.warns(UserWarning, match='no graph'):
        assert said(told(stream, films, True)) == words
    assert len(joined) == 1, 'in the round that found it out'


@pytest.fixture
def eye(engine, captures) -> Eye:
    return Eye(engine.model, small())


def test_the_tower_works_ahead_once_and_for_these_very_frames(eye, captures, monkeypatch):
    frames, other = noise(1), noise(2)
    expected = eye.encode(eye.look(frames, 16)).clone()
    eye.expect(frames, 16)
    worked = captures.replays
    view = eye.look(frames, 16)
    assert torch.equal(eye.encode(view), expected)
    assert captures.replays == worked  # it was done
    assert torch.equal(eye.encode(eye.look(frames, 16)), expected)
    assert captures.replays == worked + 1  # and is done anew for the next round

    eye.expect(frames, 16)
    assert not torch.equal(eye.encode(eye.look(other, 16)), expected)
    eye.expect(noise(3, 112, 112), 16)
    assert eye.look(noise(3, 112, 112), 4).merged == (1, 2, 2)  # fewer tokens are allowed by now


def test_frames_that_cannot_be_seen_are_refused_in_their_own_round(engine, captures):
    stream, bad = engine.open(small()), np.zeros((3, 28, 28, 3), np.uint8)
    assert stream.step(noise(0), 0, bad) is stream.last
    with pytest.raises(FrameError, match='not 3'):
        stream.step(bad, 1)


def test_a_cpu_does_not_work_ahead(engine, monkeypatch):
    monkeypatch.setattr('svlm_core.eye.look', lambda *given: pytest.fail('it looked'))
    Eye(engine.model, small()).expect(noise(0), 16)
    assert not gpu.replays(engine.model.device)


def test_frames_go_to_the_device_as_they_are_and_are_resized_there(engine):
    film = noise(5, 61, 90)[:, ::-1]  # flipped: its rows do not lie in order
    assert torch.equal(upload(film, torch.device('cpu')), torch.from_numpy(film.copy()))
    view = look(film, engine.model, small(), 6)
    assert view.patches.dtype == engine.model.dtype
    assert view.merged == (1, 2, 3)
