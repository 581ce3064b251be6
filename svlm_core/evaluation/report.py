# SPDX-License-Identifier: Apache-2.0
"""What was measured, for a person's eye and for another program: tables, plots, all marks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from svlm_core.evaluation.bootstrap import Interval, mean
from svlm_core.evaluation.claims import (
    QUESTIONS,
    Claim,
    Runs,
    Streams,
    Trials,
    Verdict,
    rounded,
)
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.judging import WINDOW
from svlm_core.evaluation.made import Made, history, key
from svlm_core.evaluation.measures import Consistent, Cost, Measure, Right, Silence, Span
from svlm_core.evaluation.wins import rate
from svlm_core.synthetic.captions import LAGS
from svlm_core.synthetic.questions import QUESTIONS as ASKED
from svlm_core.synthetic.script import SKILLS
from svlm_core.timeline import write_lines, write_whole

BUCKETS = (0, 24, 48, 120, 240, 480, 600, 1200, 1800)  # seconds
DRAWN = ('streaming', 'refreshed', 'native', 'full attention', 'recompute', 'window')
WINDOWS = {2: 'vision 2 s', 4: 'vision 4 s', 8: 'vision 8 s', 12: 'vision 12 s', 16: 'refreshed'}
YARDSTICK = 'refreshed'  # what the others are compared with, window by window

COLUMNS: dict[str, Measure] = {
    **{skill: Right((skill,)) for skill in SKILLS},
    'all': Right(),
    'consistent': Consistent(),
    'silence precision': Silence(recall=False),
    'silence recall': Silence(recall=True),
    'tokens held': Cost(held=True),
    'tokens encoded': Cost(held=False),
}

Gold = Mapping[str, Sequence[Sequence[Mark]]]  # by condition


@dataclass(frozen=True)
class Result:
    """What came of a claim, and how often side a wins a window against side b."""

    claim: Claim
    verdict: Verdict
    wins: float
    ci_wins: Interval

    def row(self, made: Made) -> dict[str, Any]:
        """The verdict, with the wins and how both sides were made."""
        return {
            **json.loads(self.verdict.to_json()),
            'wins': rounded(self.wins),
            'ci_wins': rounded(self.ci_wins),
            'made_a': made[key(self.claim.a)].row(),
            'made_b': made[key(self.claim.b)].row(),
        }


def write_report(
    folder: Path,
    results: Sequence[Result],
    streams: Streams,
    trials: Trials,
    made: Made,
    title: str,
) -> None:
    """Write claims.html, claims.jsonl and tables as .csv into a folder that there is.

    Raises OutputError.
    """
    rows = table(streams, made)
    write_lines(folder / 'claims.jsonl', (result.row(made) for result in results))
    write_whole(folder / 'table.csv', _csv(rows))
    write_whole(folder / 'marks.csv', _csv(marks(streams, made)))
    tables = {'All conditions': rows}
    for name, file, of_training in (
        ('Variants of training', 'variants.csv', variants(trials, made)),
        ('Questions about single chunks', 'answers.csv', answers(trials, made)),
    ):
        if len(of_training) > 1:
            write_whole(folder / file, _csv(of_training))
            tables[name] = of_training
    write_whole(folder / 'claims.html', page(results, streams, tables, title))


def table(streams: Streams, made: Made) -> list[list[str]]:
    """A row for each condition, with gold history and free; means over streams.

    `run` is the digest of the identity in `made`, here and in the other tables.
    """
    wins = f'wins over {YARDSTICK}'
    head = ['condition', 'history', 'streams', 'seconds', *COLUMNS, wins, 'run']
    rows = [head]
    for (condition, free), of in streams.items():
        values = [mean([measure(m) for m in of]) for measure in COLUMNS.values()]
        told = [_number(value) for value in (*values, wins_over(streams, condition, free))]
        size = [str(len(of)), str(max(map(len, of), default=0))]
        run = made['', condition, free].digest
        rows.append([condition, history(free), *size, *told, run])
    return rows


def wins_over(streams: Streams, condition: str, free: bool) -> float:
    """How often a condition wins a window against the yardstick, over what both have told."""
    pairs = zip(streams[condition, free], streams.get((YARDSTICK, free), ()), strict=False)
    return mean([rate(ours, theirs) for ours, theirs in pairs])


def variants(trials: Trials, made: Made) -> list[list[str]]:
    """A row for each training seed of each variant and condition, and the spread over seeds."""
    rows = [['variant', 'condition', 'training seed', 'streams', *COLUMNS, 'run']]
    for (variant, condition), runs in trials.items():
        if condition != QUESTIONS:
            run = made[variant, condition, False].digest
            rows += _by_seed([variant, condition], runs, COLUMNS, run)
    return rows


def answers(trials: Trials, made: Made) -> list[list[str]]:
    """The same of the questions about single chunks."""
    columns = {**{kind: Right((kind,)) for kind in ASKED}, 'all': Right()}
    rows = [['variant', 'training seed', 'streams', *columns, 'run']]
    for (variant, condition), runs in trials.items():
        if condition == QUESTIONS:
            rows += _by_seed([variant], runs, columns, made[variant, condition, False].digest)
    return rows


def _by_seed(
    names: list[str], runs: Runs, columns: Mapping[str, Measure], run: str
) -> list[list[str]]:
    """Means over streams, seed by seed, and how far the seeds are apart."""
    values = [[mean([of(m) for m in streams]) for of in columns.values()] for streams in runs]
    spread = [max(column) - min(column) for column in zip(*values, strict=True)]
    rows = [
        [*names, str(seed), str(len(streams)), *map(_number, row), run]
        for seed, (streams, row) in enumerate(zip(runs, values, strict=True))
    ]
    last = [*names, 'spread', '', *map(_number, spread), run]
    return [*rows, last] if len(runs) > 1 else rows


def marks(streams: Streams, made: Made) -> list[list[str]]:
    """Every mark, a row each."""
    rows = [['condition', 'history', 'stream', 'second', 'skill', 'truth', 'said', 'right',
             'held', 'encoded', 'run']]  # fmt: skip
    for (condition, free), of in streams.items():
        run = made['', condition, free].digest
        for number, stream in enumerate(of):
            rows += [
                [condition, history(free), str(number), str(m.second), m.skill,
                 str(m.truth), m.said, str(int(m.right)), str(m.held), str(m.encoded), run]
                for m in stream
            ]  # fmt: skip
    return rows


def page(
    results: Sequence[Result],
    streams: Streams,
    tables: Mapping[str, Sequence[Sequence[str]]],
    title: str,
) -> str:
    """The report as one HTML file that needs nothing but itself."""
    gold = {name: of for (name, free), of in streams.items() if not free}
    figures = [
        (
            'Told right over stream time, gold history',
            _figure(gold, lambda span: Right(span=span)),
        ),
        ('Tokens held in memory over stream time', _figure(gold, lambda s: Cost(True, s))),
        ('What was seen some seconds ago, by vision window', _staircase(gold)),
    ]
    held = sum(result.verdict.holds for result in results)
    return PAGE.format(
        title=escape(title),
        window=WINDOW,
        summary=f'{held} of {len(results)} claims hold.',
        verdicts=_html(_verdict_rows(results)),
        tables=''.join(
            f'<h2>{escape(name)}</h2>\n<div>{_html(rows)}</div>\n' for name, rows in tables.items()
        ),
        figures=''.join(f'<h2>{escape(name)}</h2>{figure}' for name, figure in figures),
    )


def _verdict_rows(results: Sequence[Result]) -> list[list[str]]:
    def value(number: float, ci: tuple[float, float]) -> str:
        if number != number:
            return ''
        return f'{_number(number)} [{_number(ci[0])}, {_number(ci[1])}]'

    return [
        ['claim', 'a', 'b', 'difference', 'holds', 'a wins'],
        *(
            [v.claim, value(v.a, v.ci_a), value(v.b, v.ci_b), value(v.diff, v.ci_diff),
             'yes' if v.holds else 'NO', value(result.wins, result.ci_wins)]
            for result in results for v in [result.verdict]
        ),
    ]  # fmt: skip


def _figure(gold: Gold, measure: Callable[[Span], Measure]) -> str:
    """A line for each policy over buckets of stream time."""
    figure = Figure(figsize=(8, 3.4), layout='constrained')
    axes = figure.subplots()
    spans = [Span(*pair) for pair in pairwise(BUCKETS)]
    for name in DRAWN:
        values = [mean([measure(s)(m) for m in gold.get(name, ())]) for s in spans]
        axes.plot([s.until for s in spans], values, marker='o', label=name)
    axes.set_xscale('log')
    axes.set_xticks([s.until for s in spans], [str(s.until) for s in spans])
    axes.minorticks_off()
    axes.set_xlabel('end of the bucket, seconds of stream')
    axes.set_ylim(bottom=0)
    axes.legend()
    return _svg(figure)


def _staircase(gold: Gold) -> str:
    """How well lights of some seconds ago are known, by the length of the vision window."""
    figure = Figure(figsize=(8, 3.4), layout='constrained')
    axes = figure.subplots()
    for lag in LAGS:
        right = Right((f'past_{lag}',), Span(40))
        values = [mean([right(m) for m in gold.get(name, ())]) for name in WINDOWS.values()]
        axes.plot(list(WINDOWS), values, marker='o', label=f'{lag} s ago')
    axes.set_xticks(list(WINDOWS))
    axes.set_xlabel('vision window, seconds')
    axes.set_ylim(0, 1.05)
    axes.legend()
    return _svg(figure)


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format='svg', metadata={'Date': None})
    return drawn.getvalue()[drawn.getvalue().index('<svg') :]


def _number(value: float) -> str:
    if value != value:  # nan: nothing was asked
        return ''
    return f'{value:.0f}' if abs(value) >= 10 else f'{value:.3f}'


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _html(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    top = ''.join(f'<th>{escape(cell)}</th>' for cell in head)
    lines = (''.join(f'<td>{escape(cell)}</td>' for cell in row) for row in body)
    return f'<table><tr>{top}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 24px auto;
  padding: 0 16px; color: #17202b; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }}
th, td {{ border: 1px solid #dde2e8; padding: 3px 8px; text-align: left; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary} Means over streams with 95 % bootstrap intervals; a claim holds when the interval of
the difference lies on the claimed side of 0, or within the margin of "as good". Side a wins
windows of {window} s against b, of which a judge that knows the truth sees each in both orders.
How everything was made is in run.json.</p>
<div>{verdicts}</div>
{tables}{figures}
</body>
</html>
"""
