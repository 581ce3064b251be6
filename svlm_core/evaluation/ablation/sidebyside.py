# SPDX-License-Identifier: Apache-2.0
"""One stream side by side: what each row of a table said at some moments, and what it cost.

One HTML file that needs nothing but itself, as the opening panel of the paper's poster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from svlm_core.evaluation.ablation.grid import Layout, Line
from svlm_core.timeline import PAGE as SHELL
from svlm_core.timeline import STYLE, Picture, clock, fact_list, image_tag, milliseconds

PAGE = 'side-by-side.html'


@dataclass(frozen=True)
class Moment:
    """A second that is shown: its picture, if there is one, and what is true, if that is known."""

    second: int
    shot: Picture | None
    truth: str | None = None


@dataclass(frozen=True)
class Said:
    """What was said at a moment, in how many tokens and seconds of computing.

    `right` is None where nobody knows. `before` is the last that was said, of one that is silent.
    """

    text: str
    tokens: int
    spent: float
    held: int
    right: bool | None = None
    before: str = ''

    @property
    def per_token(self) -> float:
        """Seconds of computing for each token."""
        return self.spent / max(self.tokens, 1)


@dataclass(frozen=True)
class Column:
    """What a cell said at every moment; None where it says nothing any more, and why it ended."""

    said: Sequence[Said | None]
    note: str = ''
    problem: str = ''


def page(
    layouts: Sequence[Layout],
    columns: Mapping[int, Column],
    moments: Sequence[Moment],
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> str:
    """The page: a section for each table, a column for each of its rows, by the cell of it."""
    said = [one for column in columns.values() for one in column.said if one is not None]
    most = max((one.per_token for one in said), default=0.0)
    sections = ''.join(_section(layout, columns, moments, most) for layout in layouts)
    return SHELL.format(
        title='One stream, side by side',
        style=STYLE + _STYLE,
        banners=''.join(f'<p class="notice" role="alert">{escape(w)}</p>' for w in warnings),
        cards='',
        head=fact_list(facts),
        rows=f'<li class="none">{sections}</li>',
    )


def _section(
    layout: Layout, columns: Mapping[int, Column], moments: Sequence[Moment], most: float
) -> str:
    """A table; `most` is what a token costs at most, to measure bars by."""
    title = escape(f'{layout.name}: {layout.title}' if layout.title else layout.name)
    first = 'shown' if all(moment.truth is None for moment in moments) else 'shown, and true'
    head = ''.join(_head(_name(layout, line), columns[line.cell]) for line in layout.lines)
    rows = ''.join(
        f'<tr>{_moment(moment)}'
        + ''.join(_said(columns[line.cell].said[number], most) for line in layout.lines)
        + '</tr>'
        for number, moment in enumerate(moments)
    )
    return (
        f'<section><h2>{title}</h2><div class="wide"><table><tr><th>{first}</th>{head}'
        f'</tr>{rows}</table></div></section>'
    )


def _head(name: str, column: Column) -> str:
    note = f'<span>{escape(column.note)}</span>' if column.note else ''
    problem = f'<span class="bad">{escape(column.problem)}</span>' if column.problem else ''
    return f'<th>{escape(name)}{note}{problem}</th>'


def _moment(moment: Moment) -> str:
    shown = '<span class="missing">no picture</span>'
    if moment.shot is not None:
        shown = image_tag(moment.shot, 0)
    truth = '' if moment.truth is None else f'<span>{escape(moment.truth) or "silent"}</span>'
    return f'<th>{shown}<span>{clock(moment.second)}</span>{truth}</th>'


def _said(said: Said | None, most: float) -> str:
    if said is None:
        return '<td class="ended"><p>ended before</p></td>'
    kind = {True: 'right', False: 'wrong', None: ''}[said.right]
    before = f'<span>{escape(said.before)}</span>' if said.before else ''
    width = 100 * said.per_token / most if most else 0.0
    return (
        f'<td class="{kind}"><p>{escape(said.text) or "silent"}</p>{before}'
        f'<span>{milliseconds(said.per_token)} a token, {said.held} in memory</span>'
        f'<i style="width:{width:.0f}%"></i></td>'
    )


def _name(layout: Layout, line: Line) -> str:
    if len(layout.heads) == 1:
        return line.labels[0]
    pairs = zip(layout.heads, line.labels, strict=True)
    return ', '.join(f'{head} {label}' for head, label in pairs)


_STYLE = """
body { max-width: 1400px; }
ol { border: 0; }
li::before { display: none; }
li { padding: 0; }
h2 { font-size: 1.1rem; color: var(--ink); margin: 26px 0 8px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; color: var(--ink); font-size: .85rem; }
th, td { border: 1px solid var(--line); padding: 8px 10px; text-align: left; min-width: 150px;
  vertical-align: top; background: var(--card); }
th span, td span { display: block; color: var(--soft); font-weight: 400; font-size: .75rem; }
th .missing { display: grid; }
td p { overflow-wrap: anywhere; }
td.wrong p, th .bad { color: var(--bad); }
td.ended p { color: var(--soft); font-style: italic; }
td i { display: block; height: 4px; margin-top: 6px; border-radius: 2px; background: var(--bar); }
img { display: block; border-radius: 8px; margin-bottom: 4px; max-width: 260px; }
"""
