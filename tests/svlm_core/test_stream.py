# SPDX-License-Identifier: Apache-2.0
"""The life of a stream: what it is given, what goes wrong, and what it still knows afterwards."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from streams import named, noise, said, small, state, watch
from svlm_core.config import Sampling
from svlm_core.errors import FrameError, MemoryFull
from svlm_core.transcript import Role

# -- the ordinary course ----------------------------------------------------------------------


def test_a_caption_says_what_when_and_at_what_cost(engine):
    stream = engine.open(small())
    caption = stream.step(noise(0), 7.0)
    assert (caption.start, caption.end) == (7.0, 8.0)
    assert 1 <= len(caption.ids) <= 4
    assert caption.stopped == ('limit' if caption.ids[-1] not in stream._speaker._stops else 'end')
    assert caption.held == stream.held == len(stream.transcript)
    assert set(caption.seconds) == {'look', 'plan', 'vision', 'prefill', 'decode', 'sample'}
    assert caption == stream.last
    assert caption.silent == (not caption.text)


def test_tokens_add_up_to_the_caption(engine):
    stream = engine.open(small(max_new_tokens=30, text_window=60))
    for number in range(5):
        tokens = list(stream.tokens(noise(number), number))
        assert tuple(t.id for t in tokens) == stream.last.ids
        assert tokens[-1].text == stream.last.text.rstrip('\ufffd')
        assert all(t.logits.shape == (512,) and t.logits.dtype == torch.float32 for t in tokens)
        assert all(a.text + b.delta == b.text for a, b in pairwise(tokens)
                   if b.text.startswith(a.text))  # fmt: skip


def test_the_last_logits_are_those_that_were_drawn_from_when_greedy(engine):
    stream = engine.open(small(sampling=Sampling(temperature=0, repetition_penalty=1.0)))
    for number in range(4):
        for token in stream.tokens(noise(number), number):
            assert token.id == int(token.logits.argmax())


@named
def test_a_reset_begins_the_same_stream_again(engine, policy):
    stream = engine.open(small(**policy))
    first = watch(stream, range(7))
    stream.reset()
    assert (stream.held, stream.encoded, stream.last) == (0, 0, None)
    assert said(watch(stream, range(7))) == said(first)


@named
def test_two_streams_on_one_engine_know_nothing_of_each_other(engine, policy):
    one, two = small(**policy), small(**policy, query='Count.', sampling=Sampling(seed=3))
    alone = []
    for settings, size in ((one, (28, 56)), (two, (56, 84))):
        stream = engine.open(settings)
        alone.append([stream.step(noise(n, *size), n).ids for n in range(6)])
    a, b = engine.open(one), engine.open(two)
    mixed = [(a.step(noise(n, 28, 56), n).ids, b.step(noise(n, 56, 84), n).ids) for n in range(6)]
    assert [list(ids) for ids in zip(*mixed, strict=True)] == alone


def test_seeds_make_streams_repeatable_and_different(engine):
    captions = [
        said(watch(engine.open(small(sampling=Sampling(seed=seed))), range(5)))
        for seed in (1, 1, 2)
    ]
    assert captions[0] == captions[1] != captions[2]


# -- what it looks at -------------------------------------------------------------------------


def test_without_a_vision_window_nothing_is_seen(engine):
    blind = [engine.open(small(vision_window=0)) for _ in range(2)]
    for number in range(6):
        captions = [s.step(noise(number + 100 * n), number) for n, s in enumerate(blind)]
        assert captions[0].ids == captions[1].ids
        assert blind[0].transcript.find(Role.VISION) is None
    seeing = [engine.open(small(vision_window=1)) for _ in range(2)]
    logits = [next(s.tokens(noise(100 * n), 0)).logits for n, s in enumerate(seeing)]
    assert not torch.equal(*logits)


@named
def test_the_camera_may_change_its_resolution(engine, policy):
    stream = engine.open(small(**policy))
    for number, size in enumerate(
        [(28, 28), (480, 640), (640, 480), (13, 200), (56, 56), (28, 28)]
    ):
        stream.step(noise(number, *size), number)
        (seen,) = [s for s in stream.transcript.segments
                   if s.role is Role.VISION and s.round == number]  # fmt: skip
        assert 1 <= len(seen.ids) - 2 <= 16
    assert stream.held <= stream.capacity


@pytest.mark.parametrize(('fps', 'chunk', 'grids'), [(8, 1, 4), (2, 2, 2), (1, 1, 1), (3, 1, 2)])
def test_a_round_may_have_any_whole_number_of_frames(engine, fps, chunk, grids):
    stream = engine.open(small(fps=fps, chunk_seconds=chunk, vision_window=3 * chunk))
    for number in range(5):
        stream.step(noise(number, count=fps * chunk), number * chunk)
    (newest,) = [s for s in stream.transcript.segments if s.role is Role.VISION and s.round == 4]
    assert newest.grid == (grids, 1, 1)


@pytest.mark.parametrize(
    ('frames', 'complaint'),
    [
        (np.zeros((2, 28, 28, 3), np.float32), 'float32'),
        (np.zeros((2, 28, 28), np.uint8), r'\(2, 28, 28\)'),
        (np.zeros((2, 28, 28, 4), np.uint8), r'\(T, H, W, 3\)'),
        (np.zeros((2, 3, 28, 28), np.uint8), r'\(T, H, W, 3\)'),
        (np.zeros((1, 28, 28, 3), np.uint8), 'takes 2 frames, not 1'),
        (np.zeros((3, 28, 28, 3), np.uint8), 'takes 2 frames, not 3'),
        (np.zeros((2, 0, 28, 3), np.uint8), 'empty'),
        (np.zeros((2, 2, 4000, 3), np.uint8), 'too narrow'),
    ],
)
def test_frames_that_it_cannot_take_are_refused_and_leave_no_trace(engine, frames, complaint):
    stream, twin = engine.open(small()), engine.open(small())
    watch(stream, range(4))
    watch(twin, range(4))
    before = state(stream)
    with pytest.raises(FrameError, match=complaint):
        stream.step(frames, 4)
    assert state(stream) == before
    assert said(watch(stream, range(4, 8))) == said(watch(twin, range(4, 8)))


def test_frames_may_be_read_only_or_lie_anyhow_in_memory(engine):
    frames = noise(0, 56, 84)
    wanted = engine.open(small()).step(frames, 0).ids
    for other in (np.asfortranarray(frames), frames[:, ::-1][:, ::-1]):
        assert engine.open(small()).step(other, 0).ids == wanted


# -- the end of the memory --------------------------------------------------------------------


def test_without_limits_it_remembers_all_until_the_memory_is_full(engine):
    free = {'vision_window': None, 'text_rounds': None, 'text_sink': None, 'text_window': None}
    stream = engine.open(small(**free, capacity=400))
    captions, number = [], 0
    with pytest.raises(MemoryFull) as caught:
        while True:
            captions += watch(stream, [number])
            number += 1
    assert 'policy streaming needs' in str(caught.value)
    assert 'holds 400' in str(caught.value)
    assert 'MiB' in str(caught.value)
    assert [s.round for s in stream.transcript.segments if s.role is Role.REPLY] == [
        *range(number)
    ]
    stream.reset()
    assert said(watch(stream, range(number))) == said(captions)


def test_a_full_memory_is_as_before_and_takes_what_still_fits(engine):
    settings = small(policy='full_attention', capacity=200)
    stream, twin = engine.open(settings), engine.open(settings)
    watch(stream, range(2))
    watch(twin, range(2))
    number = 2
    while True:
        before = state(stream)
        try:
            stream.step(noise(number, 112, 112), number)
        except MemoryFull:
            break
        twin.step(noise(number, 112, 112), number)
        number += 1
    assert state(stream) == before
    assert said(watch(stream, [number])) == said(watch(twin, [number]))


# -- readers who do not read to the end -------------------------------------------------------


@named
def test_a_reader_who_stops_early_cuts_the_reply_and_the_memory_stays_whole(engine, policy):
    settings = small(**policy, sampling=Sampling(temperature=0, repetition_penalty=1.3))
    stream = engine.open(settings)
    for number in range(9):
        for token in islice(stream.tokens(noise(number), number), 1 + number % 4):
            newest = token.id
        reply = stream.transcript.segments[-1]
        assert reply.role is Role.REPLY
        assert stream.last.ids[-1] == newest
        assert stream.held == stream.last.held == len(stream.transcript)
        assert stream.held - 2 <= stream.encoded < stream.held


def test_cut_replies_leave_the_keys_that_a_fresh_reading_of_the_memory_gives(engine):
    greedy = {'sampling': Sampling(temperature=0), 'text_rounds': 50, 'vision_window': 50}
    kept, anew = engine.open(small(**greedy)), engine.open(small(**greedy, policy='recompute'))
    for number in range(8):
        pair = []
        for stream in (kept, anew):
            tokens = stream.tokens(noise(number), number)
            pair.append([next(tokens).logits for _ in range(1 + number % 2)])
            tokens.close()
        torch.testing.assert_close(pair[0], pair[1], atol=1e-4, rtol=0)
    assert kept.transcript == anew.transcript


def test_a_new_round_ends_a_reply_that_somebody_still_holds(engine):
    stream, twin = engine.open(small()), engine.open(small())
    reader, other = stream.tokens(noise(0), 0), twin.tokens(noise(0), 0)
    assert next(reader).id == next(other).id
    other.close()
    assert stream.step(noise(1), 1).ids == twin.step(noise(1), 1).ids
    assert list(reader) == []
    assert stream.transcript == twin.transcript
    held = stream.tokens(noise(2), 2)
    next(held)
    stream.reset()
    assert list(held) == []
    assert (stream.held, stream.last) == (0, None)


def test_tokens_that_nobody_asked_for_are_no_round(engine):
    stream, twin = engine.open(small()), engine.open(small())
    stream.tokens(noise(5), 0)
    assert stream.held == 0
    assert said(watch(stream, range(4))) == said(watch(twin, range(4)))
