# SPDX-License-Identifier: Apache-2.0
"""What the engine says: one token as it comes, and the finished caption of a round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # curation speaks of replies where no engine is
    from torch import Tensor

TERMINATOR = ' ...'  # every trained reply ends with it: the commentary goes on

Stop = Literal['end', 'limit']


@dataclass(frozen=True)
class Token:
    """One token of a reply.

    `text` is the reply so far, without the terminator; `delta` is what this token added to it
    (empty while a character is incomplete). `logits` (vocabulary,) are before any penalty.
    """

    id: int
    text: str
    delta: str
    logits: Tensor = field(repr=False, compare=False)


@dataclass(frozen=True)
class Caption:
    """The reply to one round: stream seconds `start` to `end`, in the words of the model.

    `ids` are all sampled tokens, the end marker included; `stopped` says whether the model ended
    by itself or met the limit; `held` is the number of tokens in memory afterwards. `seconds`
    gives the time of each stage: look, plan, vision, prefill, decode, sample.
    """

    text: str
    start: float
    end: float
    ids: tuple[int, ...]
    stopped: Stop
    held: int
    seconds: dict[str, float]

    @property
    def silent(self) -> bool:
        """Whether the model had nothing to say in this round."""
        return not self.text


@dataclass(frozen=True)
class Answer:
    """The reply to a question about what is in memory; fields as in `Caption`.

    It rests on the frames of stream seconds `seen`, from start to end (None: on no frames), and
    on `text_tokens` of commentary: previous text, and replies in place.
    """

    question: str
    text: str
    ids: tuple[int, ...]
    stopped: Stop
    seconds: dict[str, float]
    seen: tuple[float, float] | None
    text_tokens: int
