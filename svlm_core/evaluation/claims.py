# SPDX-License-Identifier: Apache-2.0
"""What the paper says and what svlm adds, as comparisons with a direction and a margin.

This table was written before the models were trained and before the worlds were seen that it is
tried on. A claim compares two sides, stream by stream. It holds when the 95 % interval of the
difference lies on the claimed side of 0; a claim of equality, when it lies within the margin.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from svlm_core.evaluation.bootstrap import Interval, differences, interval, mean
from svlm_core.evaluation.conditions import CHANGE, CHUNK
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.measures import EVER, Cost, Measure, Right, Span
from svlm_core.training.lab import BASE, TRUNK

Wanted = Literal['more', 'less', 'as good']
MARGIN = 0.03  # share of seconds told right within which two sides are as good as each other

EARLY, PAST = Span(0, CHUNK), Span(120, EVER)  # within the training length; 5 times beyond it
LONG = Span(600, EVER)
FIRST, LAST = Span(60, 120), Span(420, 480)  # minutes, of streams of 8 and more
QUESTIONS = 'questions'  # the condition of those who are asked about single chunks
CHANGED = Span(CHANGE + 40, EVER)  # neither vision nor text in place goes back to the change


@dataclass(frozen=True)
class Side:
    """What is measured on which marks: those of a condition, with gold history or running free.

    `variant` is one of the laboratory, all of its training seeds; '' is the model on trial.
    """

    condition: str
    measure: Measure
    free: bool = False
    variant: str = ''


@dataclass(frozen=True)
class Claim:
    """`a` has more or less than `b` of what is measured, `by` times it, or is as good."""

    text: str
    a: Side
    b: Side
    wanted: Wanted
    by: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """How a claim came out: means over streams and their 95 % intervals.

    `diff` is a less `by` times b.
    """

    claim: str
    a: float
    b: float
    ci_a: Interval
    ci_b: Interval
    diff: float
    ci_diff: Interval
    holds: bool
    seed: int

    def to_json(self) -> str:
        """One line; what could not be measured is null."""
        plain = {name: rounded(value) for name, value in vars(self).items()}
        return json.dumps(plain, allow_nan=False)


Streams = Mapping[tuple[str, bool], Sequence[Sequence[Mark]]]  # by condition, and whether free

# Marks or answers: training seed by training seed, stream by stream.
Runs = Sequence[Sequence[Sequence[Any]]]
Trials = Mapping[tuple[str, str], Runs]  # by variant and condition


def judge(claim: Claim, streams: Streams, seed: int) -> Verdict:
    """Try a claim on the marks of its two conditions; both are of the same worlds, in order."""
    a, b = (
        [side.measure(marks) for marks in streams[side.condition, side.free]]
        for side in (claim.a, claim.b)
    )
    return _verdict(claim, a, b, seed)


def judge_training(claim: Claim, trials: Trials, seed: int) -> Verdict:
    """Try a claim on two variants: of each stream, the mean over the training seeds counts."""
    sides = [(side.measure, trials[side.variant, side.condition]) for side in (claim.a, claim.b)]
    a, b = (
        [mean([measure(marks) for marks in stream]) for stream in zip(*runs, strict=True)]
        for measure, runs in sides
    )
    return _verdict(claim, a, b, seed)


def _verdict(claim: Claim, a: list[float], b: list[float], seed: int) -> Verdict:
    """How a claim comes out if this was measured, stream by stream; one side may have fewer."""
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    diffs = differences(a, [claim.by * value for value in b])
    low, high = found = interval(diffs, seed)
    return Verdict(
        claim=claim.text,
        a=mean(a),
        b=mean(b),
        ci_a=interval(a, seed),
        ci_b=interval(b, seed),
        diff=mean(diffs),
        ci_diff=found,
        holds=_holds(claim.wanted, low, high),
        seed=seed,
    )


def _holds(wanted: Wanted, low: float, high: float) -> bool:
    if wanted == 'more':
        return low > 0
    if wanted == 'less':
        return high < 0
    return low >= -MARGIN and high <= MARGIN


def rounded(value: object) -> object:
    """A number or an interval as a line has it: null for what is not a number."""
    if isinstance(value, tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def right(
    condition: str, *skills: str, span: Span = PAST, free: bool = False, variant: str = ''
) -> Side:
    """The share told right of these skills (none: all) in a span."""
    return Side(condition, Right(skills, span), free, variant)


def trained(variant: str, *skills: str, condition: str = 'refreshed') -> Side:
    """The share that a variant of the laboratory tells right, past the training length."""
    return right(condition, *skills, variant=variant)


def answers(variant: str) -> Side:
    """The share of questions about single chunks that a variant answers rightly."""
    return right(QUESTIONS, span=Span(), variant=variant)


def _seen(lag: int, window: int, enough: str) -> Claim:
    return Claim(
        f'vision window: {window} s lose what was seen {lag} s ago, {enough} keeps it',
        right(f'vision {window} s', f'past_{lag}'),
        right(enough, f'past_{lag}'),
        'less',
    )


CLAIMS = (
    Claim(
        'full attention is as good as streaming inside the training length',
        right('full attention', span=EARLY),
        right('streaming', span=EARLY),
        'as good',
    ),
    Claim(
        'full attention collapses past the training length, streaming does not',
        right('full attention'),
        right('refreshed'),
        'less',
    ),
    Claim(
        'full attention holds 3 times as many tokens in minute 8 as in minute 2',
        Side('full attention', Cost(held=True, span=LAST)),
        Side('full attention', Cost(held=True, span=FIRST)),
        'more',
        by=3,
    ),
    Claim(
        'streaming holds at most 1.05 times as many tokens in minute 8 as in minute 2',
        Side('streaming', Cost(held=True, span=LAST)),
        Side('streaming', Cost(held=True, span=FIRST)),
        'less',
        by=1.05,
    ),
    Claim(
        'window without overlap forgets the facts of the start',
        right('window', 'recall'),
        right('refreshed', 'recall'),
        'less',
    ),
    Claim(
        'window without overlap loses the counts',
        right('window', 'count'),
        right('refreshed', 'count'),
        'less',
    ),
    Claim(
        'window with overlap, all encoded anew, is as good as streaming with text refresh',
        right('recompute'),
        right('refreshed'),
        'as good',
    ),
    Claim(
        'window with overlap encodes 5 times as many tokens as streaming with text refresh',
        Side('recompute', Cost(held=False, span=LAST)),
        Side('refreshed', Cost(held=False, span=LAST)),
        'more',
        by=5,
    ),
    Claim(
        'contiguous positions beat native ones on long streams',
        right('refreshed', span=LONG),
        right('native', span=LONG),
        'more',
    ),
    Claim(
        'contiguous and native positions are as good on short chunks',
        right('refreshed', span=EARLY),
        right('native', span=EARLY),
        'as good',
    ),
    Claim(
        'without a text sink the facts of the start are lost',
        right('no sink', 'recall'),
        right('refreshed', 'recall'),
        'less',
    ),
    Claim(
        'without a text window the counts are lost',
        right('no text window', 'count'),
        right('refreshed', 'count'),
        'less',
    ),
    _seen(2, 2, 'vision 4 s'),
    _seen(4, 4, 'vision 8 s'),
    _seen(8, 8, 'vision 12 s'),
    _seen(12, 12, 'refreshed'),
    _seen(15, 12, 'refreshed'),
    Claim(
        'frames that are brought back as ReKV does disturb a model of fixed rounds',
        right('retrieval'),
        right('streaming'),
        'less',
    ),
    Claim(
        'ours: plain reuse of keys loses facts that text refresh keeps',
        right('streaming', 'recall'),
        right('refreshed', 'recall'),
        'less',
    ),
    Claim(
        'ours: text refresh closes the reuse gap',
        right('refreshed'),
        right('recompute'),
        'as good',
    ),
    Claim(
        'ours: a changed task lives on past the vision window if pinned, not if said in a turn',
        right('task pinned', span=CHANGED, free=True),
        right('task said', span=CHANGED, free=True),
        'more',
    ),
)

TRAINING = (
    Claim(
        'training on overlapped chunks beats training on chunks that do not overlap',
        trained(BASE),
        trained('not-overlapped'),
        'more',
    ),
    Claim(
        'training with previous text beats training without: facts',
        trained(BASE, 'recall'),
        trained('no-previous-text', 'recall'),
        'more',
    ),
    Claim(
        'training with previous text beats training without: counts',
        trained(BASE, 'count'),
        trained('no-previous-text', 'count'),
        'more',
    ),
    Claim(
        'annealing on clean data at the end beats training on noisy data alone',
        trained('annealed'),
        trained('noisy'),
        'more',
    ),
    Claim(
        'noisy data, then annealing, is as good as clean data all along',
        trained('annealed'),
        trained(BASE),
        'as good',
    ),
    Claim(
        'streaming fine-tuning does not cost answers to questions about single chunks',
        answers(BASE),
        answers(TRUNK),
        'as good',
    ),
    Claim(
        'ours: a question in a quarter of the chunks keeps these answers',
        answers('with-questions'),
        answers(TRUNK),
        'as good',
    ),
    Claim(
        'ours: and costs nothing of what is told',
        trained('with-questions'),
        trained(BASE),
        'as good',
    ),
    Claim(
        'ours: where all frames stay in training, plain reuse of keys costs counts',
        trained(BASE, 'count', condition='streaming'),
        trained(BASE, 'count', condition='recompute'),
        'less',
    ),
    Claim(
        'ours: frames that leave early in training close the reuse gap as well',
        trained('early-eviction', condition='streaming'),
        trained('early-eviction', condition='recompute'),
        'as good',
    ),
)
