# SPDX-License-Identifier: Apache-2.0
"""The life of a stream: what it is given, what goes wrong, and what it still knows afterwards."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from svlm_core import Caption, Stream, StreamingVLM, StreamSettings, preset
from svlm_core import cache as cache_module
from svlm_core.config import Sampling
from svlm_core.errors import FrameError, MemoryFull
from svlm_core.transcript import Role

SMALL = {
    'vision_window': 3,
    'text_rounds': 3,
    'text_sink': 8,
    'text_window': 8,
    'reset_every': 3,
    'max_new_tokens': 4,
    'max_vision_tokens': 16,
}
POLICIES = [
    {'policy': 'streaming'},
    {'policy': 'streaming', 'rope': 'native'},
    {'policy': 'recompute'},
    {'policy': 'window'},
    {'policy': 'full_attention', 'capacity': 2000},
    {'policy': 'streaming', 'published_quirks': True},
]
named = pytest.mark.parametrize('policy', POLICIES, ids=lambda p: '-'.join(map(str, p.values())))


def small(**changes) -> StreamSettings:
    return preset('robot', **{**SMALL, **changes})


@pytest.fixture
def watch(noise) -> Callable[[Stream, Iterable[int]], list[Caption]]:
    """Show a stream the noise of these rounds, each at its second."""
    return lambda stream, rounds: [stream.step(noise(n), n) for n in rounds]


def said(captions: list[Caption]) -> list[tuple[int, ...]]:
    return [caption.ids for caption in captions]


def state(stream: Stream) -> tuple:
    return stream.transcript, stream.held, stream.encoded, stream.positions.tolist()


# -- the ordinary course ----------------------------------------------------------------------


def test_a_caption_says_what_when_and_at_what_cost(engine, noise):
    stream = engine.open(small())
    caption = stream.step(noise(0), 7.0)
    assert (caption.start, caption.end) == (7.0, 8.0)
    assert 1 <= len(caption.ids) <= 4
    assert caption.stopped == ('limit' if caption.ids[-1] not in stream._speaker._stops else 'end')
    assert caption.held == stream.held == len(stream.transcript)
    assert set(caption.seconds) == {'look', 'plan', 'vision', 'prefill', 'decode'}
    assert caption == stream.last
    assert caption.silent == (not caption.text)


def test_tokens_add_up_to_the_caption(engine, noise):
    stream = engine.open(small(max_new_tokens=30, text_window=60))
    for number in range(5):
        tokens = list(stream.tokens(noise(number), number))
        assert tuple(t.id for t in tokens) == stream.last.ids
        assert tokens[-1].text == stream.last.text.rstrip('\ufffd')
        assert all(t.logits.shape == (512,) and t.logits.dtype == torch.float32 for t in tokens)
        assert all(a.text + b.delta == b.text for a, b in pairwise(tokens)
                   if b.text.startswith(a.text))  # fmt: skip


def test_the_last_logits_are_those_that_were_drawn_from_when_greedy(engine, noise):
    stream = engine.open(small(sampling=Sampling(temperature=0, repetition_penalty=1.0)))
    for number in range(4):
        for token in stream.tokens(noise(number), number):
            assert token.id == int(token.logits.argmax())


@named
def test_a_reset_begins_the_same_stream_again(engine, watch, policy):
    stream = engine.open(small(**policy))
    first = watch(stream, range(7))
    stream.reset()
    assert (stream.held, stream.encoded, stream.last) == (0, 0, None)
    assert said(watch(stream, range(7))) == said(first)


@named
def test_two_streams_on_one_engine_know_nothing_of_each_other(engine, noise, policy):
    one, two = small(**policy), small(**policy, query='Count.', sampling=Sampling(seed=3))
    alone = []
    for settings, size in ((one, (28, 56)), (two, (56, 84))):
        stream = engine.open(settings)
        alone.append([stream.step(noise(n, *size), n).ids for n in range(6)])
    a, b = engine.open(one), engine.open(two)
    mixed = [(a.step(noise(n, 28, 56), n).ids, b.step(noise(n, 56, 84), n).ids) for n in range(6)]
    assert [list(ids) for ids in zip(*mixed, strict=True)] == alone


def test_seeds_make_streams_repeatable_and_different(engine, watch):
    captions = [
        said(watch(engine.open(small(sampling=Sampling(seed=seed))), range(5)))
        for seed in (1, 1, 2)
    ]
    assert captions[0] == captions[1] != captions[2]


# -- what it looks at -------------------------------------------------------------------------


def test_without_a_vision_window_nothing_is_seen(engine, noise):
    blind = [engine.open(small(vision_window=0)) for _ in range(2)]
    for number in range(6):
        captions = [s.step(noise(number + 100 * n), number) for n, s in enumerate(blind)]
        assert captions[0].ids == captions[1].ids
        assert blind[0].transcript.find(Role.VISION) is None
    seeing = [engine.open(small(vision_window=1)) for _ in range(2)]
    logits = [next(s.tokens(noise(100 * n), 0)).logits for n, s in enumerate(seeing)]
    assert not torch.equal(*logits)


@named
def test_the_camera_may_change_its_resolution(engine, noise, policy):
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
def test_a_round_may_have_any_whole_number_of_frames(engine, noise, fps, chunk, grids):
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
def test_frames_that_it_cannot_take_are_refused_and_leave_no_trace(
    engine, noise, watch, frames, complaint
):
    stream, twin = engine.open(small()), engine.open(small())
    watch(stream, range(4))
    watch(twin, range(4))
    before = state(stream)
    with pytest.raises(FrameError, match=complaint):
        stream.step(frames, 4)
    assert state(stream) == before
    assert said(watch(stream, range(4, 8))) == said(watch(twin, range(4, 8)))


def test_frames_may_be_read_only_or_lie_anyhow_in_memory(engine, noise):
    frames = noise(0, 56, 84)
    wanted = engine.open(small()).step(frames, 0).ids
    for other in (np.asfortranarray(frames), frames[:, ::-1][:, ::-1]):
        assert engine.open(small()).step(other, 0).ids == wanted


# -- the end of the memory --------------------------------------------------------------------


def test_without_limits_it_remembers_all_until_the_memory_is_full(engine, watch, noise):
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


def test_a_full_memory_is_as_before_and_takes_what_still_fits(engine, noise, watch):
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
def test_a_reader_who_stops_early_cuts_the_reply_and_the_memory_stays_whole(engine, noise, policy):
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


def test_cut_replies_leave_the_keys_that_a_fresh_reading_of_the_memory_gives(engine, noise):
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


def test_a_new_round_ends_a_reply_that_somebody_still_holds(engine, noise):
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


def test_tokens_that_nobody_asked_for_are_no_round(engine, noise, watch):
    stream, twin = engine.open(small()), engine.open(small())
    stream.tokens(noise(5), 0)
    assert stream.held == 0
    assert said(watch(stream, range(4))) == said(watch(twin, range(4)))


# -- a machine that fails ---------------------------------------------------------------------


def failing(error: BaseException, after: int = 0) -> Callable[..., None]:
    """A function that fails from call number `after` on."""
    calls = iter(range(after))

    def fail(*args, **kwargs):
        if next(calls, None) is None:
            raise error

    return fail


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
    fail, rotate = failing(error, after=1), cache_module.rotate
    with patch.context() as m:
        m.setattr(cache_module, 'rotate', lambda *args: fail() or rotate(*args))
        m.setattr(engine._model.language.layers[-1], 'forward', failing(error))
        yield


Break = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize('broken', [broken_tower, broken_prefill, broken_rotation])
@pytest.mark.parametrize('error', [RuntimeError('out of memory'), KeyboardInterrupt()], ids=repr)
@named
def test_a_round_that_could_not_be_read_has_never_been(
    engine, noise, watch, monkeypatch, policy, error, broken: Break
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


def test_a_failure_in_the_middle_of_a_reply_cuts_it_there(engine, noise, watch, monkeypatch):
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


# -- for hours --------------------------------------------------------------------------------


@pytest.mark.parametrize('policy', POLICIES[:4], ids=lambda p: '-'.join(map(str, p.values())))
def test_the_memory_never_moves_and_never_overflows(engine, noise, policy):
    stream = engine.open(small(**policy, max_new_tokens=2))
    planes, size = [plane.data_ptr() for plane in stream.planes], stream.memory_bytes
    for number in range(500):
        stream.step(noise(number % 7, 28 * (1 + number % 4), 28 * (1 + number % 3)), number)
        assert stream.encoded <= stream.held <= stream.capacity
        assert len(stream.transcript.segments) <= 5 + 6 * 3
        assert len(stream._views) <= (3 if stream.settings.policy == 'recompute' else 0)
    assert [plane.data_ptr() for plane in stream.planes] == planes
    assert stream.memory_bytes == size


def resident() -> int:
    """Bytes of the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_an_hour_leaves_no_trace_on_the_host(engine, noise):
    stream = engine.open(small(max_new_tokens=2))
    frames = [noise(number) for number in range(8)]

    def minutes(first: int, last: int) -> tuple[int, int]:
        for number in range(60 * first, 60 * last):
            stream.step(frames[number % 8], number)
        gc.collect()
        return len(gc.get_objects()), resident()

    minutes(0, 5)
    objects, bytes_before = minutes(5, 10)
    later, bytes_after = minutes(10, 60)
    assert later - objects < 50
    assert bytes_after - bytes_before < 8 * 2**20


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@named
def test_half_precision_runs_too(golden, noise, dtype, policy):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', device='cpu', dtype=dtype)
    stream, full = engine.open(small(**policy)), []
    for number in range(8):
        full += list(stream.tokens(noise(number), number))
    assert all(token.logits.isfinite().all() for token in full)
    assert {plane.dtype for plane in stream.planes} == {getattr(torch, dtype), torch.long}


def test_half_precision_sees_nearly_what_full_precision_sees(golden, engine, noise):
    half = StreamingVLM.from_pretrained(golden / 'checkpoint', device='cpu', dtype='bfloat16')
    logits = [next(e.open(small()).tokens(noise(0), 0)).logits for e in (engine, half)]
    spread = float(logits[0].std())
    torch.testing.assert_close(logits[0], logits[1], atol=0.3 * spread, rtol=0)
