# SPDX-License-Identifier: Apache-2.0
"""Reading an answer out of a response: our strict rule, and the rule that three toolkits share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from svlm_core.evaluation.vqa.protocol import Reading
from svlm_core.evaluation.vqa.question import Question

# As published: two commas are missing, so that four of these never match.
PREFIXES = (
    'The best answer is',
    'The correct answer is',
    'The answer is',
    'The answer',
    'The best option isThe correct option is',
    'Best answer:Best option:',
    'Answer:',
    'Option:',
)


def strict(question: Question, response: str | None) -> Reading:
    """The answer, if the response is nothing but an answer; all else is wrong, silence too.

    A letter may stand in brackets, before a dot, and before the words of its own option.
    """
    said = _said(question, (response or '').strip())
    right = None if question.answer is None else said == question.answer
    return Reading(said, right)


def _said(question: Question, response: str) -> str:
    if question.kind == 'count':
        found = re.fullmatch(r'0*(\d+)\.?', response)
        return found[1] if found else ''
    if question.kind == 'yes_no':
        found = re.fullmatch(r'(yes|no)[.!]?', response, re.IGNORECASE)
        return found[1].capitalize() if found else ''
    if question.kind == 'output':
        return response
    found = re.fullmatch(r'\(?([A-Z])[).:]*(?:\s+(.*))?', response, re.DOTALL)
    if not found or found[1] not in question.letters:
        return ''
    option = question.options[question.letters.index(found[1])]
    return found[1] if not found[2] or _plain(found[2]) == _plain(option) else ''


def _plain(text: str) -> str:
    return text.casefold().strip(' .\n')


def first_capital(response: str, letters: str, prefixes: Sequence[str] = PREFIXES) -> str:
    """The published rule: the first of these capitals, whatever word it begins.

    'An apple' is an A; 'Best option: C' a B, since that phrase is never removed. Empty for none.
    """
    rest = response.strip()
    for prefix in prefixes:
        rest = rest.replace(prefix, '')
    found = re.search(f'[{letters}]', rest)
    return found[0] if found else ''
