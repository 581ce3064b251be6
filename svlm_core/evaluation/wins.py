# SPDX-License-Identifier: Apache-2.0
"""How often one side of a claim wins a window against the other, before the judge that counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from svlm_core.evaluation.bootstrap import Interval, interval, mean
from svlm_core.evaluation.claims import Claim, Runs, Streams, Trials
from svlm_core.evaluation.judging import win_rate
from svlm_core.evaluation.measures import Span

Won = tuple[float, Interval]


def wins(claim: Claim, streams: Streams, seed: int) -> Won:
    """The win rate of a over b in the seconds that the claim is about, and its 95 % interval.

    It is of whole windows, whichever skills the claim is about. nan where the two sides are of
    different seconds.
    """
    a, b = (streams[side.condition, side.free] for side in (claim.a, claim.b))
    return _wins(claim, [a], [b], seed)


def wins_of_training(claim: Claim, trials: Trials, seed: int) -> Won:
    """The same for two variants: of each stream, the mean over pairs of training seeds counts."""
    a, b = (trials[side.variant, side.condition] for side in (claim.a, claim.b))
    return _wins(claim, a, b, seed)


def _wins(claim: Claim, a: Runs, b: Runs, seed: int) -> Won:
    if claim.a.measure.span != claim.b.measure.span:
        return float('nan'), (float('nan'), float('nan'))
    count = min(len(streams) for streams in (*a, *b))
    rates = [
        mean([rate(x[n], y[n], claim.a.measure.span) for x, y in product(a, b)])
        for n in range(count)
    ]
    return mean(rates), interval(rates, seed)


def rate(ours: Sequence[Any], theirs: Sequence[Any], span: Span | None = None) -> float:
    """The win rate over one stream, as far as both have told it, within a span."""
    first, second = ((span or Span()).of(marks) for marks in (ours, theirs))
    count = min(len(first), len(second))
    return win_rate(first[:count], second[:count])
