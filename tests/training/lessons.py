# SPDX-License-Identifier: Apache-2.0
"""What the tests of training share: a small stream with words, and a model made to say them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from svlm_core import Stream, StreamingVLM, StreamSettings
from svlm_core.training.samples import Composer, Moment

SAID = ('A red circle enters.', '', 'The blue square waits.', 'It is gone.', '')


def words(second: int) -> str:
    """What is said of a second; every fifth is like another, two of five are silent."""
    return f'{second} {SAID[second % 5]}' if SAID[second % 5] else ''


def frames(second: int, height: int = 112, width: int = 112, fps: int = 2) -> np.ndarray:
    """The frames of a second, (fps, height, width, 3) uint8: noise of its own."""
    draws = np.random.default_rng([second, height, width])
    return draws.integers(0, 256, (fps, height, width, 3), np.uint8)


def moments(
    first: int, count: int, height: int = 112, width: int = 112, fps: int = 2
) -> list[Moment]:
    """`count` seconds from `first` on."""
    seconds = range(first, first + count)
    return [Moment(float(i), frames(i, height, width, fps), words(i)) for i in seconds]


def composer(engine: StreamingVLM, settings: StreamSettings, budget: int = 24576) -> Composer:
    """A composer of samples for the model of an engine."""
    return Composer(engine.tokenizer, engine._model.config, settings, budget)


@contextmanager
def made_to_say(stream: Stream, maker: Composer, first: int, last: int) -> Iterator[list[Tensor]]:
    """Run seconds `first` to `last` of a stream whose model says what it is told.

    Yields the scores (vocabulary,) that it would have drawn from, token by token.
    """
    due: list[int] = []
    with told(stream, due) as scores:
        for second in range(first, last):
            due.extend(maker.reply(stream.prompt, second, words(second)).ids)
            stream.step(frames(second, fps=stream.settings.frames_per_round), float(second))
        yield scores


@contextmanager
def told(stream: Stream, due: list[int]) -> Iterator[list[Tensor]]:
    """Let the model of a stream say the tokens that are `due`; yields what it would have."""
    language = stream.model.language
    score, scores = language.logits, []

    def say(state: Tensor) -> Tensor:
        scores.append(score(state))
        return torch.nn.functional.one_hot(torch.tensor(due.pop(0)), len(scores[-1])).float()

    language.logits = say  # type: ignore[method-assign]
    try:
        yield scores
    finally:
        del language.logits
