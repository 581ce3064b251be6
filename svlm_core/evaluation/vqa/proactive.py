# SPDX-License-Identifier: Apache-2.0
"""Words that are to be said when something happens: the model is polled, second by second.

As StreamingBench does it. Every second from the question on, the model is asked whether it is
time, and the words themselves are in that question. Once it says yes, it is asked to say them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa.protocol import Ask, Reading
from svlm_core.evaluation.vqa.question import Question

TOLERANCE = 2.0  # seconds by which words may be early or late

Reply = TypeVar('Reply')


@dataclass(frozen=True)
class Poll:
    """One exchange: at which second, and what was said to it."""

    second: float
    text: str


def await_words(
    question: Question, ask: Callable[[float, Ask], Reply], text: Callable[[Reply], str]
) -> tuple[list[Poll], Reply]:
    """Ask every second until it is time; the exchanges, and the last reply.

    Raises SourceError for a question with no second to ask in.
    """
    assert question.asked is not None
    assert question.end is not None
    second, polls, reply = question.asked + 1, list[Poll](), None
    while second <= question.end:
        reply = ask(second, is_it_time(question))
        polls.append(Poll(second, text(reply)))
        if 'yes' in polls[-1].text.strip().lower():
            reply = ask(second, now_say_it(question))
            polls.append(Poll(second, text(reply)))
            break
        second += 1
    if reply is None:
        raise SourceError(f'question {question.id} is asked after its words are due')
    return polls, reply


def is_it_time(question: Question) -> Ask:
    return _asked(_is_it_time(question.text, question.answer))


def _is_it_time(text: str, words: str | None) -> str:
    return f'{text} Is it the right time to output "{words}"? You can only answer yes or no.'


def now_say_it(question: Question) -> Ask:
    return _asked(question.text)


def _asked(text: str) -> Ask:
    return Ask(
        'You are an advanced image question-answering AI assistant. You have been provided with '
        'images and a question related to the images. Your task is to carefully analyze the '
        'images and provide the answer to the question. You need to carefully confirm whether '
        'the images content meet the conditions of the question, and then output the correct '
        f'content.\n\nQuestion: {text}\n\nThe answer is:\n'
    )


def dialog(text: str, words: str | None, polls: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The exchanges about a question, second and reply, as the authors' script keeps them.

    All but `cost`, the seconds that a reply took, which nothing is counted by.
    """
    said = len(polls) > 1 and polls[-1][0] == polls[-2][0]  # two in one second: it was time
    history = list[dict[str, Any]]()
    for number, (second, reply) in enumerate(polls, 1):
        asked = text if said and number == len(polls) else _is_it_time(text, words)
        for role, content in (('user', asked), ('assistant', reply)):
            history.append({'role': role, 'content': content, 'time': second})
    return {'answered': said and polls[-1][0], 'dialog_history': history}


def official(question: Question, polls: list[Poll]) -> Reading:
    """The authors' rule: the last message came in time, and the words occur in it.

    'Yes' counts in any word that holds it; a 'no' may be the last message.
    """
    last = polls[-1]
    return Reading(last.text, _timely(question, last) and str(question.answer) in last.text)


def strict(question: Question, polls: list[Poll]) -> Reading:
    """A plain yes in time, and then the words and nothing else."""
    agreed = len(polls) > 1 and _plain(polls[-2].text) == 'yes'
    if not agreed or polls[-1].second != polls[-2].second:
        return Reading('', False)
    said = polls[-1].text
    right = _timely(question, polls[-1]) and _plain(said) == _plain(str(question.answer))
    return Reading(said, right)


def _timely(question: Question, poll: Poll) -> bool:
    return abs(poll.second - (question.due or 0.0)) <= TOLERANCE


def _plain(text: str) -> str:
    return text.strip().strip('."\'! ').casefold()
