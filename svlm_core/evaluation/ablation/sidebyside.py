# SPDX-License-Identifier: Apache-2.0
"""One stream side by side: what each row of a table said at some moments, and what it cost.

One HTML file that needs nothing but itself, as the opening panel of the paper's poster.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from svlm_core.evaluation.ablation.grid import Grid, Layout, Line
from svlm_core.evaluation.ablation.trials import Kept, worlds
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.identity import Identity
from svlm_core.synthetic.captions import SILENCE
from svlm_core.synthetic.story import Story
from svlm_core.timeline import PAGE as SHELL
from svlm_core.timeline import STYLE, clock, fact_list, image_tag, milliseconds, picture

PAGE = 'side-by-side.html'
MOMENTS = 6  # where the grid names none
STREAM = 0  # which of the worlds is shown


def page(grid: Grid, identities: Sequence[Identity], kept: Kept) -> str:
    """The page: a section for each table, a column for each of its rows."""
    story, history = Story(worlds(grid)[STREAM]), grid.histories[-1]
    told = {cell: kept[cell, history][STREAM] for cell in range(len(grid.cells))}
    seconds = grid.moments or moments(told[0], grid.seconds)
    pictures = {s: image_tag(picture(s, story.frame(s)), 0) for s in seconds}
    whose = {'gold': 'the true replies', 'free': 'what was said'}[history]
    facts = {
        'world': str(story.seed),
        'memory holds': whose,
        'models': ', '.join(dict.fromkeys(cell.model for cell in grid.cells)),
        'svlm': identities[0].versions['svlm'],
        'revision': identities[0].revision or 'none',
    }
    sections = ''.join(_section(layout, told, pictures) for layout in grid.tables)
    return SHELL.format(
        title='One stream, side by side',
        style=STYLE + _STYLE,
        banners='',
        cards='',
        head=fact_list(facts),
        rows=f'<li class="none">{sections}</li>',
    )


def moments(marks: Sequence[Mark], seconds: int) -> tuple[int, ...]:
    """Seconds that lie evenly, each moved on to the next with something to say."""
    spoken = [mark.second for mark in marks if mark.truth != SILENCE]
    wanted = [round(seconds * (n + 0.5) / MOMENTS) for n in range(MOMENTS)]
    found = [next((s for s in spoken if s >= second), None) for second in wanted]
    return tuple(dict.fromkeys(s for s in found if s is not None))


def _section(layout: Layout, told: dict[int, Sequence[Mark]], pictures: dict[int, str]) -> str:
    head = ''.join(f'<th>{escape(_name(layout, line))}</th>' for line in layout.lines)
    rows = ''.join(
        f'<tr><th>{shown}<span>{clock(second)}</span>'
        f'<span>{escape(str(told[0][second].truth)) or "silent"}</span></th>'
        + ''.join(_said(told[line.cell][second]) for line in layout.lines)
        + '</tr>'
        for second, shown in pictures.items()
    )
    title = escape(f'{layout.name}: {layout.title}' if layout.title else layout.name)
    return (
        f'<section><h2>{title}</h2><div class="wide"><table><tr><th>shown, and true</th>{head}'
        f'</tr>{rows}</table></div></section>'
    )


def _said(mark: Mark) -> str:
    cost = milliseconds(mark.spent / max(mark.tokens, 1))
    return (
        f'<td class="{"right" if mark.right else "wrong"}"><p>{escape(mark.said) or "silent"}</p>'
        f'<span>{cost} a token, {mark.held} in memory</span></td>'
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
td.wrong p { color: var(--bad); }
img { display: block; border-radius: 8px; margin-bottom: 4px; }
"""
