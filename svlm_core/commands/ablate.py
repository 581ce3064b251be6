# SPDX-License-Identifier: Apache-2.0
"""`svlm ablate`: the paper's ablation tables, from a grid of models and settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from svlm_core.errors import SettingsError
from svlm_core.timeline import clock

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.engine import StreamingVLM


@dataclass(frozen=True)
class Ablate:
    """Print the ablation tables of the paper from a grid.

    A grid names models and settings. It is a YAML file, or one that comes with svlm: `policies`
    (the four of the paper), `inference` (policies, retrieval, positions, text limits, vision
    window), `refresh` (how often previous text is encoded anew) or `training` (models of the
    laboratory x limits of inference). Each cell tells synthetic worlds that no model was trained
    on, with gold history and with its own.

    With --video each cell captions that file instead, one after the other, as fast as it goes.
    There is no truth then: the tables have costs alone. A cell whose memory is full has said what
    it said until then, and its row tells so; the exit status is 1.

    The folder gets tables.md, results.json and results.csv, in which each row says all that it
    depends on; what was said in every second in marks/, or in captions/ with costs/; and
    side-by-side.html, one stream under all cells. A run that was broken off goes on where it was;
    a folder that holds a run with other settings is refused.

      svlm ablate inference --output inference
      svlm ablate my-grid.yaml --output mine --processes 4
      svlm ablate policies --video match.mp4 --model StreamingVLM --output match
    """

    grid: Positional[
        Annotated[
            str, arg(help='YAML file, policies, inference, refresh, or training', metavar='GRID')
        ]
    ]
    output: Annotated[Path, arg(help='folder for tables, page and what was said', metavar='DIR')]
    video: Annotated[
        Path | None, arg(help='file to caption; None: synthetic worlds', metavar='FILE')
    ] = None
    model: Annotated[
        Path | None,
        arg(help='of a grid that names none; None: the built-in svlm-tiny', metavar='DIR'),
    ] = None
    device: Annotated[
        str, arg(help='with --video: auto, cpu, cuda, cuda:1, ...', metavar='DEVICE')
    ] = 'auto'
    processes: Annotated[
        int, arg(help='without --video: processes; 0: one for each core', metavar='NUMBER')
    ] = 0

    def run(self) -> int:
        """Try, print the tables, and return the exit status. Raises SvlmError."""
        if self.processes < 0:
            raise SettingsError(f'--processes {self.processes} is out of range: 0 is all cores')
        if self.video is None:
            return self._on_worlds()
        if self.processes:
            raise SettingsError('--processes is for worlds: cells take turns on a video')
        return self._on_video(self.video)

    def _on_worlds(self) -> int:
        from svlm_core.commands.console import errors, progress, screen
        from svlm_core.evaluation.ablation.grid import find_grid, read_grid

        if self.device != 'auto':
            raise SettingsError('--device is for --video: worlds are told on CPUs')
        grid = read_grid(find_grid(self.grid), self.model)
        from svlm_core.evaluation.ablation.run import ablate

        with progress(errors(), 100) as moved:
            told = ablate(
                grid,
                self.output,
                self.processes or os.cpu_count() or 1,
                lambda n, of: moved(100 * n / of, f'{n} of {of} exams'),
            )
        screen().print(told, markup=False)
        return 0

    def _on_video(self, file: Path) -> int:
        from svlm_core.commands.console import errors, progress, screen
        from svlm_core.evaluation.ablation.grid import find_grid, read_grid
        from svlm_core.evaluation.ablation.run import ablate_video
        from svlm_core.evaluation.ablation.video import look_at

        video = look_at(file)
        grid = read_grid(find_grid(self.grid), self.model, video.seconds)
        with progress(errors(), 100) as moved:

            def seen(cells: int, of: int, second: float) -> None:
                part = (cells + second / video.length) / of
                moved(100 * part, f'cell {cells + 1} of {of}, {clock(second)}')

            done = ablate_video(grid, video, self.output, Engines(self.device), seen)
        out = screen()
        out.print(done.tables, markup=False)
        for problem in done.problems:
            out.print(problem, markup=False)
        return int(bool(done.problems))


class Engines:
    """Loads models onto a device, one at a time: the one before leaves first."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._held: dict[Path | None, StreamingVLM] = {}

    def __call__(self, folder: Path | None) -> StreamingVLM:
        """The model of a folder; None: the embedded one. Raises as loading does."""
        from svlm_core.commands.engine_flags import load_engine

        if folder not in self._held:
            self._held.clear()
            name = None if folder is None else str(folder)
            self._held[folder] = load_engine(name, self._device, 'auto')
        return self._held[folder]
