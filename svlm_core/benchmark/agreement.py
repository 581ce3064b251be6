# SPDX-License-Identifier: Apache-2.0
"""How far one model's words are another's, and how fast it says them: what fewer bits cost.

The first model tells a synthetic camera. The second sees the same frames, is given the words of
the first, and says for each what it would have said instead; so a first difference does not make
all that follows incomparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from svlm_core.benchmark.run import Arm, Course, films, settings_of, watch
from svlm_core.config import Sampling, StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.exam import with_gold_history
from svlm_core.synthetic.story import Story, seed_to_test

SECONDS, TOKENS, VISION = 28, 10, 180  # of a stream that is timed, of a reply, of a second


@dataclass(frozen=True)
class Agreement:
    """Over all tokens that the first model said greedily.

    `same` is the share of them that are the other's first choice too; `divergence` is the mean
    Kullback-Leibler divergence of the other's distribution, in nats.
    """

    tokens: int
    same: float
    divergence: float


def agreements(
    one: StreamingVLM,
    others: Sequence[StreamingVLM],
    settings: StreamSettings,
    worlds: int,
    seconds: int,
) -> list[Agreement]:
    """Hold each of `others` against `one` on `seconds` of so many worlds."""
    same: list[list[Tensor]] = [[] for _ in others]
    apart: list[list[Tensor]] = [[] for _ in others]
    for number in range(worlds):
        story = Story(seed_to_test(number))
        leads = one.open(greedy(settings))
        follows = [other.open(greedy(settings)) for other in others]
        for second in range(seconds):
            frames, start = story.frames(second), float(second)
            tokens = list(leads.tokens(frames, start))
            ids = torch.tensor([token.id for token in tokens])
            ours = torch.stack([token.logits.cpu() for token in tokens])  # (n, V)
            for n, stream in enumerate(follows):
                theirs = stream.follow(frames, start, ids.tolist()).cpu()  # (n, V)
                same[n].append(theirs.argmax(-1) == ids)
                apart[n].append(_divergence(ours, theirs))
    return [
        Agreement(sum(map(len, said)), _mean(said), _mean(lost))
        for said, lost in zip(same, apart, strict=True)
    ]


def told_right(engine: StreamingVLM, settings: StreamSettings, worlds: int, seconds: int) -> float:
    """The share of seconds that a model tells right with true history, in the same worlds.

    It means something of a model that knows the synthetic world.
    """
    right: list[bool] = []
    for number in range(worlds):
        stream, story = engine.open(greedy(settings)), Story(seed_to_test(number))
        moments = with_gold_history(stream, story, range(seconds), stream.query)
        right += [moment.right for moment in moments]
    return sum(right) / len(right)


def paces(engines: Sequence[StreamingVLM]) -> list[float]:
    """Seconds that each takes from one token to the next: medians with the window full.

    They take turns, second by second, so that whatever else the machine does weighs on all alike.
    """
    course, arm = Course(SECONDS, VISION, SECONDS), Arm('streaming', TOKENS)
    laps = [
        watch(
            [engine.open(settings_of(engine, arm, course), endless=True)],
            films(engine, course),
            course.seconds,
        )
        for engine in engines
    ]
    gaps: list[list[float]] = [[] for _ in engines]
    for turn in zip(*laps, strict=True):
        for known, chunk in zip(gaps, turn, strict=True):
            known += chunk.gaps if chunk.second >= course.warm_up else ()
    return [median(known) for known in gaps]


def greedy(settings: StreamSettings) -> StreamSettings:
    """The same, but that the best token is always taken."""
    return replace(settings, sampling=Sampling(temperature=0, repetition_penalty=1))


def _mean(parts: Sequence[Tensor]) -> float:
    return float(torch.cat(list(parts)).float().mean())


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """How much (n,) is lost, token by token, by taking `theirs` for `ours`."""
    p, q = ours.float().log_softmax(-1), theirs.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
