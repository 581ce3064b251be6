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
from svlm_core.eye import Eye
from svlm_core.gpu import upload
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


def test_a_camera_of_one_size_is_captured_once(engine, captures):
    stream = engine.open(small())
    opened = captures.count
    told(stream, [noise(number) for number in range(5)], True)
    assert captures.count == opened + 1
    told(stream, [noise(number, 56, 28) for number in range(3)], True)
    assert captures.count == opened + 2


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
