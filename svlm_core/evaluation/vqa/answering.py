# SPDX-License-Identifier: Apache-2.0
"""What answers a question: a stream that has watched, or a model that is shown frames at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from torch import Tensor

from svlm_core.config import Sampling
from svlm_core.evaluation.vqa.protocol import Ask
from svlm_core.evaluation.vqa.question import Question
from svlm_core.prompt import ChatTokenizer

LIKELIEST = Sampling(temperature=0, repetition_penalty=1)

Telling = Callable[[Sequence[str]], Ask]  # what is asked, given the subtitles that were seen


@dataclass(frozen=True)
class Reply:
    """What was answered, to what, and what was seen of the video.

    `frames` are those before the model when it answered, of `pixels` (height, width) each; `seen`
    are the seconds from the first of them to the last.
    """

    text: str
    asked: Ask
    frames: int
    pixels: tuple[int, int]
    seen: tuple[float, float]
    tokens: int  # before the model, the question included


class Answering(Protocol):
    """Someone to ask. `name` says how they see; `until` is the last second they may see.

    Raises SourceError, FrameError or MemoryFull where a question cannot be asked.
    """

    name: str

    def ask(self, question: Question, until: float | None, tell: Telling) -> Reply: ...


def spoken(drawn: Iterable[tuple[int, Tensor]], ask: Ask, tokenizer: ChatTokenizer) -> str:
    """The response, from ids as they are drawn with the scores (vocabulary,) of each."""
    if ask.choices:
        _, scores = next(iter(drawn))
        ids = [choice_id(choice, ask.begun, tokenizer) for choice in ask.choices]
        return ask.choices[int(scores[ids].argmax())]
    ids = [i for i, _ in islice(drawn, ask.tokens) if i not in tokenizer.special]
    if ids and ids[-1] == tokenizer.terminator:
        ids.pop()
    return tokenizer.decode(ids).strip()


def choice_id(choice: str, begun: str, tokenizer: ChatTokenizer) -> int:
    """The token that stands for a choice, behind the last character of what is begun."""
    return tokenizer.encode(f'{begun[-1:]}{choice}')[-1]
