# SPDX-License-Identifier: Apache-2.0
"""From a grid to its tables and its page, in one folder that goes on where it was broken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from svlm_core.evaluation.ablation import video as watching
from svlm_core.evaluation.ablation.grid import Cell, Grid
from svlm_core.evaluation.ablation.panels import page_of_video, page_of_worlds
from svlm_core.evaluation.ablation.sidebyside import PAGE
from svlm_core.evaluation.ablation.tables import (
    JUDGE,
    OF_VIDEO,
    OF_WORLDS,
    rows_of,
    rows_of_video,
    write_tables,
)
from svlm_core.evaluation.ablation.trials import carry_out, worlds
from svlm_core.evaluation.ablation.video import Engines, Seen, Video
from svlm_core.evaluation.identity import Identity, begin_folder, model_identity, of_stream
from svlm_core.evaluation.sitting import engine_of
from svlm_core.notice import warning
from svlm_core.timeline import write_whole


@dataclass(frozen=True)
class Outcome:
    """The tables as Markdown, and which rows ended before the video did, each with its reason."""

    tables: str
    problems: tuple[str, ...]


def ablate(grid: Grid, folder: Path, processes: int, said: Callable[[int, int], None]) -> str:
    """Carry out a grid on synthetic worlds into `folder`; its tables as Markdown.

    `said` is told how many exams are done, of how many. Raises SettingsError where the folder
    holds another run, CheckpointError for models that cannot be loaded, OutputError.
    """
    identities = identities_of(grid)
    begin_folder(folder, _content(grid, dict(enumerate(identities))))
    kept = carry_out(grid, folder, processes, said)
    write_whole(folder / PAGE, page_of_worlds(grid, identities[0], kept))
    return write_tables(folder, grid, rows_of(grid, identities, kept), OF_WORLDS)


def ablate_video(grid: Grid, video: Video, folder: Path, engines: Engines, seen: Seen) -> Outcome:
    """Carry out a grid on one's own video into `folder`.

    Raises as `ablate` does; SourceError for files of the folder that were damaged.
    """
    data = {'name': video.path.name, 'sha256': video.sha256, 'seconds': video.length}
    cells = grid.shown
    models, warnings = dict[Path | None, dict[str, Any]](), dict[str, None]()
    for place in dict.fromkeys(cell.folder for cell in cells.values()):
        engine = engines(place)
        models[place] = model_identity(engine)
        warnings[warning(engine.info)] = None
    identities = {
        number: _identity(cell, models[cell.folder], data, cell.stream.sampling.seed)
        for number, cell in cells.items()
    }
    begin_folder(folder, _content(grid, identities))
    told = watching.carry_out(cells, video, folder, engines, seen)
    first, rows = next(iter(identities.values())), rows_of_video(grid, identities, told)
    write_whole(folder / PAGE, page_of_video(grid, first, video, told, [*filter(None, warnings)]))
    problems = {
        f'{row["table"]}, {", ".join(row["labels"].values())}: {row["problem"]}': None
        for row in rows
        if row['problem']
    }
    return Outcome(write_tables(folder, grid, rows, OF_VIDEO), tuple(problems))


def identities_of(grid: Grid) -> list[Identity]:
    """What the numbers of every cell depend on, on synthetic worlds."""
    models = {cell.folder: model_identity(engine_of(cell.folder)) for cell in grid.cells}
    data = {'name': 'synthetic worlds', 'seeds': worlds(grid), 'seconds': grid.seconds}
    return [_identity(cell, models[cell.folder], data, grid.seed, JUDGE) for cell in grid.cells]


def _identity(
    cell: Cell, model: dict[str, Any], data: dict[str, Any], seed: int, judge: str | None = None
) -> Identity:
    settings = cell.stream
    retrieved = {'retrieved': cell.retrieved} if cell.retrieved else {}
    one = of_stream(settings, 'streaming', model=model, data=data, seed=seed, judge=judge)
    policy = 'retrieval' if cell.retrieved else one.policy
    return replace(one, policy=policy, settings={**one.settings, **retrieved})


def _content(grid: Grid, identities: Mapping[int, Identity]) -> dict[str, Any]:
    """What a folder must agree on to be gone on with."""
    plain = asdict(grid)
    del plain['cells']  # their identities say more
    del plain['moments']  # the page alone has them, and can be made anew
    rows = {n: {**one.row(), 'named': grid.cells[n].model} for n, one in identities.items()}
    return {'grid': plain, 'identities': rows}
