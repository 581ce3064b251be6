# SPDX-License-Identifier: Apache-2.0
"""How cost grows with stream time: the exponent k of a cost of each second that is like t^k.

0 is a cost that stays (all of a stream: O(T)), 1 one that grows with the stream (O(T^2)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from svlm_core.evaluation.exam import Spent

FROM = 0.25  # part of a stream after which its windows count as full
LEAST = 8  # seconds

COSTS: dict[str, Callable[[Spent], float]] = {
    'encoded': lambda mark: mark.encoded,  # tokens that went through the model
    'attended': lambda mark: mark.encoded * mark.held,  # pairs of tokens, at most
    'ms': lambda mark: 1000 * mark.spent,
}


def exponent(marks: Sequence[Spent], cost: Callable[[Spent], float]) -> float:
    """The slope of log cost over log time, by least squares, of all but the first quarter.

    nan where that is less than 8 seconds, or anything costs nothing.
    """
    late = [mark for mark in marks if mark.second >= FROM * len(marks)]
    costs = np.array([cost(mark) for mark in late], float)  # (n,)
    if len(late) < LEAST or not (costs > 0).all():
        return float('nan')
    times = np.log([mark.second + 1 for mark in late])  # (n,)
    return float(np.polyfit(times, np.log(costs), 1)[0])
