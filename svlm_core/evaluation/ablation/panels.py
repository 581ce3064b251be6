# SPDX-License-Identifier: Apache-2.0
"""What the page side by side shows: of the worlds of a grid, or of one's own video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from svlm_core.config import StreamSettings
from svlm_core.errors import SourceError
from svlm_core.evaluation.ablation.grid import Cell, Grid
from svlm_core.evaluation.ablation.sidebyside import Column, Moment, Said, page
from svlm_core.evaluation.ablation.trials import Kept, worlds
from svlm_core.evaluation.ablation.video import Told, Video
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.identity import Identity
from svlm_core.synthetic.captions import SILENCE
from svlm_core.synthetic.story import Story
from svlm_core.timeline import Picture, clock, milliseconds, picture
from svlm_core.video.sampling import sample
from svlm_core.video.sources import open_source

MOMENTS = 6  # where the grid names none
STREAM = 0  # which of the worlds is shown
HEIGHT = 146  # lines of a picture of a video


def page_of_worlds(grid: Grid, identity: Identity, kept: Kept) -> str:
    """The page of the first world; `identity` is that of a cell."""
    story, history = Story(worlds(grid)[STREAM]), grid.histories[-1]
    told = {cell: kept[cell, history][STREAM] for cell in range(len(grid.cells))}
    seconds = grid.moments or moments(told[0], grid.seconds)
    whose = {'gold': 'the true replies', 'free': 'what was said'}[history]
    facts = {'world': str(story.seed), 'memory holds': whose}
    return page(
        grid.tables,
        {
            cell: Column([_marked(marks[second]) for second in seconds])
            for cell, marks in told.items()
        },
        [Moment(s, picture(s, story.frame(s)), str(told[0][s].truth)) for s in seconds],
        facts | _facts(grid.cells, identity),
    )


def page_of_video(
    grid: Grid,
    identity: Identity,
    video: Video,
    told: Mapping[int, Told],
    warnings: Sequence[str],
) -> str:
    """The page of a video; `identity` is that of a cell."""
    seconds = grid.moments or evenly(video.seconds)
    cells = grid.shown.values()
    facts = {
        'video': video.path.name,
        'length': clock(video.length),
        'query': ' / '.join(dict.fromkeys(cell.stream.query for cell in cells)),
        'device': str(identity.model['device']),
    }
    return page(
        grid.tables,
        {number: _column(one, seconds) for number, one in told.items()},
        [Moment(second, _shot(video, grid.cells[0].stream, second)) for second in seconds],
        facts | _facts(list(cells), identity),
        warnings,
    )


def moments(marks: Sequence[Mark], seconds: int) -> tuple[int, ...]:
    """Seconds that lie evenly, each moved on to the next with something to say."""
    spoken = [mark.second for mark in marks if mark.truth != SILENCE]
    found = [next((s for s in spoken if s >= second), None) for second in evenly(seconds)]
    return tuple(dict.fromkeys(s for s in found if s is not None))


def evenly(seconds: int) -> tuple[int, ...]:
    """Seconds that lie evenly, the first and the last half as far from the ends."""
    return tuple(dict.fromkeys(int(seconds * (n + 0.5) / MOMENTS) for n in range(MOMENTS)))


def _facts(cells: Sequence[Cell], identity: Identity) -> dict[str, str]:
    return {
        'models': ', '.join(dict.fromkeys(cell.model for cell in cells)),
        'svlm': identity.versions['svlm'],
        'revision': identity.revision or 'none',
    }


def _marked(mark: Mark) -> Said:
    return Said(mark.said, mark.tokens, mark.spent, mark.held, mark.right)


def _column(told: Told, seconds: Sequence[int]) -> Column:
    tokens = max(sum(effort.tokens for effort in told.efforts), 1)
    mean = sum(effort.spent for effort in told.efforts) / tokens
    end = clock(len(told.efforts) * told.chunk_seconds)
    note = f'{milliseconds(mean)} a token from 0:00 to {end}' if told.efforts else ''
    return Column([_told(told, told.at(second)) for second in seconds], note, told.problem)


def _told(told: Told, number: int) -> Said | None:
    if number >= len(told.efforts):
        return None
    text, effort = told.records[number].text, told.efforts[number]
    spoken = [record for record in told.records[:number] if record.text]
    before = ''
    if not text and spoken:
        before = f'{clock(spoken[-1].window_start)}: {spoken[-1].text}'
    return Said(text, effort.tokens, effort.spent, effort.held, before=before)


def _shot(video: Video, settings: StreamSettings, second: int) -> Picture | None:
    """The newest frame of the round that begins at a second; None where damage took it."""
    with open_source(video.path, start=second) as source:
        try:
            shown = next(sample(source, settings, second), None)
        except SourceError:
            return None
    return None if shown is None else picture(second, shown.frames[-1], HEIGHT)
