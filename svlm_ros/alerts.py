# SPDX-License-Identifier: Apache-2.0
"""Conditions that an operator wants to be told of: patterns in captions, questions to the model.

Each is written `name: condition`. Between slashes (`/smoke|fire/`) the condition is a regular
expression; else, where it has a blank and ends with a question mark, a question, and an answer
that begins with yes meets it; else a regular expression too. Case never matters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from svlm_core.errors import SettingsError

YES = re.compile(r'\W*yes\b', re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """One condition, by its name; `pattern` is searched in captions, None for a question."""

    name: str
    condition: str
    pattern: re.Pattern[str] | None

    @property
    def question(self) -> str:
        """What the model is asked, where the condition is a question."""
        return f'{self.condition} Answer yes or no.'


def parse(entries: Iterable[str]) -> tuple[Rule, ...]:
    """The rules in a list of `name: condition`.

    Raises SettingsError that names the entry which is none, or whose name is there twice.
    """
    rules: dict[str, Rule] = {}
    for entry in entries:
        rule = _rule(entry)
        if rule.name in rules:
            raise SettingsError(f'alerts: the name {rule.name!r} is there twice')
        rules[rule.name] = rule
    return tuple(rules.values())


class Alerts:
    """Which rules a stream meets, each at most once in `period` seconds of the stream.

    One for each camera. Not thread-safe: it belongs to the thread that writes the captions.
    """

    def __init__(self, rules: tuple[Rule, ...], period: float) -> None:
        self._rules, self._period = rules, period
        self._fired: dict[str, float] = {}  # when, in seconds of stream, by name
        self._asked: dict[str, int] = {}  # in which turn, by name
        self._turns = count()

    def change(self, rules: tuple[Rule, ...], period: float) -> None:
        """Follow other rules from now on; a name that stays keeps the time of its last alert."""
        self._rules, self._period = rules, period

    def heard(self, text: str, now: float) -> list[Rule]:
        """The patterns that a finished caption meets at stream second `now`."""
        met = [r for r in self._rules if r.pattern is not None and r.pattern.search(text)]
        return [rule for rule in met if self._fire(rule, now)]

    def due(self, now: float) -> list[Rule]:
        """The questions to ask of the model after a caption, longest unasked first.

        One that was met within the period is not asked again before its end.
        """
        questions = [r for r in self._rules if r.pattern is None and self._rested(r, now)]
        return sorted(questions, key=lambda rule: self._asked.get(rule.name, -1))

    def answered(self, rule: Rule, answer: str, now: float) -> bool:
        """Whether an answer of the model is an alert; never for a rule that is gone."""
        self._asked[rule.name] = next(self._turns)
        return rule in self._rules and YES.match(answer) is not None and self._fire(rule, now)

    def _fire(self, rule: Rule, now: float) -> bool:
        rested = self._rested(rule, now)
        if rested:
            self._fired[rule.name] = now
        return rested

    def _rested(self, rule: Rule, now: float) -> bool:
        last = self._fired.get(rule.name)
        # A stream that began anew counts from 0 again: what is later than now was another time.
        return last is None or not last <= now < last + self._period


def _rule(entry: str) -> Rule:
    name, _, condition = (part.strip() for part in entry.partition(':'))
    if not name or not condition:
        raise SettingsError(
            f'alerts: {entry!r} is none: write a name, a colon, and a question or a regular '
            'expression'
        )
    slashed = len(condition) > 2 and condition[0] == condition[-1] == '/'
    if not slashed and condition.endswith('?') and ' ' in condition:
        return Rule(name, condition, None)
    try:
        pattern = re.compile(condition[1:-1] if slashed else condition, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(
            f'alerts: {entry!r} has no valid regular expression ({error})'
        ) from error
    return Rule(name, condition, pattern)
