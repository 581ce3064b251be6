# SPDX-License-Identifier: Apache-2.0
"""How far one model's words are another's: what quantising costs in quality.

The first model tells a synthetic camera. The second sees the same frames, is given the words of
the first, and says for each what it would have said instead; so a first difference does not make
all that follows incomparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from svlm_core.config import Sampling, StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.exam import with_gold_history
from svlm_core.synthetic.story import Story, seed_to_test


@dataclass(frozen=True)
class Agreement:
    """Over all tokens that the first model said greedily.

    `same` is the share of them that are the other's first choice too; `divergence` is the mean
    Kullback-Leibler divergence of the other's distribution, in nats. `right` are the shares of
    seconds that either tells right with true history, for who knows the synthetic world.
    """

    tokens: int
    same: float
    divergence: float
    right: tuple[float, float]


def agreement(
    one: StreamingVLM, other: StreamingVLM, settings: StreamSettings, worlds: int, seconds: int
) -> Agreement:
    """Hold `other` against `one` on `seconds` of so many worlds."""
    greedy = replace(settings, sampling=Sampling(temperature=0, repetition_penalty=1))
    same: list[Tensor] = []
    apart: list[Tensor] = []
    right: list[tuple[bool, bool]] = []
    for number in range(worlds):
        story = Story(seed_to_test(number))
        leads, follows = one.open(greedy), other.open(greedy)
        for second in range(seconds):
            frames, start = story.frames(second), float(second)
            tokens = list(leads.tokens(frames, start))
            ids = torch.tensor([token.id for token in tokens])
            theirs = follows.follow(frames, start, ids.tolist()).cpu()  # (n, V)
            ours = torch.stack([token.logits.cpu() for token in tokens])  # (n, V)
            same.append(theirs.argmax(-1) == ids)
            apart.append(_divergence(ours, theirs))
        right += zip(*(_right(engine, greedy, story, seconds) for engine in (one, other)),
                     strict=True)  # fmt: skip
    first, second_ = (sum(column) / len(right) for column in zip(*right, strict=True))
    return Agreement(
        tokens=sum(map(len, same)),
        same=float(torch.cat(same).float().mean()),
        divergence=float(torch.cat(apart).mean()),
        right=(first, second_),
    )


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """How much (n,) is lost, token by token, by taking `theirs` for `ours`."""
    p, q = ours.log_softmax(-1), theirs.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _right(
    engine: StreamingVLM, settings: StreamSettings, story: Story, seconds: int
) -> Sequence[bool]:
    stream = engine.open(settings)
    return [m.right for m in with_gold_history(stream, story, range(seconds), stream.query)]
