# SPDX-License-Identifier: Apache-2.0
"""From a grid to its tables and its page, in one folder that goes on where it was broken off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svlm_core.card import differences, suited
from svlm_core.evaluation.ablation.grid import Cell, Grid
from svlm_core.evaluation.ablation.sidebyside import PAGE, page
from svlm_core.evaluation.ablation.tables import JUDGE, rows_of, write_tables
from svlm_core.evaluation.ablation.trials import carry_out, worlds
from svlm_core.evaluation.identity import Identity, begin_folder, model_identity
from svlm_core.evaluation.sitting import engine_of
from svlm_core.timeline import write_whole


def ablate(grid: Grid, folder: Path, processes: int, said: Callable[[int, int], None]) -> str:
    """Carry out a grid into `folder`; its tables as Markdown.

    `said` is told how many exams are done, of how many. Raises SettingsError where the folder
    holds another run, CheckpointError for models that cannot be loaded, OutputError.
    """
    identities = identities_of(grid)
    begin_folder(folder, _content(grid, identities))
    kept = carry_out(grid, folder, processes, said)
    write_whole(folder / PAGE, page(grid, identities, kept))
    return write_tables(folder, grid, rows_of(grid, identities, kept))


def identities_of(grid: Grid) -> list[Identity]:
    """What the numbers of every cell depend on."""
    models = {cell.folder: model_identity(engine_of(cell.folder)) for cell in grid.cells}
    data = {'name': 'synthetic worlds', 'seeds': worlds(grid), 'seconds': grid.seconds}
    return [_identity(cell, models[cell.folder], data, grid.seed) for cell in grid.cells]


def _identity(cell: Cell, model: dict[str, Any], data: dict[str, Any], seed: int) -> Identity:
    settings = suited('robot', cell.folder, **cell.settings)
    retrieved = {'retrieved': cell.retrieved} if cell.retrieved else {}
    return Identity(
        mode='streaming',
        policy='retrieval' if cell.retrieved else settings.policy,
        frames=f'{settings.fps:g} fps, all',
        pixels=f'{settings.min_vision_tokens} to {settings.max_vision_tokens} tokens a pair',
        positions=settings.rope,
        model=model,
        data=data,
        seed=seed,
        settings=differences(settings) | retrieved,
        judge=JUDGE,
    )


def _content(grid: Grid, identities: list[Identity]) -> dict[str, Any]:
    """What a folder must agree on to be gone on with."""
    plain = asdict(grid)
    del plain['cells']  # their identities say more
    cells = zip(grid.cells, identities, strict=True)
    rows = [{**identity.row(), 'named': cell.model} for cell, identity in cells]
    return {'grid': plain, 'identities': dict(enumerate(rows))}
