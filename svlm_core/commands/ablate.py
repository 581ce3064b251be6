# SPDX-License-Identifier: Apache-2.0
"""`svlm ablate`: the paper's ablation tables, from a grid of models and settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from svlm_core.errors import SettingsError


@dataclass(frozen=True)
class Ablate:
    """Print the ablation tables of the paper from a grid.

    A grid names models and settings. It is a YAML file, or one that comes with svlm: `inference`
    (policies, retrieval, positions, text limits, vision window), `refresh` (how often previous
    text is encoded anew) or `training` (models of the laboratory x limits of inference). Each cell
    tells synthetic worlds that no model was trained on, with gold history and with its own.

    The folder gets tables.md, results.json and results.csv, in which each row says all that it
    depends on; what was said in every second in marks/; and side-by-side.html, one stream under
    all cells. A run that was broken off goes on where it was; a folder that holds a run with
    other settings is refused.

      svlm ablate inference --output inference
      svlm ablate my-grid.yaml --output mine --processes 4
    """

    grid: Positional[
        Annotated[str, arg(help='YAML file, inference, refresh, or training', metavar='GRID')]
    ]
    output: Annotated[Path, arg(help='folder for tables, page and marks', metavar='DIR')]
    processes: Annotated[int, arg(help='processes; 0: one for each core', metavar='NUMBER')] = 0

    def run(self) -> int:
        """Try, print the tables, and return the exit status. Raises SvlmError."""
        if self.processes < 0:
            raise SettingsError(f'--processes {self.processes} is out of range: 0 is all cores')
        from svlm_core.commands.console import errors, progress, screen
        from svlm_core.evaluation.ablation.grid import find_grid, read_grid

        grid = read_grid(find_grid(self.grid))
        from svlm_core.evaluation.ablation.run import ablate

        with progress(errors(), None) as moved:
            told = ablate(
                grid,
                self.output,
                self.processes or os.cpu_count() or 1,
                lambda n, of: moved(100 * n / of, f'{n} of {of} exams'),
            )
        screen().print(told, markup=False)
        return 0
