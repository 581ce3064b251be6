# SPDX-License-Identifier: Apache-2.0
"""An exam of questions about single chunks, each asked of a stream that saw that chunk alone.

The stream forgets nothing and is told the true captions, so what is tried is what a model can say
of what it sees, in answer to a question, and not its memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svlm_core.capacity import whole_stream
from svlm_core.card import suited
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.exam import with_gold_history
from svlm_core.prompt import Prompt
from svlm_core.synthetic.questions import QUESTIONS, ask
from svlm_core.synthetic.story import Story

CHUNKS = 16  # of each world, every question about each
QUIZ: dict[str, Any] = {'policy': 'full_attention', 'ask_tokens': 64}  # settings


@dataclass(frozen=True)
class Quiz:
    """One exam of a model: questions about chunks of `clip` seconds of the first `seconds`.

    The model sees the last `shown` seconds of each; None: all of it.
    """

    model: Path | None
    seed: int
    seconds: int
    clip: int
    shown: int | None = None


@dataclass(frozen=True)
class Answered:
    """How a question about the chunk that ends after `second` was answered."""

    second: int
    skill: str  # the kind of question
    truth: str
    said: str
    right: bool


def answered(engine: StreamingVLM, quiz: Quiz) -> Iterator[Answered]:
    """The answers to all questions of a quiz."""
    settings = suited('robot', quiz.model, **QUIZ)
    prompt = Prompt(engine.tokenizer, settings)
    room = whole_stream(prompt, settings, quiz.clip)
    stream, story = engine.open(replace(settings, capacity=room)), Story(quiz.seed)
    shown = quiz.shown or quiz.clip
    for number in range(CHUNKS):
        first = number * max(quiz.seconds - quiz.clip, 0) // CHUNKS
        seconds = range(first, first + quiz.clip)
        stream.reset()
        for _ in with_gold_history(stream, story, seconds[-shown:], settings.query):
            continue
        for kind in QUESTIONS:
            question = ask(kind, [story.second(second) for second in seconds])
            said = stream.fork().ask(question.text).text
            right = question.answered(said)
            yield Answered(seconds[-1], kind, question.answer, said, right)
