# SPDX-License-Identifier: Apache-2.0
"""Judges that compare two commentaries with a reference: one counts, one is a language model.

Nobody who says nothing wins: a model is not asked about that, and nothing beats nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from svlm_core.endpoints.asking import ask
from svlm_core.endpoints.chat import Chat, Message
from svlm_core.evaluation.judging import Bout, Judge, Ruling
from svlm_core.replay.agreement import match, words
from svlm_core.shapes import Misfit

NEAR = 5  # seconds by which a word may come sooner or later
EVENT = 2  # seconds by which speaking at all may
LONGEST = 8000  # characters that a model is shown of each text, as published

TASK = """You compare two live commentaries, A and B, on the same stretch of a video. The \
reference is what a human commentator said there. Decide which of the two is better:

1. First, whether it sounds like live commentary: it follows what happens as it happens, at the \
pace of a broadcast and with feeling that fits the moment, and does not merely describe a picture.
2. Then, whether what it says is right: it agrees with the reference in events, names and scores, \
and does not contradict itself.

Neither length nor the order in which they are shown counts. You must choose one. Answer with a \
single letter, A or B."""

ALIGNED = """You compare two commentaries, A and B, on the same event in a video of sports. The \
reference is what a human commentator said there. Decide which of the two comes closer to it:

1. First in meaning: it tells the same things, with the same details and main points.
2. If that does not decide, in manner: its tone, its choice of words and its build are alike.

Neither length nor the order in which they are shown counts. You must choose one. Answer with a \
single letter, A or B."""


def by_agreement(bout: Bout) -> Ruling:
    """The judge that needs no network: who agrees more with the reference is better.

    Agreement is the mean of two F1: of words, each matched by the same word at most NEAR seconds
    away, and of events, the seconds in which anything is said, matched at most EVENT away.
    """
    first, second = (agreement(said, bout.truth) for said in (bout.first, bout.second))
    return Ruling(0.5 if first == second else float(first > second))


def agreement(said: Sequence[str], truth: Sequence[str]) -> float:
    """How far a commentary agrees with a reference, from 0 to 1."""
    ours, theirs = (dict(enumerate(map(words, texts))) for texts in (said, truth))
    spoken, wanted = (
        {second: ['.'] * bool(found) for second, found in texts.items()}
        for texts in (ours, theirs)
    )
    return (_f1(ours, theirs, NEAR) + _f1(spoken, wanted, EVENT)) / 2


def by_model(chat: Chat, task: str = TASK) -> Judge:
    """A judge that asks a language model, and again if it answers no letter; then None.

    `task` says what is better: TASK for commentary of whole games, ALIGNED for single events.
    """

    def judge(bout: Bout) -> Ruling:
        first, second = _text(bout.first), _text(bout.second)
        if not first or not second:
            return Ruling(0.5 if first == second else float(bool(first)))
        told = [
            f'Title: {bout.about}' if bout.about else '',
            f'Reference:\n{_text(bout.truth)}',
            f'Commentary A:\n{first}',
            f'Commentary B:\n{second}',
            'Which is better, A or B?',
        ]
        messages: list[Message] = [
            {'role': 'system', 'content': task},
            {'role': 'user', 'content': '\n\n'.join(part for part in told if part)},
        ]
        answer = ask(chat, messages, _letter)
        return Ruling(answer.value, answer)

    return judge


def _letter(text: str) -> float:
    """The vote in a reply. Published code took whatever did not begin with A for a B."""
    letter = text.strip().strip('.*"\'()[]` ').upper()
    if letter not in ('A', 'B'):
        raise Misfit('the answer', 'must be a single letter, A or B')
    return float(letter == 'A')


def _text(seconds: Sequence[str]) -> str:
    """What was said, clipped as published."""
    return ' '.join(text for text in seconds if text)[:LONGEST]


def _f1(ours: dict[int, list[str]], theirs: dict[int, list[str]], tolerance: int) -> float:
    """The share of words on both sides that find a partner; 1 where both are silent."""
    total = sum(map(len, (*ours.values(), *theirs.values())))
    pairs = sum(match(ours, theirs, tolerance)[0].values())
    return 2 * pairs / total if total else 1.0
