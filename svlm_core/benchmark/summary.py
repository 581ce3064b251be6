# SPDX-License-Identifier: Apache-2.0
"""What the seconds of an arm come to.

Amortised time per token is the published measure: vision tower, prefill and decoding of a second,
divided by its tokens; it leaves out resizing and eviction, which `chunk` has. Pure decode time is
from one token to the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from svlm_core.benchmark.costs import Costs
from svlm_core.benchmark.machine import Ceilings
from svlm_core.benchmark.run import Chunk, Course, Lap
from svlm_core.benchmark.sensors import State
from svlm_core.timeline import percentile

COUNTED = ('vision', 'prefill', 'decode', 'sample')  # stages of the published measure
N = TypeVar('N', int, float)
FORWARDS = ('look', 'vision', 'prefill', 'decode')  # all but planning, sampling, and text


@dataclass(frozen=True)
class Summary:
    """The timed seconds of an arm: medians, and their `p99`. Times in ms, sizes in bytes.

    `live` is by how much a second is longer than all streams take for it, one after another: with
    1 or more each is seen in real time. `live_p99` is that of the slowest seconds.

    `floor_token` and `floor_chunk` are what bandwidth and operations alone would take, at the
    ceilings of the same run. `memory` is that of the stream; `peak`, `steady` and `reserved` are
    what the process held at most, at the end, and in reserve. `growth` of `steady`, and how often
    the GPU was asked for memory (`allocations`), are of the timed seconds. `joules` of a second
    are those of all timed seconds by their number; `after` has clocks and temperature.
    """

    policy: str
    tokens: int
    seconds: int
    problem: str
    chunk: float
    p99: float
    live: float
    live_p99: float
    stages: dict[str, float]
    stages_p99: dict[str, float]
    outside: float
    outside_p99: float
    amortised: float
    amortised_p99: float
    token: float
    token_p99: float
    floor_token: float
    floor_chunk: float
    bandwidth: float
    operations: float
    keys: int
    memory: int
    peak: int
    steady: int
    reserved: int | None
    growth: int
    allocations: int | None
    joules: float | None
    after: State


def amortised(chunk: Chunk) -> float:
    """Milliseconds per token by the published measure."""
    return 1000 * sum(chunk.stages[s] for s in COUNTED) / chunk.tokens


def summarise(lap: Lap, course: Course, costs: Costs, most: Ceilings) -> Summary | None:
    """The summary of an arm; None when it ended before anything was timed."""
    timed = [c for c in lap.chunks if c.second >= course.warm_up]
    if len(timed) < 2 * course.streams:
        return None

    def operations(c: Chunk) -> float:
        return costs.prefill_operations(c.new, c.keys) + c.grids * costs.vision_operations(
            lap.grid
        )

    def floor(c: Chunk) -> float:
        read = costs.token_bytes(c.keys) * c.tokens / most.bytes_per_second
        return operations(c) / most.operations_per_second + read

    chunks, gaps = [c.chunk for c in timed], [gap for c in timed for gap in c.gaps]
    stages = {name: [c.stages[name] for c in timed] for name in timed[0].stages}
    outside = [c.chunk - sum(c.stages[s] for s in FORWARDS) for c in timed]
    turns: defaultdict[int, float] = defaultdict(float)
    for c in timed:
        turns[c.second] += c.chunk
    tokens = [amortised(c) / 1000 for c in timed]
    # A counter of energy may tick only now and then: so of all seconds together.
    before = lap.chunks[-len(timed) - 1]
    joules = _gained(before.joules, timed[-1].joules)
    return Summary(
        policy=lap.arm.policy,
        tokens=lap.arm.tokens,
        seconds=len(turns),
        problem=lap.problem,
        chunk=_middle(chunks),
        p99=_p99(chunks),
        live=1 / median(turns.values()),
        live_p99=1 / percentile(list(turns.values()), 0.99),
        stages={name: _middle(times) for name, times in stages.items()},
        stages_p99={name: _p99(times) for name, times in stages.items()},
        outside=_middle(outside),
        outside_p99=_p99(outside),
        amortised=_middle(tokens),
        amortised_p99=_p99(tokens),
        token=_middle(gaps),
        token_p99=_p99(gaps),
        floor_token=_middle([costs.token_bytes(c.keys) / most.bytes_per_second for c in timed]),
        floor_chunk=_middle([floor(c) for c in timed]),
        bandwidth=median(costs.token_bytes(c.keys) / c.token for c in timed),
        operations=median(
            operations(c) / (c.stages['vision'] + c.stages['prefill']) for c in timed
        ),
        keys=timed[-1].keys,
        memory=lap.memory_bytes,
        peak=lap.peak,
        steady=timed[-1].used,
        reserved=lap.reserved,
        growth=timed[-1].used - before.used,
        allocations=_gained(before.allocations, timed[-1].allocations),
        joules=None if joules is None else joules / len(turns),
        after=lap.after,
    )


def _middle(seconds: Sequence[float]) -> float:
    return 1000 * median(seconds)


def _p99(seconds: Sequence[float]) -> float:
    return 1000 * percentile(seconds, 0.99)


def _gained(start: N | None, end: N | None) -> N | None:
    return None if start is None or end is None else end - start


def find(summaries: Sequence[Summary], policy: str, tokens: int) -> Summary | None:
    """The summary of an arm, if there is one."""
    return next((s for s in summaries if (s.policy, s.tokens) == (policy, tokens)), None)
