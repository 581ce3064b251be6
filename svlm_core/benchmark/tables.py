# SPDX-License-Identifier: Apache-2.0
"""Figures as Markdown tables: they read well on a terminal and go into a document as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from svlm_core.benchmark.machine import Ceilings
from svlm_core.benchmark.run import COLUMNS
from svlm_core.benchmark.summary import Summary, find

Row = tuple[str, Callable[[Summary], str]]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table in columns of even width; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '| '
        + ' | '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True))
        + ' |'
        for row in rows
    ]
    return '\n'.join([lines[0], '|' + '|'.join('-' * (w + 2) for w in widths) + '|', *lines[1:]])


def figures(summaries: Sequence[Summary], most: Ceilings) -> str:
    """All arms side by side, a table for each number of tokens."""
    counts = dict.fromkeys(s.tokens for s in summaries)
    return '\n\n'.join(
        _figures([s for s in summaries if s.tokens == count], most) for count in counts
    )


def _figures(summaries: Sequence[Summary], most: Ceilings) -> str:
    stages = dict.fromkeys(stage for s in summaries for stage in s.stages)
    rows: list[Row] = [
        ('chunk, median; p99', lambda s: _both(s.chunk, s.p99)),
        ('chunk, p99 / median', lambda s: f'{s.p99 / s.chunk:.2f}'),
        ('real time, times', lambda s: f'{s.live:.2f}; {s.live_p99:.2f} at p99'),
        ('chunk, floor', lambda s: _ms(s.floor_chunk)),
        *((f'  {stage}', _stage(stage)) for stage in stages),
        ('outside the forwards', lambda s: _both(s.outside, s.outside_p99)),
        ('per token, amortised', lambda s: _both(s.amortised, s.amortised_p99)),
        ('per token, pure decode', lambda s: _both(s.token, s.token_p99)),
        ('per token, floor', lambda s: _ms(s.floor_token)),
        (
            'decode reads',
            lambda s: f'{s.bandwidth / 1e9:.1f} GB/s, {s.bandwidth / most.bytes_per_second:.0%}',
        ),
        (
            'vision and prefill do',
            lambda s: (
                f'{s.operations / 1e12:.3g} TFLOP/s, '
                f'{s.operations / most.operations_per_second:.0%}'
            ),
        ),
        ('tokens in memory', lambda s: f'{s.keys:,}'),
        ('memory of the stream', lambda s: _mib(s.memory)),
        ('memory, peak', lambda s: _mib(s.peak)),
        ('memory, steady', lambda s: _mib(s.steady)),
        ('memory, reserved', lambda s: _mib(s.reserved)),
        ('memory growth', lambda s: f'{s.growth:,} bytes'),
        ('allocations of the device', lambda s: _count(s.allocations)),
        (
            'energy of a second',
            lambda s: 'no counter' if s.joules is None else f'{s.joules:.2f} J',
        ),
        ('clock at the end', lambda s: _told(s, ('sm_mhz', 'mhz'), 'MHz')),
        ('temperature at the end', lambda s: _told(s, ('celsius',), 'C')),
        ('seconds timed', lambda s: f'{s.seconds}{" (ended early)" if s.problem else ""}'),
    ]
    head = [f'{summaries[0].tokens} tokens a second', *(COLUMNS[s.policy] for s in summaries)]
    return table([head, *([name, *map(value, summaries)] for name, value in rows)])


def comparison(new: Sequence[Summary], old: Sequence[Summary]) -> str:
    """What became of the arms that both runs have: old, new, and new / old."""
    rows = [['', 'chunk', 'p99', 'per token, amortised', 'per token, pure decode']]
    for now in new:
        if then := find(old, now.policy, now.tokens):
            pairs = [(then.chunk, now.chunk), (then.p99, now.p99),
                     (then.amortised, now.amortised), (then.token, now.token)]  # fmt: skip
            told = [f'{a:.2f} -> {b:.2f} ms, x{b / a:.2f}' for a, b in pairs]
            rows.append([f'{COLUMNS[now.policy]}, {now.tokens}', *told])
    return table(rows) if len(rows) > 1 else 'no arm is in both runs'


def _stage(name: str) -> Callable[[Summary], str]:
    return lambda s: _both(s.stages.get(name, 0.0), s.stages_p99.get(name, 0.0))


def _both(middle: float, p99: float) -> str:
    return f'{middle:.2f}; {p99:.2f} ms'


def _told(summary: Summary, names: Sequence[str], unit: str) -> str:
    known = [value for name in names if (value := summary.after.get(name)) is not None]
    return f'{known[0]:.0f} {unit}' if known else 'not told'


def _mib(size: int | None) -> str:
    return 'no GPU' if size is None else f'{size / 2**20:.1f} MiB'


def _count(number: int | None) -> str:
    return 'no GPU' if number is None else str(number)


def _ms(value: float) -> str:
    return f'{value:.2f} ms'
