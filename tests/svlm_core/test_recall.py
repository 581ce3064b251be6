# SPDX-License-Identifier: Apache-2.0
"""Evicted rounds that come back: against brute force, and against a memory that keeps everything.

The brute force lays all positions of every layer from 0 and rotates, scores and expands all keys
from scratch, token by token, in float64.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from torch import Tensor

from oracle import Entry, NaiveModel, Oracle, _rotate
from streams import noise, small
from svlm_core import Stream, StreamingVLM, StreamSettings
from svlm_core.errors import SettingsError

ROUNDS = 9
SIZES = [(28, 28), (56, 28), (28, 84), (28, 28), (56, 56)]  # of frames, in turn
WINDOW = {'vision_window': 2, 'text_rounds': 2, 'max_new_tokens': 3}
NO_TEXT = {'text_sink': 0, 'text_window': 0}
ALL = 10**6


class Recaller(Oracle):
    """The oracle, with what left kept by round, and the best `count` of it in each layer."""

    def __init__(self, model: NaiveModel, settings: StreamSettings, count: int) -> None:
        super().__init__(model, settings)
        self.count = count
        self.gone: list[list[Entry]] = []
        self.best: dict[int, list[list[Entry]]] = {}

    def _make_room(self) -> bool:
        before = list(self.memory)
        self.best = {}
        reset = super()._make_room()
        kept = {id(entry) for entry in self.memory}
        no_text = self.settings.text_sink == self.settings.text_window == 0
        parts = ('user', 'time', 'vision', 'tail', 'assistant', *('reply', 'end') * no_text)
        left = [e for e in before if id(e) not in kept and e.part in parts]
        for _, entries in groupby(left, lambda entry: entry.round):
            block = [*entries]
            if any(entry.part == 'vision' for entry in block):
                self.gone.append(block)
        return reset

    def _refresh(self) -> None:
        """What is brought back stands behind previous text, which cannot see it."""
        gone, self.gone = self.gone, []
        super()._refresh()
        self.gone, self.best = gone, {}

    @torch.inference_mode()
    def _forward(self):
        fresh = sum(entry.keys is None for entry in self.memory)
        old, model = len(self.memory) - fresh, self.model
        heads, shared = model.c.num_attention_heads, model.c.num_key_value_heads
        size = model.c.hidden_size // heads
        rounds = (n for n, entry in enumerate(self.memory) if entry.round >= 0)
        first = next(rounds, len(self.memory))
        x = torch.stack([model._embed(entry) for entry in self.memory[old:]])
        keys, values = [], []
        for n in range(model.c.num_hidden_layers):
            a = model._norm(x, f'layers.{n}.input_layernorm')
            q, k, v = (
                model._linear(a, f'layers.{n}.self_attn.{name}_proj').view(fresh, -1, size)
                for name in 'qkv'
            )
            keys.append(k)
            values.append(v)
            if n not in self.best:
                self.best[n] = self._choose(n, q)
            back = [entry for block in self.best[n] for entry in block]
            known = [*self.memory[: min(first, old)], *back, *self.memory[first:old]]
            places = self._laid([*known, *self.memory[old:]]).astype(np.float64)
            cos, sin = model._turn(places)
            k = torch.cat([*(entry.keys[n][None] for entry in known), k])
            v = torch.cat([*(entry.values[n][None] for entry in known), v])
            future = torch.full((fresh, len(k)), -torch.inf).triu(len(known) + 1)
            q = _rotate(q, cos[len(known) :], sin[len(known) :]).permute(1, 0, 2)
            k = _rotate(k, cos, sin).repeat_interleave(heads // shared, 1).permute(1, 2, 0)
            v = v.repeat_interleave(heads // shared, 1).permute(1, 0, 2)
            mixed = ((q @ k / size**0.5 + future).softmax(-1) @ v).permute(1, 0, 2)
            x = x + model._linear(mixed.reshape(fresh, -1), f'layers.{n}.self_attn.o_proj')
            a = model._norm(x, f'layers.{n}.post_attention_layernorm')
            gate = model._linear(a, f'layers.{n}.mlp.gate_proj')
            up = model._linear(a, f'layers.{n}.mlp.up_proj')
            x = x + model._linear(gate * gate.sigmoid() * up, f'layers.{n}.mlp.down_proj')
        for j, entry in enumerate(self.memory[old:]):
            entry.keys = torch.stack([layer[j] for layer in keys])
            entry.values = torch.stack([layer[j] for layer in values])
        return (model.w['lm_head.weight'] @ model._norm(x[-1], 'norm')).numpy()

    def _choose(self, layer: int, queries: Tensor) -> list[list[Entry]]:
        """The blocks of this layer with the largest sum, over all heads, of q . mean key."""
        sought = queries.mean(0)  # (heads, size)
        scores = []
        for block in self.gone:
            mean = sum(entry.keys[layer] for entry in block) / len(block)  # (shared, size)
            score = 0.0
            for head, query in enumerate(sought):
                score += float(query @ mean[head * len(mean) // len(sought)])
            scores.append(score)
        order = sorted(range(len(scores)), key=lambda n: -scores[n])
        return [self.gone[n] for n in sorted(order[: self.count])]


@pytest.fixture(scope='module')
def naive(golden) -> NaiveModel:
    return NaiveModel(golden / 'checkpoint')


def seen(number: int) -> np.ndarray:
    return noise(number, *SIZES[number % len(SIZES)])


def scores(stream: Stream, number: int, ids: list[int]) -> np.ndarray:
    return stream.follow(seen(number), float(number), ids).numpy()


@pytest.mark.parametrize('rope', ['contiguous', 'plain'])
@pytest.mark.parametrize('count', [1, 2, 4])
@pytest.mark.parametrize(
    'text', [NO_TEXT, {'text_sink': 8, 'text_window': 8}], ids=['no text', 'text']
)
def test_every_layer_brings_back_what_brute_force_finds(engine, naive, count, text, rope):
    chosen = small(**{**WINDOW, **text}, rope=rope)
    stream, slow = engine.open(chosen, retrieved=count), Recaller(naive, chosen, count)
    different = False
    for number in range(ROUNDS):
        heard = slow.step(seen(number), float(number), lambda s: int(s.argmax()))
        ours = scores(stream, number, heard.said)
        np.testing.assert_allclose(ours, heard.logits, atol=2e-4, rtol=0)
        layers = [[id(block) for block in of] for of in slow.best.values()]
        different |= any(layer != layers[0] for layer in layers)
    assert different or count == 4, 'layers choose for themselves'


def test_with_everything_back_it_is_full_attention(engine):
    full = engine.open(small(policy='full_attention', capacity=2000, **NO_TEXT))
    back = engine.open(small(**WINDOW, **NO_TEXT), retrieved=ALL)
    few = engine.open(small(**WINDOW, **NO_TEXT), retrieved=1)
    apart = []
    for number in range(ROUNDS):
        full.step(seen(number), float(number))
    full.reset()
    for number in range(ROUNDS):
        ids = [5 + number, 9, engine.tokenizer.turn_end]
        wanted = scores(full, number, ids)
        np.testing.assert_allclose(scores(back, number, ids), wanted, atol=5e-5, rtol=0)
        apart.append(float(np.abs(scores(few, number, ids) - wanted).max()))
        assert back.held + back.recalled == full.held
    assert apart[0] < 5e-5
    assert max(apart) > 1e-2


def test_a_window_of_the_current_second_alone_gets_even_its_last_words_back(engine):
    full = engine.open(small(policy='full_attention', capacity=2000, **NO_TEXT))
    back = engine.open(
        small(**{**WINDOW, **NO_TEXT, 'vision_window': 1, 'text_rounds': 1}), retrieved=ALL
    )
    for number in range(5):
        ids = [7, 8 + number, engine.tokenizer.turn_end]
        wanted = scores(full, number, ids)
        np.testing.assert_allclose(scores(back, number, ids), wanted, atol=5e-5, rtol=0)


def test_before_anything_has_left_nothing_is_different(engine):
    plain, back = engine.open(small(**WINDOW)), engine.open(small(**WINDOW), retrieved=2)
    for number in range(2):
        assert back.step(seen(number), number).ids == plain.step(seen(number), number).ids
        assert back.recalled == 0
    back.step(seen(2), 2)
    assert back.recalled > 0


def test_a_stream_that_begins_anew_has_nothing_to_bring_back(engine):
    stream, fresh = (engine.open(small(**WINDOW), retrieved=2) for _ in range(2))
    for number in range(4):
        stream.step(seen(number), number)
    stream.reset()
    assert stream.recalled == 0
    for number in range(4):
        assert stream.step(seen(number), number).ids == fresh.step(seen(number), number).ids


def test_the_instruction_may_change_while_rounds_are_back(engine, naive):
    stream = engine.open(small(**WINDOW, **NO_TEXT), retrieved=2)
    for number in range(5):
        stream.step(seen(number), number)
    stream.set_query('tell of the red ball')
    assert stream.step(seen(5), 5).held == stream.held


@pytest.mark.parametrize(
    'changes', [{'policy': 'recompute'}, {'policy': 'window'}, {'rope': 'native'}]
)
def test_what_cannot_bring_anything_back_is_refused(engine: StreamingVLM, changes):
    with pytest.raises(SettingsError, match='brought back under policy=streaming'):
        engine.open(small(**changes), retrieved=2)


def test_what_would_leave_the_evicted_rounds_behind_is_refused(engine):
    stream = engine.open(small(**WINDOW, ask_tokens=40), retrieved=2)
    stream.step(seen(0), 0)
    for save in (stream.state, stream.fork):
        with pytest.raises(SettingsError, match='cannot be saved, forked or asked'):
            save()
