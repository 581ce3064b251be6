# SPDX-License-Identifier: Apache-2.0
"""Ask until the answer can be used: a model is told what is wrong with its reply, and tries again.

What cannot be had is not made up: the answer says that it was refused, or is invalid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from svlm_core.endpoints.chat import Chat, Message
from svlm_core.shapes import Misfit, Shape

T = TypeVar('T')
TRIES = 3

Outcome = Literal['ok', 'refused', 'invalid']


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was answered, or None and why; `replies` are all replies, word by word.

    `model` and `dropped` are those of the last reply.
    """

    value: T | None
    outcome: Outcome
    replies: tuple[str, ...]
    problem: str = ''
    model: str = ''
    dropped: tuple[str, ...] = ()


def ask(
    chat: Chat,
    messages: Sequence[Message],
    read: Callable[[str], T],
    schema: dict[str, Any] | None = None,
    tries: int = TRIES,
) -> Answer[T]:
    """Ask, at most `tries` times, for a reply that `read` accepts; it raises Misfit otherwise."""
    talk, replies, problem = list(messages), list[str](), ''
    by: dict[str, Any] = {}
    for _ in range(tries):
        reply = chat(talk, schema)
        by = {'model': reply.model, 'dropped': reply.dropped}
        if reply.refusal:
            return Answer(None, 'refused', (*replies, reply.refusal), reply.refusal, **by)
        replies.append(reply.text)
        try:
            return Answer(read(reply.text), 'ok', tuple(replies), **by)
        except Misfit as error:
            problem = str(error)
        talk += [
            {'role': 'assistant', 'content': reply.text},
            {'role': 'user', 'content': f'This cannot be used: {problem}. Answer again.'},
        ]
    return Answer(None, 'invalid', tuple(replies), problem, **by)


def ask_json(
    chat: Chat,
    messages: Sequence[Message],
    shape: Shape,
    read: Callable[[Any], T],
    tries: int = TRIES,
) -> Answer[T]:
    """Ask for JSON of a shape; `read` makes something of it, or raises Misfit."""

    def read_text(text: str) -> T:
        content = parse(text)
        shape.check(content)
        return read(content)

    return ask(chat, messages, read_text, shape.schema(), tries)


def parse(text: str) -> Any:
    """The JSON of a reply, which may stand in a fence as models like to write it."""
    bare = text.strip()
    if bare.startswith('```') and bare.endswith('```'):
        bare = bare.strip('`').removeprefix('json')
    try:
        return json.loads(bare)
    except ValueError as error:
        raise Misfit('the reply', f'is no JSON: {error}') from error
