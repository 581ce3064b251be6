# SPDX-License-Identifier: Apache-2.0
"""Drawing tokens: the distribution of Hugging Face's processors, and seeds that hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from svlm_core.config import Sampling
from svlm_core.sampling import Sampler, keep_top_k, keep_top_p, penalise
from svlm_core.speaker import UNSOUND, checked

CPU = torch.device('cpu')
V = 60


def theirs(logits: Tensor, seen: list[int], chosen: Sampling) -> Tensor:
    steps = LogitsProcessorList()
    steps.append(RepetitionPenaltyLogitsProcessor(chosen.repetition_penalty))
    steps.append(TemperatureLogitsWarper(float(chosen.temperature)))
    if chosen.top_k:
        steps.append(TopKLogitsWarper(chosen.top_k))
    if chosen.top_p < 1:
        steps.append(TopPLogitsWarper(chosen.top_p))
    return steps(torch.tensor([seen]), logits[None].clone())[0].softmax(-1)


def ours(logits: Tensor, seen: list[int], chosen: Sampling) -> Tensor:
    marked = torch.zeros(V, dtype=torch.bool)
    marked[seen] = True
    scores = penalise(logits, marked, chosen.repetition_penalty) / chosen.temperature
    return keep_top_p(keep_top_k(scores, chosen.top_k), chosen.top_p).softmax(-1)


@given(
    seed=st.integers(0, 10_000),
    coarse=st.booleans(),
    seen=st.lists(st.integers(0, V - 1), min_size=1, max_size=90),
    chosen=st.builds(
        Sampling,
        temperature=st.sampled_from((0.2, 0.9, 1.0, 3.0)),
        top_k=st.sampled_from((0, 1, 5, 50, 59, 60, 500)),
        top_p=st.sampled_from((0.01, 0.3, 0.9, 0.999, 1.0)),
        repetition_penalty=st.sampled_from((0.8, 1.0, 1.05, 2.0)),
    ),
)
@settings(max_examples=200, deadline=None)
def test_the_distribution_is_hugging_faces_ties_included(seed, coarse, seen, chosen):
    logits = torch.randn(V, generator=torch.Generator().manual_seed(seed)) * 4
    if coarse:  # a few values that many tokens share
        logits = logits.round()
    torch.testing.assert_close(ours(logits, seen, chosen), theirs(logits, seen, chosen))


def test_what_is_drawn_follows_the_distribution():
    chosen = Sampling(temperature=1, top_k=0, repetition_penalty=1.0)
    sampler = Sampler(chosen, 3, CPU)
    sampler.begin([])
    logits = torch.tensor([0.7, 0.2, 0.1]).log()
    counts = torch.bincount(torch.cat([sampler.draw(logits) for _ in range(4000)]))
    torch.testing.assert_close(counts / 4000, logits.exp(), atol=0.03, rtol=0)


def test_greedy_takes_the_best_after_the_penalty_and_penalises_what_it_said():
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), 4, CPU)
    sampler.begin([0])
    logits = torch.tensor([5.0, 4.0, 3.0, -1.0])
    assert [int(sampler.draw(logits)) for _ in range(4)] == [1, 2, 0, 0]
    sampler.begin([])
    assert sampler.draw(logits) == 0


def test_negative_scores_of_seen_tokens_sink_further():
    seen = torch.tensor([True, True, False])
    scores = penalise(torch.tensor([-1.0, 2.0, 2.0]), seen, 2.0)
    assert scores.tolist() == [-2.0, 1.0, 2.0]


def said(sampler: Sampler, count: int = 20) -> list[int]:
    logits = torch.linspace(-1, 1, V)
    sampler.begin([])
    return [int(sampler.draw(logits)) for _ in range(count)]


def test_a_seed_gives_the_same_words_whatever_else_draws_numbers():
    alone = said(Sampler(Sampling(seed=7), V, CPU))
    busy, other = Sampler(Sampling(seed=7), V, CPU), Sampler(Sampling(seed=8), V, CPU)
    logits, mixed = torch.linspace(-1, 1, V), []
    busy.begin([])
    for _ in range(20):
        torch.rand(3)
        other.draw(logits)
        mixed.append(int(busy.draw(logits)))
    assert mixed == alone
    assert said(Sampler(Sampling(seed=8), V, CPU)) != alone
    busy.reset()
    assert said(busy) == alone


def test_other_settings_go_on_with_the_random_numbers_and_another_seed_starts_them_again():
    sampler = Sampler(Sampling(seed=7), V, CPU)
    first, reached = said(sampler), sampler.state
    sampler.adjust(Sampling(seed=7, temperature=2.0))
    assert torch.equal(sampler.state, reached)
    sampler.adjust(Sampling(seed=8))
    sampler.adjust(Sampling(seed=7))
    assert said(sampler) == first


def test_random_numbers_go_on_from_a_state():
    sampler, other = Sampler(Sampling(seed=7), V, CPU), Sampler(Sampling(seed=8), V, CPU)
    said(sampler)
    other.state = sampler.state
    assert said(other) == said(sampler)


@pytest.mark.parametrize(('share', 'kept'), [(0.0, 1), (1e-9, 1), (0.5, 1), (0.81, 2), (1.0, 4)])
def test_top_p_keeps_the_best_up_to_its_share_and_always_one(share, kept):
    scores = torch.tensor([0.6, 0.3, 0.07, 0.03]).log()
    assert int(keep_top_p(scores, share).isfinite().sum()) == kept


def test_top_p_among_equals_keeps_as_many_as_its_share():
    assert int(keep_top_p(torch.zeros(4), 0.5).isfinite().sum()) == 2


def test_top_k_keeps_all_that_tie_with_the_last_one():
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0])
    assert keep_top_k(scores, 2).isfinite().tolist() == [True, False, True, True]
    assert keep_top_k(scores, 0) is scores


@pytest.mark.parametrize('place', [0, 3, V - 1])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_a_token_of_scores_that_are_no_numbers_is_not_told(value, place):
    token, logits = torch.tensor([4]), torch.linspace(-9, 9, V)
    assert checked(token, logits) == 4
    logits[place] = value
    assert checked(token, logits) == UNSOUND
    assert checked(token, torch.full((V,), value)) == UNSOUND
