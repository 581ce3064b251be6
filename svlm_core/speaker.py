# SPDX-License-Identifier: Apache-2.0
"""Decoding a reply, token by token, from whatever memory stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.caption import Stop, Token
from svlm_core.config import Sampling
from svlm_core.errors import CheckpointError
from svlm_core.memory import Memory
from svlm_core.model.checkpoint import Model
from svlm_core.prompt import ChatTokenizer
from svlm_core.sampling import Sampler
from svlm_core.stopwatch import Stopwatch

UNSOUND = -1  # told in the place of a token
Drawn = tuple[Tensor, Callable[[], int]]  # scores (V,), and a token that is on its way to the host


class Speaker:
    """Draws the tokens of a reply and knows when it ends; has random numbers of its own."""

    def __init__(
        self, model: Model, tokenizer: ChatTokenizer, sampling: Sampling, endless: bool = False
    ) -> None:
        self._model = model
        self._ahead = gpu.replays(model.device)
        self._stops = model.stop_ids | {tokenizer.turn_end}
        barred = self._stops if endless else ()
        self._sampler = Sampler(sampling, model.config.text.vocab_size, model.device, barred)

    def reset(self) -> None:
        """Start the random numbers again from the seed."""
        self._sampler.reset()

    @property
    def random(self) -> Tensor:
        """Where the random numbers are, as bytes (n,) uint8."""
        return self._sampler.state

    @random.setter
    def random(self, state: Tensor) -> None:
        self._sampler.state = state

    def adjust(self, sampling: Sampling) -> None:
        """Draw by other settings; the random numbers go on, or start from another seed."""
        self._sampler.adjust(sampling)

    def reply(
        self, memory: Memory, hidden: Tensor, limit: int, watch: Stopwatch
    ) -> Iterator[tuple[int, Tensor]]:
        """At most `limit` ids, with the logits (vocabulary,) each was drawn from.

        `hidden` (hidden,) is the state after the prompt. The last id is not run through the
        model: its keys come with whatever follows.
        """
        self._sampler.begin(memory.transcript.ids)
        steps = self._steps(memory, hidden, watch)
        upcoming = next(steps)
        for left in reversed(range(limit)):
            logits, told = upcoming
            # A GPU begins the next token before the host knows this one: should the reply end
            # here, that was in vain, and is overwritten. A CPU would only lose time by it.
            if left and self._ahead:
                upcoming = next(steps)
            token = self._sound(told())
            yield token, logits
            if token in self._stops or not left:
                return
            if not self._ahead:
                upcoming = next(steps)
            memory.keep()

    def stopped(self, ids: Sequence[int]) -> Stop:
        """Why a reply ended: by itself, or at its limit (or its reader's)."""
        return 'end' if ids and ids[-1] in self._stops else 'limit'

    def _steps(self, memory: Memory, hidden: Tensor, watch: Stopwatch) -> Iterator[Drawn]:
        """Endless tokens, each launched when it is asked for; nothing here waits for one."""
        with watch('decode'):
            logits = self._score(hidden)
        while True:
            with watch('sample'):
                token = self._sampler.draw(logits)
                told = gpu.fetch(checked(token, logits))
            yield logits, told
            with watch('decode'):
                logits = memory.say(token)

    @torch.inference_mode()
    def _score(self, hidden: Tensor) -> Tensor:
        return self._model.language.logits(hidden)  # (V,) float32

    def _sound(self, token: int) -> int:
        if token == UNSOUND:
            raise CheckpointError(
                f'{self._model.folder} computes scores that are no numbers in '
                f'{self._model.dtype}: try dtype=bfloat16 or float32, or download it again'
            )
        return token


@torch.inference_mode()
def checked(token: Tensor, logits: Tensor) -> Tensor:
    """The token (1,), or UNSOUND if it was drawn from scores (V,) that are no numbers."""
    low, high = logits.aminmax()  # no number, if there is one that is none
    return torch.where(high - low < torch.inf, token, UNSOUND)


def spoken(
    drawn: Iterable[tuple[int, Tensor]], ids: list[int], words: Callable[[Sequence[int]], str]
) -> Iterator[Token]:
    """Tokens with the text so far; `ids` gathers what was drawn, `words` turns ids into text.

    A character that is still incomplete is held back.
    """
    said = ''
    for token, logits in drawn:
        ids.append(token)
        text = words(ids).rstrip('\ufffd')
        delta = text[len(said) :] if text.startswith(said) else ''
        said = text
        yield Token(token, text, delta, logits)
