# SPDX-License-Identifier: Apache-2.0
"""Recitals: what was told is told again, in the dark. They teach to read before there is to see.

Previous text holds a few codes and robots of the synthetic world; one round without light says
some of them again, each robot one dock further every time. Only the numbers are learnt: what comes
next cannot be known. What to say stands there in words, so finding it is learnt in minutes; among
pictures it takes an hour. Most recitals are short: from one code a model learns to repeat, from
two to choose.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from svlm_core.synthetic.captions import COLORS, NUMBERS, ROBOTS, Meaning
from svlm_core.synthetic.script import DOCKS
from svlm_core.training.recipe import Recitals
from svlm_core.training.samples import Composer, Moment, Sample

CODES = {1: 0.35, 2: 0.30, 3: 0.15, 4: 0.10, 8: 0.10}  # how many are told, and how often
COMINGS = {0: 0.30, 1: 0.30, 2: 0.25, 4: 0.15}  # robots that are told of, likewise
ROUNDS = 2  # of robots: where each is was told so often
ASKED = 10  # sentences of a recital
LATEST = 1800  # seconds of stream


class RecitalSource:
    """Recitals, each a pure function of the recipe and its number."""

    run = 1

    def __init__(self, settings: Recitals, composer: Composer) -> None:
        self._settings, self._composer = settings, composer
        frames, size = composer.settings.frames_per_round, settings.size
        words = composer.tokenizer.words
        self._numbers = torch.tensor([id for number in NUMBERS for id in words(number)])
        self._dark = np.zeros((frames, size, size, 3), np.uint8)

    def __len__(self) -> int:
        return self._settings.samples

    def __getitem__(self, index: int) -> Sample:
        draws = np.random.default_rng([self._settings.seed, index])
        told, asked = recital(draws)
        second = int(draws.integers(1, LATEST))
        moment = Moment(float(second), self._dark, ' '.join(map(str, asked)))
        sample = self._composer.compose([moment], list(map(str, told)), second)
        numbers = torch.isin(sample.labels, self._numbers)
        return replace(sample, asked=sample.asked[numbers], labels=sample.labels[numbers])


def recital(draws: np.random.Generator) -> tuple[list[Meaning], list[Meaning]]:
    """What was told, and what is to be told now.

    What is told now is drawn anew each time. Were everything told once, the last could be known by
    leaving out the others, and models do learn that first.
    """
    keys = draws.permutation(COLORS)[: _drawn(draws, CODES)]
    numbers = draws.permutation(len(NUMBERS))[: len(keys)]
    codes = [Meaning('code', (str(k), NUMBERS[n])) for k, n in zip(keys, numbers, strict=True)]
    coming = list(map(str, draws.permutation(ROBOTS)[: _drawn(draws, COMINGS)]))
    docks = {robot: int(draws.integers(DOCKS)) for robot in coming}

    def comes(robot: str) -> Meaning:
        docks[robot] = docks[robot] % DOCKS + 1
        return Meaning('dock', (robot, NUMBERS[docks[robot]]))

    told = [*codes, *(comes(r) for _ in range(ROUNDS) for r in draws.permutation(coming))]
    chosen = [draws.integers(len(codes) + len(coming)) for _ in range(ASKED)]
    asked = [codes[n] if n < len(codes) else comes(coming[n - len(codes)]) for n in chosen]
    return told, asked


def _drawn(draws: np.random.Generator, odds: dict[int, float]) -> int:
    return int(draws.choice(list(odds), p=list(odds.values())))
