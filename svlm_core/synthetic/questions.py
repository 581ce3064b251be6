# SPDX-License-Identifier: Apache-2.0
"""Questions about a few seconds of the world, with exact answers of one word.

What is asked for can be seen in the seconds themselves. None of them says anything about memory
of what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from svlm_core.synthetic.captions import SIDES
from svlm_core.synthetic.script import Second

NONE, YES, NO = 'none', 'yes', 'no'


@dataclass(frozen=True)
class Question:
    """A question of a `kind` of QUESTIONS, and its answer."""

    kind: str
    text: str
    answer: str

    def answered(self, said: str) -> bool:
        """Whether what was said is the answer; case, spaces and full stop make no difference."""
        return said.strip().removesuffix('.').rstrip().lower() == self.answer


def ask(kind: str, seconds: Sequence[Second]) -> Question:
    """The question of a kind of QUESTIONS about these seconds, of which there is at least one."""
    text, answer = QUESTIONS[kind]
    return Question(kind, text, answer(seconds))


def _robot(seconds: Sequence[Second]) -> str:
    return next((now.sight.robot for now in reversed(seconds) if now.sight.robot), NONE)


def _was_in(side: str) -> Callable[[Sequence[Second]], str]:
    def answer(seconds: Sequence[Second]) -> str:
        floors = (floor for now in seconds for floor in (now.sight.before, now.sight.after))
        return YES if any(thing.place == side for floor in floors for thing in floor) else NO

    return answer


QUESTIONS: dict[str, tuple[str, Callable[[Sequence[Second]], str]]] = {
    'light at first': ('What color was the light at the start?', lambda s: s[0].sight.lamp),
    'light at last': ('What color is the light now?', lambda s: s[-1].sight.lamp),
    'robot': ('Which robot came last?', _robot),
    **{
        f'{side} zone': (f'Was there a shape in the {side} zone?', _was_in(side)) for side in SIDES
    },
}
