# SPDX-License-Identifier: Apache-2.0
"""Accuracy by the official rule and by the strict one, with intervals: videos are drawn, whole.

Questions about one video depend on each other; videos do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from svlm_core.evaluation.bootstrap import DRAWS, SPAN
from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Benchmark

BLOCK = 500  # draws at once

Right = Callable[[Answered], bool | None]


@dataclass(frozen=True)
class Slice:
    """A line of a table: the mean of its parts, each with its weight and its answers."""

    kind: str  # total, group, task, or the tag that it is about
    name: str
    parts: Sequence[tuple[float, Sequence[Answered]]]

    @property
    def answers(self) -> list[Answered]:
        return [answer for _, part in self.parts for answer in part]


@dataclass(frozen=True)
class Share:
    """Right answers in percent, with a 95 % interval, of those that count; None of none."""

    percent: float | None
    interval: tuple[float, float] | None
    counted: int


def rows(
    benchmark: Benchmark, answers: Sequence[Answered], identity: Mapping[str, Any], seed: int
) -> list[dict[str, Any]]:
    """The lines of somebody's table; each carries how it came about."""
    lines = list(slices(benchmark, answers))
    official = shares(lines, lambda answer: answer.official.right, seed)
    strict = shares(lines, lambda answer: answer.strict.right, seed)
    return [
        {
            'benchmark': benchmark.name,
            'kind': line.kind,
            'name': line.name,
            'questions': len(line.answers),
            'official': a.percent,
            'official_ci': a.interval,
            'official_counted': a.counted,
            'strict': b.percent,
            'strict_ci': b.interval,
            'answered': 100 * float(np.mean([bool(x.strict.said) for x in line.answers])),
            'failed': sum(bool(x.error) for x in line.answers),
            **identity,
        }
        for line, a, b in zip(lines, official, strict, strict=True)
    ]


def slices(benchmark: Benchmark, answers: Sequence[Answered]) -> Iterator[Slice]:
    """The lines that a table of these answers has; a total only where no group is missing."""
    by_task = _by(answers, lambda answer: answer.task)
    groups = {
        name: [by_task[task] for task in tasks if task in by_task]
        for name, tasks in benchmark.groups.items()
    }
    if all(groups.values()):
        whole = [(1 / len(of) / len(groups), part) for of in groups.values() for part in of]
        yield Slice('total', 'total', whole or [(1.0, answers)])
    for name, of in groups.items():
        if of:
            yield Slice('group', name, [(1 / len(of), part) for part in of])
    yield from (Slice('task', task, [(1.0, part)]) for task, part in by_task.items())
    for tag in benchmark.breakdown:
        found = _by(answers, _value_of(tag))
        yield from (Slice(tag, value, [(1.0, part)]) for value, part in found.items())


def _value_of(tag: str) -> Callable[[Answered], str]:
    return lambda answer: answer.tags.get(tag, '')


def _by(answers: Sequence[Answered], name: Callable[[Answered], str]) -> dict[str, list[Answered]]:
    found: dict[str, list[Answered]] = {}
    for answer in answers:
        found.setdefault(name(answer), []).append(answer)
    return found


def shares(lines: Sequence[Slice], right: Right, seed: int) -> list[Share]:
    """The share of each line, and its interval: percentiles over draws of as many videos."""
    places = {
        video: n for n, video in enumerate(sorted({a.video for s in lines for a in s.answers}))
    }
    tables = [_Table(line, right, places) for line in lines]
    once = np.ones((1, len(places)))
    random, drawn = np.random.default_rng(seed), list[np.ndarray]()
    for _ in range(0, DRAWS if places else 0, BLOCK):
        counts = random.multinomial(len(places), np.full(len(places), 1 / len(places)), BLOCK)
        drawn.append(np.stack([table.values(counts) for table in tables]))  # (lines, BLOCK)
    found = []
    for number, table in enumerate(tables):
        value = table.values(once)[0]
        draws = np.concatenate([block[number] for block in drawn])
        draws = draws[~np.isnan(draws)]
        if np.isnan(value):
            found.append(Share(None, None, 0))
            continue
        low, high = np.percentile(draws, SPAN)
        found.append(Share(float(value), (float(low), float(high)), table.counted))
    return found


class _Table:
    """Right and counted answers of a line: by part (P), and by video (V)."""

    def __init__(self, line: Slice, right: Right, places: Mapping[str, int]) -> None:
        shape = (len(line.parts), len(places))
        self._right, self._all = np.zeros(shape), np.zeros(shape)
        self._weights = np.array([weight for weight, _ in line.parts])  # (P,)
        for number, (_, part) in enumerate(line.parts):
            for answer in part:
                if (found := right(answer)) is not None:
                    self._right[number, places[answer.video]] += found
                    self._all[number, places[answer.video]] += 1

    @property
    def counted(self) -> int:
        return int(self._all.sum())

    def values(self, drawn: np.ndarray) -> np.ndarray:
        """Percent right (draws,) when each video comes so often, `drawn` (draws, V).

        A part of which nothing was drawn gives its weight to the others; nan of nothing at all.
        """
        right, counted = drawn @ self._right.T, drawn @ self._all.T  # (draws, P)
        weights = np.where(counted > 0, self._weights, 0.0)
        total = weights.sum(1)
        shares = (weights * right / np.maximum(counted, 1)).sum(1)
        return np.where(total > 0, 100 * shares / np.where(total > 0, total, 1), np.nan)
