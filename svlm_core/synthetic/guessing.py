# SPDX-License-Identifier: Apache-2.0
"""How far one gets by guessing the word that a caption is asked for, without what it rests on.

Each way of guessing knows one thing besides the skill, such as the cue or what was said last. It
learns the best answer for it from some worlds and is tried on others. The best of them is the
level that eyes or a memory have to beat.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from svlm_core.synthetic.script import ACT, OPENING, Second, second


@dataclass(frozen=True)
class Question:
    """A spoken second, and what was answered before it."""

    second: Second
    before: str  # the last answer of all
    likewise: str  # the last answer of this kind

    @property
    def cue(self) -> tuple[str, ...]:
        """What the frames show of the caption beforehand; nothing of an event."""
        return () if self.second.skill == 'event' else self.second.meaning.words[:-1]

    @property
    def answer(self) -> str:
        """What to guess: the last word, or all of an event."""
        words = self.second.meaning.words
        return self.second.caption if self.second.skill == 'event' else words[-1]


WAYS: dict[str, Callable[[Question], Hashable]] = {
    'nothing': lambda question: None,
    'the cue': lambda question: question.cue,
    'the light now': lambda question: question.second.sight.lamp,
    'the last answer': lambda question: question.before,
    'the last answer of its kind': lambda question: question.likewise,
    'the act': lambda question: (question.second.index - OPENING) // ACT,
    'the cue and the act': lambda question: (
        question.cue,
        (question.second.index - OPENING) // ACT,
    ),
}


def best_guesses(
    learn: Iterable[int], test: Iterable[int], seconds: int
) -> dict[str, tuple[str, float]]:
    """By skill, what is best known for guessing and which part of the answers it gets right.

    `learn` and `test` are seeds of worlds, of which the first `seconds` are taken.
    """
    tables: dict[tuple[str, str], dict[Hashable, Counter[str]]] = defaultdict(
        lambda: defaultdict(Counter)
    )
    for question in questions(learn, seconds):
        for way, known in WAYS.items():
            tables[question.second.skill, way][known(question)][question.answer] += 1
    right: Counter[tuple[str, str]] = Counter()
    asked: Counter[str] = Counter()
    for question in questions(test, seconds):
        skill = question.second.skill
        asked[skill] += 1
        for way, known in WAYS.items():
            seen = tables[skill, way][known(question)]
            right[skill, way] += bool(seen) and seen.most_common(1)[0][0] == question.answer
    scores = {skill: {way: right[skill, way] / asked[skill] for way in WAYS} for skill in asked}
    return {skill: max(of.items(), key=lambda pair: pair[1]) for skill, of in scores.items()}


def questions(seeds: Iterable[int], seconds: int) -> Iterable[Question]:
    """Every spoken second of these worlds."""
    for seed in seeds:
        before, likewise = '', dict[str, str]()
        for index in range(seconds):
            now = second(seed, index)
            if now.meaning.words:
                kind = 'event' if now.skill == 'event' else now.meaning.sentence
                question = Question(now, before, likewise.get(kind, ''))
                yield question
                before = likewise[kind] = question.answer
