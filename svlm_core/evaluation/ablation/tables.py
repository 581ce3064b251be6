# SPDX-License-Identifier: Apache-2.0
"""What the cells of a grid came to: rows with all that they depend on, as JSON, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.benchmark.tables import table as markdown
from svlm_core.evaluation.ablation.grid import Grid
from svlm_core.evaluation.ablation.growth import COSTS, exponent
from svlm_core.evaluation.ablation.trials import Kept
from svlm_core.evaluation.ablation.video import Told, captions_of
from svlm_core.evaluation.bootstrap import interval, mean
from svlm_core.evaluation.exam import Spent
from svlm_core.evaluation.identity import Identity
from svlm_core.evaluation.judging import win_rate
from svlm_core.evaluation.measures import EVER, Cost, Measure, Right, Span
from svlm_core.timeline import write_whole

RESULTS = 'results.json'
JUDGE = 'the truth: who has told more seconds of a window right'

MEASURES: dict[str, Measure] = {
    'right': Right(),
    'early': Right(span=Span(0, 24)),  # the length of a chunk of training
    'late': Right(span=Span(120, EVER)),
    'facts': Right(('recall',)),
    'counts': Right(('count',)),
}
PER_SECOND: dict[str, Callable[[Sequence[Spent]], float]] = {
    'held': Cost(held=True),
    'encoded': Cost(held=False),
    'ms': lambda marks: 1000 * mean([mark.spent for mark in marks]),
    'ms_per_token': lambda marks: (
        1000 * sum(mark.spent for mark in marks) / max(sum(mark.tokens for mark in marks), 1)
    ),
}
# Columns of the tables behind the labels of a row.
SPENT = {
    'held': 'tokens held',
    'encoded': 'encoded / s',
    'ms': 'ms / s',
    'ms_per_token': 'ms / token',
    **{f'exponent_{cost}': f'{cost} ~ t^' for cost in COSTS},
}
OF_WORLDS = {
    'history': 'history',
    'right': 'right',
    'early': 'first 24 s',
    'late': 'after 120 s',
    'facts': 'facts',
    'counts': 'counts',
    'wins': 'wins over base',
    **SPENT,
}
OF_VIDEO = {'seconds': 'seconds', 'tokens': 'tokens said', **SPENT, 'problem': 'problem'}
SURE = ('right', 'wins')  # shown with their intervals


def rows_of(grid: Grid, identities: Sequence[Identity], kept: Kept) -> list[dict[str, Any]]:
    """A row for every line of every table and history; `identities` are those of the cells.

    Values are means over streams, each with a bootstrap 95 % interval in the field `_ci`; null
    where nothing was asked.
    """
    values = {key: _values(key, grid, kept) for key in kept}
    return [
        {
            'table': layout.name,
            'title': layout.title,
            'labels': dict(zip(layout.heads, line.labels, strict=True)),
            'history': history,
            **values[line.cell, history],
            **identities[line.cell].row(),
        }
        for layout in grid.tables
        for line in layout.lines
        for history in grid.histories
    ]


def rows_of_video(
    grid: Grid, identities: Mapping[int, Identity], told: Mapping[int, Told]
) -> list[dict[str, Any]]:
    """A row for every line of every table: what its cell cost on a video, and where its words are.

    `problem` is why it ended before the video did. Values are null where there are none.
    """
    values = {number: _costs(one) for number, one in told.items()}
    return [
        {
            'table': layout.name,
            'title': layout.title,
            'labels': dict(zip(layout.heads, line.labels, strict=True)),
            'captions': captions_of(line.cell),
            'problem': told[line.cell].problem,
            **values[line.cell],
            **identities[line.cell].row(),
        }
        for layout in grid.tables
        for line in layout.lines
    ]


def write_tables(
    folder: Path, grid: Grid, rows: Sequence[Mapping[str, Any]], shown: Mapping[str, str]
) -> str:
    """Write results.json, results.csv and tables.md; give back what is in the last.

    Raises OutputError.
    """
    told = told_tables(grid, rows, shown)
    write_whole(folder / RESULTS, json.dumps({'rows': rows}, indent=1, allow_nan=False) + '\n')
    write_whole(folder / 'results.csv', _csv(rows))
    write_whole(folder / 'tables.md', told)
    return told


def told_tables(grid: Grid, rows: Sequence[Mapping[str, Any]], shown: Mapping[str, str]) -> str:
    """The tables as Markdown: the fields of a row that are `shown`, and the heads over them."""
    parts = []
    for layout in grid.tables:
        found = [row for row in rows if row['table'] == layout.name]
        body = [[*row['labels'].values(), *(_cell(row, name) for name in shown)] for row in found]
        head = [*layout.heads, *shown.values()]
        name = f'{layout.name}: {layout.title}' if layout.title else layout.name
        parts.append(f'### {name}\n\n{markdown([head, *body])}\n')
    return '\n'.join(parts)


def _values(key: tuple[int, str], grid: Grid, kept: Kept) -> dict[str, Any]:
    """What the streams of a cell came to."""
    streams, base = kept[key], kept[0, key[1]]
    found: dict[str, list[float]] = {
        **{name: [of(marks) for marks in streams] for name, of in MEASURES.items()},
        'wins': [win_rate(a, b) for a, b in zip(streams, base, strict=True)],
        **{name: [of(marks) for marks in streams] for name, of in PER_SECOND.items()},
        **{
            f'exponent_{name}': [exponent(marks, cost) for marks in streams]
            for name, cost in COSTS.items()
        },
    }
    values: dict[str, Any] = {'streams': grid.streams, 'seconds': grid.seconds}
    for name, of in found.items():
        values[name] = _plain(mean(of))
        values[f'{name}_ci'] = [_plain(end) for end in interval(of, grid.seed)]
    return values


def _costs(told: Told) -> dict[str, Any]:
    """What a cell cost on a video; costs of a second are of stream, however long a round is."""
    efforts, length = told.efforts, told.chunk_seconds
    found = {name: of(efforts) for name, of in PER_SECOND.items()} if efforts else {}
    for name in {'encoded', 'ms'} & found.keys():
        found[name] /= length
    growth = {f'exponent_{name}': exponent(efforts, cost) for name, cost in COSTS.items()}
    return {
        'seconds': len(efforts) * length,
        'tokens': sum(effort.tokens for effort in efforts),
        **{name: _plain(found.get(name, math.nan)) for name in PER_SECOND},
        **{name: _plain(value) for name, value in growth.items()},
    }


def _plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return ''
    if isinstance(value, str | int):
        return str(value)
    if name in SURE:
        low, high = row[f'{name}_ci']
        return f'{value:.2f} [{low:.2f}, {high:.2f}]'
    return f'{value:.0f}' if abs(value) >= 10 else f'{value:.2f}'


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each row; what is not a word or a number is JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: value if value is None or isinstance(value, str | int | float)
                else json.dumps(value, ensure_ascii=False)
                for name, value in row.items()
            }
        )  # fmt: skip
    return text.getvalue()
