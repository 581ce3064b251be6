# SPDX-License-Identifier: Apache-2.0
"""Win rates of an item: every row against every column that the paper has a number for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError
from svlm_core.evaluation.paper.captions import Job, job_of, official, read
from svlm_core.evaluation.paper.inplace import of_win_rate
from svlm_core.evaluation.paper.items import COLUMNS, INF, Column, Contestant, Item
from svlm_core.evaluation.paper.published import GPT, PARTS
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.evaluation.streams import infstreams
from svlm_core.evaluation.streams.benchmark import Benchmark
from svlm_core.evaluation.streams.table import ALL, Side, read_side, rows
from svlm_core.timeline import make_folder

Data = Mapping[str, Path]  # folders of the benchmarks of commentary


@dataclass(frozen=True)
class Cell:
    """A value that is to be measured."""

    label: str
    column: str

    @property
    def against(self) -> Column:
        return COLUMNS[GPT if self.column in PARTS else self.column]


def compared(column: str) -> bool:
    """Whether a column has win rates."""
    return column in COLUMNS or column in PARTS


def jobs_of(item: Item, cells: Iterable[Cell], data: Data, setup: Setup) -> list[Job]:
    """The captions that these cells need and svlm makes."""
    found = list[Job]()
    for cell in cells:
        who, of = item.rows[cell.label], cell.against
        if _imported(who, of, setup) is None:
            found.append(job_of(who, of.benchmark, data[of.benchmark], setup))
        if them := _maker(of, setup):
            found.append(job_of(them, of.benchmark, data[of.benchmark], setup))
    return found


def measure(
    item: Item, labels: Sequence[str], column: str, data: Data, setup: Setup
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a column, and why there is none of some labels.

    Raises SourceError where what they are compared with is not there.
    """
    of = Cell('', column).against
    begin = infstreams.BEGIN if setup.size is None else setup.size.chunk
    benchmark = _part(read(of.benchmark, data[of.benchmark], begin), item, column, setup)
    ours, lacking = list[Side](), dict[str, str]()
    for label in labels:
        try:
            ours.append(_ours(item, label, of, benchmark, data, setup))
        except SourceError as error:  # of one whose captions are not finished
            lacking[label] = str(error)
    theirs = read_side(f'{column}={_theirs(of, data, setup)}', benchmark)
    output = setup.folder / 'judged' / item.name / column.replace(' ', '')
    make_folder(output)
    shared = {
        'data': {
            'name': benchmark.name,
            'sha256': official(of.benchmark, data[of.benchmark]),
            'windows': len(benchmark.windows),
            'category': item.category if setup.size is None else '',
        },
        'judge': setup.judge_name(of.benchmark),
        'seed': setup.seed,
    }
    judge = setup.judge(benchmark)
    judged = rows(benchmark, ours, [theirs], judge, shared, output, setup.workers)
    found = [_row(item, row, column, of, setup) for row in judged if row['category'] == ALL]
    return found, lacking


def _row(item: Item, row: dict[str, Any], column: str, of: Column, setup: Setup) -> dict[str, Any]:
    """A row of the item. LiveSports-3K has a rule of its own."""
    games = of.benchmark == INF
    return {
        'item': item.name,
        'label': row['a'],
        'column': column,
        'value': row['win_rate'] if games else row['official'],
        'value_ci': row['interval'] if games else row['official_interval'],
        'published': item.published[row['a']][column],
        'stand_in': _in_place(item.rows[row['a']], of, setup),
        **row,
    }


def _in_place(who: Contestant, of: Column, setup: Setup) -> str:
    """What was run in place of what the paper ran, for a row and a column."""
    made = [who] if _imported(who, of, setup) is None else []
    if them := _maker(of, setup):
        made.append(them)
    return of_win_rate(who, made, of.benchmark, setup)


def _ours(
    item: Item, label: str, of: Column, benchmark: Benchmark, data: Data, setup: Setup
) -> Side:
    who = item.rows[label]
    place = _imported(who, of, setup)
    made = place or job_of(who, of.benchmark, data[of.benchmark], setup).output
    return read_side(f'{label}={made}', benchmark)


def _theirs(of: Column, data: Data, setup: Setup) -> Path:
    if them := _maker(of, setup):
        return job_of(them, of.benchmark, data[of.benchmark], setup).output
    return setup.sources.captions[of.captions]


def _maker(of: Column, setup: Setup) -> Contestant | None:
    """Who makes the captions of a column here, if they are not given."""
    if setup.size is not None:
        return of.stand_in
    return None if of.captions in setup.sources.captions else of.maker


def _imported(who: Contestant, of: Column, setup: Setup) -> Path | None:
    """Captions from elsewhere that stand for a contestant."""
    if setup.size is not None or of.benchmark != INF:
        return None
    return setup.sources.captions.get(who.captions)


def _part(benchmark: Benchmark, item: Item, column: str, setup: Setup) -> Benchmark:
    """The windows that are judged: of a category, or those that begin in a part of a video.

    Raises SourceError where there is none.
    """
    windows = list(benchmark.windows)
    if item.category and setup.size is None:
        windows = [w for w in windows if item.category in w.category.lower()]
    if column in PARTS:
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for w in windows:
            first[w.video] = min(first.get(w.video, w.start), w.start)
            last[w.video] = max(last.get(w.video, w.end), w.end)
        number = PARTS.index(column)
        windows = [
            w
            for w in windows
            if (w.start - first[w.video]) * len(PARTS) // (last[w.video] - first[w.video])
            == number
        ]
    if not windows:
        raise SourceError(f'{item.name}, {column}: no window is to be judged')
    return replace(benchmark, windows=tuple(windows))
