# SPDX-License-Identifier: Apache-2.0
"""How sure a mean over streams is: percentile bootstrap, streams drawn with replacement.

Seconds of one stream depend on each other; streams do not, so streams are what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
SPAN = (2.5, 97.5)  # percentiles

Interval = tuple[float, float]


def interval(values: Sequence[float], seed: int) -> Interval:
    """The 95 % interval of the mean of `values`, one for each stream; nan values are left out.

    Of one value it is that value, of none it is nan.
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]  # (n,)
    if not len(known):
        return float('nan'), float('nan')
    drawn = np.random.default_rng(seed).integers(len(known), size=(DRAWS, len(known)))
    low, high = np.percentile(known[drawn].mean(axis=1), SPAN)
    return float(low), float(high)


def ratio_interval(parts: Sequence[float], wholes: Sequence[float], seed: int) -> Interval:
    """The 95 % interval of sum(parts) / sum(wholes), with one of each for every stream.

    nan where all wholes are 0.
    """
    known = np.asarray([parts, wholes], float)[:, np.asarray(wholes) > 0]  # (2, n)
    if not known.size:
        return float('nan'), float('nan')
    count = known.shape[1]
    drawn = np.random.default_rng(seed).integers(count, size=(DRAWS, count))
    sums = known[:, drawn].sum(axis=2)  # (2, DRAWS)
    low, high = np.percentile(sums[0] / sums[1], SPAN)
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    """The mean of `values` that are numbers; nan of none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')


def differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """What `a` has more than `b`, stream by stream."""
    return [x - y for x, y in zip(a, b, strict=True)]
