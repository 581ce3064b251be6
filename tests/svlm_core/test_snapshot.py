# SPDX-License-Identifier: Apache-2.0
"""Saving a stream to a file, and going on from it elsewhere as if nothing had happened."""

from __future__ import annotations

import os
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from streams import each, failing, named, noise, said, small, state, watch
from svlm_core import Stream, StreamingVLM, cache
from svlm_core.config import Sampling
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.snapshot import load, save
from svlm_core.transcript import Role

QUESTION = 'what does the robot see now'
LAYOUTS = [
    {'text_rounds': 1, 'vision_window': 2},
    {'text_rounds': 1, 'vision_window': 2, 'rope': 'native'},
    {'vision_window': 0},
    {'vision_window': 5, 'text_rounds': 2, 'policy': 'recompute'},
    {'text_sink': None, 'text_window': None, 'capacity': 900},
]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / 'patrol.memory'


def same(one: Stream, other: Stream) -> bool:
    """Whether two streams hold the same, to the bit."""
    planes = [stream._memory.cache.filled for stream in (one, other)]
    return state(one) == state(other) and all(
        torch.equal(planes[0][name], planes[1][name]) for name in planes[0]
    )


def go_on(stream: Stream, rounds: range) -> list:
    """All that a stream says and answers in these rounds, with every number it was drawn from."""
    heard: list = []
    for number in rounds:
        for token in stream.tokens(noise(number, 56, 84), stream.seconds):
            heard.append((token, token.logits.tolist()))
        if stream.settings.ask_tokens:
            heard.append(stream.fork().ask(QUESTION).ids)
    return heard


# -- going on ---------------------------------------------------------------------------------


@named
def test_a_stream_that_loads_goes_on_to_the_bit(engine, file, policy):
    settings = small(**policy, ask_tokens=48)
    saved, loaded = engine.open(settings), engine.open(settings)
    go_on(saved, range(7))
    save(saved, file)
    go_on(loaded, range(50, 54))  # whatever it knew before is forgotten
    load(loaded, file)
    assert same(saved, loaded)
    assert loaded.seconds == saved.seconds == 7
    assert (loaded.last, loaded.reused) == (None, 0)
    for rounds in (range(7, 8), range(8, 16)):
        assert go_on(loaded, rounds) == go_on(saved, rounds)
        assert same(saved, loaded)


@each(LAYOUTS)
def test_it_does_so_whatever_the_limits(engine, file, policy):
    saved, loaded = engine.open(small(**policy)), engine.open(small(**policy))
    for number in range(6):
        go_on(saved, range(number, number + 1))
        save(saved, file)
        load(loaded, file)
    assert go_on(loaded, range(6, 12)) == go_on(saved, range(6, 12))
    assert same(saved, loaded)


def test_frames_between_whole_positions_keep_theirs(engine, file):
    settings = small(fps=3)
    saved, loaded = engine.open(settings), engine.open(settings)
    for number in range(5):
        saved.step(noise(number, 56, 56, 3), number)
    save(saved, file)
    load(loaded, file)
    for number in range(5, 9):
        assert said([loaded.step(noise(number, 56, 56, 3), number)]) == said(
            [saved.step(noise(number, 56, 56, 3), number)]
        )
        assert same(saved, loaded)


def test_query_and_pins_and_what_was_asked_come_along(engine, file):
    settings = small(ask_tokens=48)
    saved, loaded = engine.open(settings), engine.open(settings)
    watch(saved, range(4))
    saved.pin('the red ball is dangerous')
    saved.set_query('say where the ball is')
    saved.keep(saved.fork().ask(QUESTION))
    save(saved, file)
    loaded.pin('this one is forgotten')
    load(loaded, file)
    assert loaded.pins == ('the red ball is dangerous',)
    assert loaded.transcript.find(Role.QUESTION) is not None
    assert go_on(loaded, range(4, 9)) == go_on(saved, range(4, 9))
    for stream in (saved, loaded):
        stream.reset()
    assert go_on(loaded, range(5)) == go_on(saved, range(5))
    assert loaded.pins == ('the red ball is dangerous',)


def test_time_goes_on_where_it_was(engine, file):
    stream = engine.open(small())
    assert stream.seconds == 0
    stream.step(noise(0), 41.5)
    save(stream, file)
    other = engine.open(small())
    load(other, file)
    assert other.seconds == 42.5
    other.reset()
    assert other.seconds == 0


def test_limits_and_sampling_are_those_of_the_stream_that_loads(engine, file):
    saved, loaded = engine.open(small()), engine.open(small(sampling=Sampling(temperature=0)))
    watch(saved, range(3))
    save(saved, file)
    loaded.adjust(max_new_tokens=2)
    limits = loaded.limits
    load(loaded, file)
    assert loaded.limits == limits
    assert len(loaded.step(noise(3), 3).ids) <= 2


