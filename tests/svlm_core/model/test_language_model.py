# SPDX-License-Identifier: Apache-2.0
"""The language model agrees with stock transformers, however a sequence is cut into forwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stock_model import ListMemory, Pair, our_logits, pixels, stock_logits, tell
from svlm_core.model.checkpoint import load
from svlm_core.model.language import Continuation, LanguageModel
from svlm_core.rope import Rotary, rotate


@pytest.mark.parametrize('size', [(28, 28), (84, 112), (140, 252)], ids=str)
@pytest.mark.parametrize(('frames', 'seconds_per_grid'), [(2, 1.0), (6, 1.0), (8, 0.25)], ids=str)
def test_prefill_and_decoding_give_the_logits_of_stock_transformers(
    pair: Pair, size: tuple[int, int], frames: int, seconds_per_grid: float
) -> None:
    with torch.inference_mode():
        story = tell(pair.ours, pixels(*size, frames), 8, seconds_per_grid)
        expected = stock_logits(pair.stock, story)[-7:]
        found = our_logits(pair.ours, story, [len(story.ids) - 6] + [1] * 6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize('seed', range(4))
def test_how_a_sequence_is_cut_does_not_matter(pair: Pair, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        story = tell(pair.ours, pixels(84, 84), 10)
        left, sizes = len(story.ids), []
        while left:
            sizes.append(int(torch.randint(1, min(left, 9) + 1, (1,), generator=generator)))
            left -= sizes[-1]
        ends = torch.tensor(sizes).cumsum(0) - 1
        expected = stock_logits(pair.stock, story)[ends]
        torch.testing.assert_close(
            our_logits(pair.ours, story, sizes), expected, rtol=1e-4, atol=5e-5
        )


def test_both_back_ends_agree(pair: Pair) -> None:
    plain = LanguageModel(pair.ours.config.text, 'matmul').eval()
    plain.load_state_dict(pair.ours.language.state_dict())
    assert (plain.backend, pair.ours.language.backend) == ('matmul', 'parted')
    with torch.inference_mode():
        story = tell(pair.ours, pixels(84, 112))
        cos, sin = Rotary(pair.ours.config.text.rope, pair.ours.device).tables(story.positions)
        states = [
            model(story.x, Continuation(cos, sin, ListMemory(), 0, model.backend))
            for model in (plain, pair.ours.language)
        ]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


def test_the_memory_can_rotate_its_keys_again_bit_for_bit(pair: Pair) -> None:
    with torch.inference_mode():
        story = tell(pair.ours, pixels(56, 84))
        cos, sin = Rotary(pair.ours.config.text.rope, pair.ours.device).tables(story.positions)
        memory = ListMemory()
        pair.ours.language(story.x, Continuation(cos, sin, memory, 0, 'sdpa'))
    assert len(memory.keys) == pair.ours.config.text.layers
    for layer, keys in memory.keys.items():
        assert keys.shape == (len(story.ids), *memory.values[layer].shape[1:])
        assert torch.equal(rotate(memory.unrotated[layer], cos, sin), keys)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_half_precision_stays_close_to_full(small: Path, dtype: str) -> None:
    with torch.inference_mode():
        logits = []
        for model in (load(small, 'cpu', dtype), load(small, 'cpu')):
            story = tell(model, pixels(84, 112))
            logits.append(our_logits(model, story, [len(story.ids) - 1, 1]))
    found, expected = logits
    assert found.dtype == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert 0 < error < (0.05 if dtype == 'bfloat16' else 0.01)


def test_it_learns_even_after_it_was_run_for_inference(small: Path) -> None:
    model = load(small, 'cpu')
    with torch.inference_mode():
        story = tell(model, pixels(56, 56))
        our_logits(model, story, [len(story.ids)])
    story = tell(model, pixels(56, 56))
    loss = our_logits(model, story, [len(story.ids)]).logsumexp(-1).sum()
    loss.backward()
    parts = (model.language, model.vision)
    for name, weight in [pair for part in parts for pair in part.named_parameters()]:
        assert weight.grad is not None, name
