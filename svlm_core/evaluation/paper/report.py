# SPDX-License-Identifier: Apache-2.0
"""All items on one page that needs nothing but itself: measured beside published values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from svlm_core.evaluation.paper.exams import below
from svlm_core.evaluation.paper.items import INF, ITEMS, LIVE
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.timeline import write_whole

REPORT = 'report.html'


def write_report(setup: Setup, found: Sequence[Mapping[str, Any]]) -> None:
    """Write report.html. Raises OutputError."""
    write_whole(setup.folder / REPORT, page(found, setup))


def page(found: Sequence[Mapping[str, Any]], setup: Setup) -> str:
    """The report as HTML."""
    small = (
        ''
        if setup.size is None
        else '<p class="stand-in">Stand-ins: svlm-tiny and synthetic worlds '
        f'({setup.size.streams} of {setup.size.seconds} s) are in place of models, videos and '
        'the captions of others. These numbers are not those of the paper and do not reproduce '
        'them; they show that every item runs.</p>'
    )
    return PAGE.format(
        small=small,
        judge=escape(' and '.join(dict.fromkeys(map(setup.judge_name, (INF, LIVE))))),
        sections=''.join(_section(item) for item in found),
    )


def _section(content: Mapping[str, Any]) -> str:
    item = ITEMS[content['item']]
    measured = {(row['label'], row['column']): row for row in content['rows']}
    columns = list(
        dict.fromkeys(
            [
                *(column for of in item.published.values() for column in of),
                *(row['column'] for row in content['rows']),
            ]
        )
    )
    head = ''.join(f'<th>{escape(column)}</th>' for column in columns)
    lines = ''.join(
        f'<tr><th>{escape(label)}</th>'
        + ''.join(
            _cell(measured.get((label, column)), item.published.get(label, {}).get(column))
            for column in columns
        )
        + '</tr>'
        for label in _labels(content)
    )
    told = [escape(note) for note in (item.note, *sorted(_stand_ins(content))) if note]
    notes = ''.join(f'<p class="soft">{line}</p>' for line in (*told, *_missing(content)))
    return (
        f'<section id="{item.name}"><h2>{escape(_name(item.name))}: {escape(item.title)}</h2>'
        f'<div><table><tr><th></th>{head}</tr>{lines}</table></div>{notes}</section>\n'
    )


def _labels(content: Mapping[str, Any]) -> list[str]:
    """The rows of the table: those of the paper, with baselines below each."""
    rows = ITEMS[content['item']].rows
    shown = rows.keys() | {row['label'] for row in content['rows']}
    every = [line for label in rows for line in (label, below(label))]
    return [line for line in every if line in shown]


def _stand_ins(content: Mapping[str, Any]) -> set[str]:
    """What was run in place of what the paper ran, each thing once."""
    told = {part for row in content['rows'] for part in row['stand_in'].split('; ')}
    return {f'Stand-in: {part}.' for part in told if part}


def _missing(content: Mapping[str, Any]) -> list[str]:
    """What is lacking, each thing once, with the command that gets it."""
    gaps = {what: how for gap in content['missing'] for what, how in gap['lacks'].items()}
    lines = [f'Lacks {escape(what)}: <code>{escape(how)}</code>' for what, how in gaps.items()]
    return [*lines, *(f'Problem: {escape(problem)}' for problem in content['problems'])]


def _cell(row: Mapping[str, Any] | None, published: float | None) -> str:
    """Measured, its interval, and below it what was published."""
    told = '' if published is None else f'<span>published {published:g}</span>'
    if row is None:
        return f'<td>{"not measured" if told else ""}{told}</td>'
    value, ends = row['value'], row['value_ci']
    shown = 'no vote' if value is None else f'<b>{value:.2f}</b>'
    if ends:
        shown += f' [{ends[0]:.1f}, {ends[1]:.1f}]'
    return f'<td>{shown}{told}</td>'


def _name(name: str) -> str:
    """`table-5-left` as Table 5 left, `fig-6` as Fig. 6."""
    kind, number, *side = name.split('-')
    return ' '.join(['Table' if kind == 'table' else 'Fig.', number, *side])


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>The tables and figures of StreamingVLM</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 24px auto;
  padding: 0 16px; color: #17202b; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }}
th, td {{ border: 1px solid #dde2e8; padding: 3px 8px; text-align: left; }}
td span {{ display: block; color: #5c6773; }}
.soft {{ color: #5c6773; font-size: 13px; margin: 4px 0; }}
.stand-in {{ background: #fff3d6; padding: 8px 12px; }}
</style>
</head>
<body>
<h1>The tables and figures of StreamingVLM (arXiv 2510.09608)</h1>
{small}
<p>Win rates and accuracy in percent, with 95 % bootstrap intervals over videos; times in
milliseconds a token. Published values have no intervals. Judge: {judge}. How each number came
about is in the rows of the JSON beside this page.</p>
{sections}</body>
</html>
"""