def test_a_reply_that_is_still_being_read_is_cut(engine, file):
    saved, loaded = engine.open(small()), engine.open(small())
    reader = saved.tokens(noise(0), 0)
    next(reader)
    save(saved, file)
    assert list(reader) == []
    load(loaded, file)
    assert go_on(loaded, range(1, 4)) == go_on(saved, range(1, 4))


def test_one_file_is_loaded_as_often_as_one_likes(engine, file):
    stream = engine.open(small())
    watch(stream, range(3))
    save(stream, file)
    load(stream, file)
    first = go_on(stream, range(3, 6))
    load(stream, file)
    assert go_on(stream, range(3, 6)) == first


def test_what_a_failure_has_left_undone_is_done_after_loading(engine, file, monkeypatch):
    saved, loaded, twin = (engine.open(small()) for _ in range(3))
    for stream in (saved, twin):
        watch(stream, range(5))
    with monkeypatch.context() as m:
        m.setattr(cache, 'rotate_into', failing(RuntimeError('broken')))
        with pytest.raises(RuntimeError, match='broken'):
            saved.step(noise(5), 5)
    save(saved, file)
    load(loaded, file)
    assert np.isnan(loaded.state().held.positions).any()  # keys that are yet to be rotated
    wanted = go_on(twin, range(5, 9))
    assert go_on(saved, range(5, 9)) == go_on(loaded, range(5, 9)) == wanted


def test_what_becomes_of_the_file_is_nothing_to_a_stream_that_has_loaded_it(engine, file):
    settings = small(policy='recompute')
    saved, loaded = engine.open(settings), engine.open(settings)
    watch(saved, range(5))
    save(saved, file)
    load(loaded, file)
    with file.open('r+b') as content:
        content.write(bytes(file.stat().st_size))
    assert same(saved, loaded)
    assert go_on(loaded, range(5, 9)) == go_on(saved, range(5, 9))


@pytest.fixture(scope='module')
def published(golden, tmp_path_factory) -> Path:
    """The golden checkpoint in bfloat16, as real ones are."""
    folder = tmp_path_factory.mktemp('published') / 'checkpoint'
    shutil.copytree(golden / 'checkpoint', folder)
    weights = load_file(folder / 'model.safetensors')
    halved = {name: weight.bfloat16() for name, weight in weights.items()}
    save_file(halved, folder / 'model.safetensors', {'format': 'pt'})
    return folder


def in_dtype(folder: Path, dtype: str) -> StreamingVLM:
    return StreamingVLM.from_pretrained(folder, device='cpu', dtype=dtype)


@pytest.mark.parametrize(
    ('one', 'other'),
    [('float32', 'bfloat16'), ('bfloat16', 'float16'), ('float16', 'float32')],
)
def test_another_dtype_goes_on_from_rounded_numbers(published, file, one, other):
    saved, loaded = (in_dtype(published, dtype).open(small()) for dtype in (one, other))
    watch(saved, range(5))
    save(saved, file)
    load(loaded, file)
    assert loaded.transcript == saved.transcript
    keys = saved._memory.cache.filled['keys'].to(loaded.model.dtype)
    assert torch.equal(keys, loaded._memory.cache.filled['keys'])
    watch(loaded, range(5, 8))


def test_numbers_that_are_too_large_for_a_dtype_are_refused(published, file):
    stream = in_dtype(published, 'bfloat16').open(small())
    watch(stream, range(3))
    stream._memory.cache.values[0, 5, 0, 0] = 1e6
    save(stream, file)
    refused(in_dtype(published, 'float16').open(small()), file, SettingsError, 'too large for')


# -- what belongs elsewhere -------------------------------------------------------------------


@pytest.fixture
def saved(engine, file) -> Path:
    """A file of a stream with small settings and room for questions."""
    stream = engine.open(small(ask_tokens=48))
    watch(stream, range(5))
    stream.pin('the red ball is dangerous')
    save(stream, file)
    return file


def refused(stream: Stream, path: Path, error: type[Exception], complaint: str) -> None:
    """Loading fails in one line, and the stream goes on as if it had not been tried."""
    twin = Stream(stream.model, stream.prompt.tokenizer, stream.settings)
    for each_of_them in (stream, twin):
        watch(each_of_them, range(3))
    reader, other = stream.tokens(noise(3), 3), twin.tokens(noise(3), 3)
    assert next(reader) == next(other)
    with pytest.raises(error, match=complaint) as caught:
        load(stream, path)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    assert list(reader) == list(other)
    assert same(stream, twin)
    assert said(watch(stream, range(4, 6))) == said(watch(twin, range(4, 6)))


