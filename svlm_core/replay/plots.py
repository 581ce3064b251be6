# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG: a few lines over stream time, without a library and without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from svlm_core.timeline import clock

WIDTH, HEIGHT = 460, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # margins
POINTS = 600  # at most this many are drawn; of more, the highest of each stretch


@dataclass(frozen=True)
class Line:
    """Values over stream seconds; None where there is none. `style` is a class of STYLE."""

    name: str
    points: Sequence[tuple[float, float | None]]
    style: str = 'own'


def plot(title: str, lines: Sequence[Line], unit: str = '') -> str:
    """A figure with all lines on one scale that begins at 0; empty when no line has two points."""
    lines = [line for line in lines if sum(y is not None for _, y in line.points) > 1]
    if not lines:
        return ''
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    step = _step(max(y for _, y in known))
    top = step * max(1, math.ceil(max(y for _, y in known) / step))
    end = max(x for x, _ in known) or 1.0
    body = _grid(top, step) + _seconds(end) + ''.join(_curve(line, end, top) for line in lines)
    legend = ''.join(
        f'<span class="key {line.style}">{escape(line.name)}</span>' for line in lines
    )
    words = f'{title}, {unit}' if unit else title
    return (
        f'<figure class="plot"><figcaption><b>{escape(words)}</b><span>{legend}</span>'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(words)} over stream time">{body}</svg></figure>'
    )


def _grid(top: float, step: float) -> str:
    """Horizontal lines with their values."""
    parts = []
    for number in range(round(top / step) + 1):
        value = number * step
        y = _y(value, top)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{LEFT - 6}" y="{y}" class="value">{value:g}</text>'
        )
    return ''.join(parts)


def _seconds(end: float) -> str:
    """Times below the plot."""
    marks = [(0.0, 'start'), (end / 2, 'middle'), (end, 'end')]
    return ''.join(
        f'<text x="{_x(at, end)}" y="{HEIGHT - 5}" class="{anchor}">{clock(at)}</text>'
        for at, anchor in marks
    )


def _curve(line: Line, end: float, top: float) -> str:
    """A polyline for every stretch without a hole."""
    stretches: list[list[str]] = [[]]
    for x, y in _thinned(line.points):
        if y is None:
            stretches.append([])
        else:
            stretches[-1].append(f'{_x(x, end)},{_y(y, top)}')
    # The first point twice: a stretch of one shows as a dot, for lines have round ends.
    return ''.join(
        f'<polyline class="{line.style}" points="{" ".join([points[0], *points])}"/>'
        for points in stretches
        if points
    )


def _thinned(
    points: Sequence[tuple[float, float | None]],
) -> Sequence[tuple[float, float | None]]:
    if len(points) <= POINTS:
        return points
    size = math.ceil(len(points) / POINTS)
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [
        max(group, key=lambda point: -math.inf if point[1] is None else point[1])
        for group in groups
    ]


def _x(value: float, end: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * value / end, 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)


def _step(high: float) -> float:
    """A round distance of grid lines, of which about four fit below `high`."""
    if high <= 0:
        return 1.0
    rough = high / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(factor for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough) * unit


STYLE = """
.plots { display: grid; grid-template-columns: repeat(2, 1fr); gap: 10px; margin-top: 14px; }
.plot { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 12px 14px; margin: 0; }
.plot svg { height: auto; }
.plot figcaption { border: 0; padding: 0 0 6px; color: var(--ink); gap: 8px; flex-wrap: wrap; }
.plot text { font-size: 10px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.plot text.value { text-anchor: end; dominant-baseline: middle; }
.plot text.middle { text-anchor: middle; }
.plot text.end { text-anchor: end; }
.plot line.grid { stroke: var(--line); stroke-width: 1; }
.plot polyline { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-linejoin: round;
  stroke-linecap: round; }
.plot polyline.other { stroke: var(--warn-line); }
.plot polyline.limit { stroke: var(--bad); stroke-dasharray: 4 4; stroke-width: 1.2; }
.key { color: var(--soft); margin-left: 10px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 12px; height: 3px; border-radius: 2px;
  margin-right: 5px; vertical-align: middle; background: var(--accent); }
.key.other::before { background: var(--warn-line); }
.key.limit::before { background: var(--bad); }
@media (max-width: 640px) { .plots { grid-template-columns: 1fr; } }
"""
