# SPDX-License-Identifier: Apache-2.0
"""The exams of a grid: each cell tells every world, and what it said is kept second by second.

One exam is one file; a run that was broken off goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from svlm_core.evaluation.ablation.grid import Cell, Grid
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.plan import world
from svlm_core.evaluation.sitting import spread_kept, tell
from svlm_core.timeline import make_folder

MARKS = 'marks'  # folder of what was said

Kept = Mapping[tuple[int, str], Sequence[Sequence[Mark]]]  # by cell and history: of each world


@dataclass(frozen=True)
class Trial:
    """One exam: a cell tells a world, with this history."""

    cell: Cell
    history: str
    seed: int
    seconds: int


def worlds(grid: Grid) -> list[int]:
    """The seeds of the worlds that a grid is tried on; nothing is trained on them."""
    return [world(grid.seed, number) for number in range(grid.streams)]


def carry_out(grid: Grid, folder: Path, processes: int, said: Callable[[int, int], None]) -> Kept:
    """Sit all exams of a grid that `folder` does not hold yet; what was said in every one.

    `said` is told how many are there, of how many. Raises OutputError and SourceError for files
    that cannot be written or read.
    """
    make_folder(folder / MARKS)
    trials = {
        (number, history, stream): Trial(cell, history, seed, grid.seconds)
        for number, cell in enumerate(grid.cells)
        for history in grid.histories
        for stream, seed in enumerate(worlds(grid))
    }
    places = [folder / MARKS / _name(*key) for key in trials]
    found = spread_kept(
        sit, list(trials.values()), places, processes, lambda done: said(done, len(trials))
    )
    marks = dict(zip(trials, found, strict=True))
    return {
        (number, history): [marks[number, history, stream] for stream in range(grid.streams)]
        for number in range(len(grid.cells))
        for history in grid.histories
    }


def sit(trial: Trial) -> list[Mark]:
    """The marks of one exam."""
    cell = trial.cell
    return tell(cell.condition, cell.folder, trial.seed, trial.seconds, trial.history == 'free')


def _name(cell: int, history: str, stream: int) -> str:
    return f'cell-{cell:02}-{history}-{stream}.jsonl'