@pytest.mark.parametrize(
    ('changes', 'complaint'),
    [
        ({'policy': 'window'}, 'saved with policy=streaming, and this stream has window'),
        ({'rope': 'native'}, 'rope=contiguous'),
        ({'published_quirks': True}, 'published_quirks=False'),
        ({'vision_window': 4}, 'vision_window=3'),
        ({'text_rounds': 2}, 'text_rounds=3'),
        ({'text_sink': None, 'capacity': 999}, 'text_sink=8, and this stream has None'),
        ({'fps': 4}, 'fps=2'),
        ({'max_new_tokens': 3}, 'max_new_tokens=4, and this stream has 3'),
        ({'max_vision_tokens': 15}, 'max_vision_tokens=16'),
        ({'ask_tokens': 47}, 'ask_tokens=48'),
        ({'query': '', 'capacity': 125}, r'holds 134 tokens, and this stream has room for 125'),
        ({'query': '', 'query_tokens': 20}, r'room for 20: open it with more query_tokens'),
    ],
    ids=str,
)  # fmt: skip
def test_the_memory_of_another_stream_is_refused(engine, saved, changes, complaint):
    settings = small(**{'ask_tokens': 48} | changes)
    stream = engine.open(settings)
    if settings.fps == 2:
        refused(stream, saved, SettingsError, complaint)
    else:
        with pytest.raises(SettingsError, match=complaint):
            load(stream, saved)


def test_more_room_than_it_was_saved_with_is_no_hindrance(engine, saved):
    stream = engine.open(
        small(ask_tokens=64, max_new_tokens=9, max_vision_tokens=20, query_tokens=200)
    )
    load(stream, saved)
    watch(stream, range(5, 12))


def test_a_reference_stream_loads_no_other_query(engine, file):
    stream = engine.open(small(published_quirks=True, query='what moves'))
    watch(stream, range(2))
    save(stream, file)
    other = engine.open(small(published_quirks=True, query='who moves'))
    refused(other, file, SettingsError, 'query=what moves, and this stream has who moves')


def another_model(golden: Path, folder: Path, scale: float) -> StreamingVLM:
    """The golden checkpoint with one of its matrices scaled."""
    shutil.copytree(golden / 'checkpoint', folder)
    weights = load_file(folder / 'model.safetensors')
    weights['model.layers.1.mlp.up_proj.weight'] *= scale
    save_file(weights, folder / 'model.safetensors', {'format': 'pt'})
    return StreamingVLM.from_pretrained(folder, device='cpu', dtype='float32')


def test_the_memory_of_another_model_is_refused(golden, tmp_path, saved):
    other = another_model(golden, tmp_path / 'other', 1.01)
    refused(other.open(small(ask_tokens=48)), saved, SettingsError, 'of another model than')
    alike = another_model(golden, tmp_path / 'alike', 1.0)
    load(alike.open(small(ask_tokens=48)), saved)


def test_a_model_is_the_same_in_every_dtype(published):
    models = [
        in_dtype(published, d).open(small()).model for d in ('float32', 'bfloat16', 'float16')
    ]
    assert len({model.identity for model in models}) == 1


def test_there_is_nothing_to_save_before_the_first_round(engine, file):
    stream = engine.open(small())
    with pytest.raises(SettingsError, match='has not begun'):
        save(stream, file)
    assert not file.exists()


# -- files that cannot be written or read -----------------------------------------------------


@contextmanager
def largest_file(size: int):
    """No file can be written beyond this size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_appears_whole_or_not_at_all(engine, saved, tmp_path):
    before, stream = saved.read_bytes(), engine.open(small(ask_tokens=48))
    watch(stream, range(2))
    with largest_file(4096), pytest.raises(OutputError, match=r'memory cannot be written') as full:
        save(stream, saved)
    assert '\n' not in str(full.value)
    assert saved.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ['patrol.memory']
    save(stream, saved)
    assert saved.read_bytes() != before
    assert sorted(os.listdir(tmp_path)) == ['patrol.memory']


def test_a_folder_that_is_not_there_is_named(engine, tmp_path):
    stream = engine.open(small())
    watch(stream, range(1))
    with pytest.raises(OutputError, match='cannot be written'):
        save(stream, tmp_path / 'nowhere' / 'memory')


@pytest.mark.parametrize('place', ['nowhere', '.', '/dev/zero'])
def test_what_is_no_file_is_not_read(engine, tmp_path, place):
    refused(engine.open(small()), tmp_path / place, SourceError, 'is no file')
