# SPDX-License-Identifier: Apache-2.0
"""What is too large, too small or no number is told in one line, and the stream lives on."""

from __future__ import annotations

import pytest
import torch

from svlm_core import cache as cache_module
from svlm_core import memory as memory_module
from svlm_core.config import Sampling, preset
from svlm_core.errors import CheckpointError, DeviceFull, MemoryFull, SettingsError

SMALL = {
    'max_vision_tokens': 4,
    'max_new_tokens': 4,
    'sampling': Sampling(temperature=0),
}


def test_half_a_character_in_a_text_is_refused(engine):
    with pytest.raises(SettingsError, match='no valid character at place 3'):
        engine.open(preset('robot', query='see\udcff'))
    with pytest.raises(SettingsError, match='no valid character'):
        engine.open(preset('robot', previous_text='\ud83d'))


def test_a_capacity_without_room_for_one_round_is_refused_at_once(engine, noise):
    with pytest.raises(SettingsError, match='give at least') as told:
        engine.open(preset('robot', capacity=20, policy='full_attention', **SMALL))
    least = int(str(told.value).split()[-1])
    stream = engine.open(preset('robot', capacity=least, policy='full_attention', **SMALL))
    stream.step(noise(0), 0)
    with pytest.raises(MemoryFull):
        stream.step(noise(1), 1)


def test_a_memory_larger_than_the_machine_is_refused_before_it_is_touched(engine, monkeypatch):
    monkeypatch.setattr(cache_module.torch, 'zeros', lambda *_, **__: pytest.fail('touched'))
    with pytest.raises(MemoryFull, match='no room for a memory of 100000000000 tokens'):
        engine.open(preset('robot', capacity=10**11))


@pytest.mark.parametrize('changes', [{'fps': 1000}, {'max_vision_tokens': 10**6}], ids=str)
def test_settings_beyond_all_measure_are_refused(changes):
    with pytest.raises(SettingsError, match='out of range'):
        preset('robot', **changes)


def test_scores_that_are_no_numbers_are_told_and_not_spoken(engine, noise, monkeypatch):
    stream = engine.open(preset('robot', **SMALL))
    stream.step(noise(0), 0)
    nothing = torch.full((engine._model.config.text.vocab_size,), torch.nan)
    with monkeypatch.context() as patch:
        patch.setattr(engine._model.language, 'logits', lambda hidden: nothing)
        with pytest.raises(CheckpointError, match=r'no numbers in torch\.float32'):
            stream.step(noise(1), 1)
    assert stream.step(noise(2), 2).ids


def test_a_device_without_room_for_a_round_says_so_and_the_memory_stays(
    engine, noise, monkeypatch
):
    stream, twin = (engine.open(preset('robot', **SMALL)) for _ in range(2))
    for each in (stream, twin):
        each.step(noise(0), 0)

    def full(*_):
        raise torch.OutOfMemoryError('tried to allocate 2 GiB')

    with monkeypatch.context() as patch:
        patch.setattr(engine._model.vision, 'forward', full)
        with pytest.raises(DeviceFull, match='cpu has no room for the work of a round'):
            stream.step(noise(1), 1)
    assert stream.step(noise(2), 1).ids == twin.step(noise(2), 1).ids


def test_a_long_opening_is_read_in_pieces_with_the_same_outcome(engine, noise, monkeypatch):
    long = preset('robot', previous_text='the red ball moves left ' * 60, **SMALL)
    whole = [token.logits for token in engine.open(long).tokens(noise(0), 0)]
    monkeypatch.setattr(memory_module, 'PIECE', 16)
    pieces = [token.logits for token in engine.open(long).tokens(noise(0), 0)]
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
