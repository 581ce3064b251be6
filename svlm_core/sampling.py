# SPDX-License-Identifier: Apache-2.0
"""Drawing the next token from logits: repetition penalty, temperature, top-k, top-p, seed.

The order and the meaning of the steps are those of Hugging Face's logits processors, so that
the same settings give the same distribution.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.config import Sampling


class Sampler:
    """Draws tokens for one stream, with a random generator of its own; never those `barred`."""

    def __init__(
        self,
        settings: Sampling,
        vocabulary: int,
        device: torch.device,
        barred: Collection[int] = (),
    ) -> None:
        self._settings = settings
        self._barred = torch.tensor(sorted(barred), dtype=torch.long, device=device)  # (n,)
        self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)  # (V,)
        self._generator = torch.Generator(device)
        self.reset()

    def reset(self) -> None:
        """Start the random numbers again from the seed."""
        self._generator.manual_seed(self._settings.seed)

    @property
    def state(self) -> Tensor:
        """Where the random numbers are: bytes (n,) uint8, their number as the device has it."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def adjust(self, settings: Sampling) -> None:
        """Draw by other settings; the random numbers go on, or start from another seed."""
        before, self._settings = self._settings, settings
        if settings.seed != before.seed:
            self.reset()

    def begin(self, retained: Collection[int]) -> None:
        """Start a reply: the penalty sees every id in memory (and those drawn from now on)."""
        ids = gpu.upload(np.fromiter(retained, np.int64), self._seen.device)  # (n,)
        self._seen.zero_().index_fill_(0, ids, True)

    @torch.inference_mode()
    def draw(self, logits: Tensor) -> Tensor:
        """The next token id (1,), from logits (V,) float32. Nothing here waits for the device."""
        scores = penalise(logits, self._seen, self._settings.repetition_penalty)
        if len(self._barred):
            scores = scores.index_fill(0, self._barred, -torch.inf)
        token = self._choose(scores)
        self._seen.index_fill_(0, token, True)
        return token

    def _choose(self, scores: Tensor) -> Tensor:
        if self._settings.temperature == 0:
            return scores.argmax(0, keepdim=True)
        scores = keep_top_k(scores / self._settings.temperature, self._settings.top_k)
        probabilities = keep_top_p(scores, self._settings.top_p).softmax(-1)
        # What torch.multinomial does for one draw, without its checks, which wait for the device.
        noise = torch.empty_like(probabilities).exponential_(generator=self._generator)
        return (probabilities / noise).argmax(0, keepdim=True)


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (V,) in which seen tokens are less likely by `penalty`."""
    # The product of what is negative, else the quotient: always the lower one, or, where the
    # penalty is a bonus, always the higher.
    chosen = torch.minimum if penalty >= 1 else torch.maximum
    return torch.where(seen, chosen(logits * penalty, logits / penalty), logits)


def keep_top_k(scores: Tensor, count: int) -> Tensor:
    """Scores (V,) with all but the best `count` at minus infinity; 0 keeps all."""
    if not 0 < count < len(scores):
        return scores
    return scores.masked_fill(scores < scores.topk(count).values[-1], -torch.inf)


def keep_top_p(scores: Tensor, share: float) -> Tensor:
    """Scores (V,) with the least likely tokens beyond probability `share` at minus infinity."""
    if share >= 1:
        return scores
    ordered, order = scores.sort(descending=False)
    unlikely = ordered.softmax(-1).cumsum(-1) <= 1 - share
    unlikely[-1:].fill_(False)  # the best token always stays; to assign False waits for a device
    return scores.masked_fill(torch.zeros_like(unlikely).scatter(0, order, unlikely), -torch.inf)
