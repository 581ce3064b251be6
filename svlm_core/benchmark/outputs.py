# SPDX-License-Identifier: Apache-2.0
"""A run of the benchmark as files: JSON, a CSV row for each second, and the paper's figure."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from svlm_core.benchmark.machine import Ceilings
from svlm_core.benchmark.run import COLUMNS, Course, Lap
from svlm_core.benchmark.summary import Summary, amortised
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.timeline import write_whole

FORMAT = 2  # of the JSON; another number where figures of the same name mean something else
JSON, CSV, PNG = 'bench.json', 'chunks.csv', 'latency.png'
SMOOTH = 3  # seconds of stream, of which the figure shows the median
LIVE = 100  # ms per token: the published figure's line of real time


@dataclass(frozen=True)
class Run:
    """All that one call of the benchmark found."""

    about: Mapping[str, Any]  # model, device, versions, course
    most: Ceilings
    summaries: tuple[Summary, ...]

    def to_json(self) -> str:
        """As `read_run` reads it."""
        return json.dumps(
            {
                'format': FORMAT,
                'about': dict(self.about),
                'ceilings': asdict(self.most),
                'arms': [asdict(summary) for summary in self.summaries],
            },
            indent=2,
        )


def read_run(path: Path) -> Run:
    """An earlier run. Raises SourceError for a file that is none, or of another format."""
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))
        if raw.get('format') != FORMAT and 'ceilings' in raw:
            raise SourceError(
                f'{path} was written by another version of svlm bench, and what it holds cannot '
                'be compared: measure it anew, or leave out --compare'
            )
        arms = tuple(Summary(**arm) for arm in raw['arms'])
        return Run(dict(raw['about']), Ceilings(**raw['ceilings']), arms)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f'{path} is no {JSON} of this version: {error}') from error


def check_output(folder: Path) -> None:
    """Raise before the work where `folder` could not be written after it."""
    if folder.exists():
        raise OutputError(f'{folder} exists: name a folder that does not')
    if not folder.absolute().parent.is_dir():
        raise OutputError(f'{folder.parent} does not exist: make it first')
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            'the figure needs matplotlib: pip install "svlm[eval]", or leave out --output'
        ) from error


def write_run(folder: Path, run: Run, laps: Sequence[Lap], course: Course) -> Path:
    """Write the files; the folder appears only when it is complete. Raises OutputError."""
    part = folder.with_name(f'.{folder.name}.part')
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write_whole(part / JSON, run.to_json() + '\n')
        write_whole(part / CSV, rows(laps, course))
        draw(part / PNG, laps, str(run.about['model']), str(run.about['device']))
        part.rename(folder)
    except OSError as error:
        with suppress(OSError):
            shutil.rmtree(part)
        raise OutputError(f'{folder} cannot be written: {error.strerror or error}') from error
    return folder


def rows(laps: Iterable[Lap], course: Course) -> str:
    """Every second of every arm, as CSV; times in ms."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    stages = ('look', 'plan', 'vision', 'prefill', 'decode', 'sample')
    writer.writerow(
        ['policy', 'tokens', 'stream', 'second', 'timed', 'chunk', *stages, 'amortised',
         'decode_token', 'decode_token_most', 'new', 'keys', 'memory_used',
         'allocations_so_far', 'joules_so_far']
    )  # fmt: skip
    for lap in laps:
        for c in lap.chunks:
            times = [1000 * t for t in (c.chunk, *(c.stages[s] for s in stages))]
            per_token = amortised(c), 1000 * c.token, 1000 * max(c.gaps)
            told = [f'{t:.4f}' for t in (*times, *per_token)]
            counted = [c.new, c.keys, c.used, c.allocations]  # None is written as nothing
            joules = None if c.joules is None else f'{c.joules:.4f}'
            timed = int(c.second >= course.warm_up)
            which = [lap.arm.policy, lap.arm.tokens, c.stream, c.second, timed]
            writer.writerow([*which, *told, *counted, joules])
    return text.getvalue()


def draw(path: Path, laps: Sequence[Lap], model: str, device: str) -> None:
    """Latency per token over stream time, by policy, as the paper's efficiency figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout='constrained', dpi=150)
    axes = figure.subplots()
    tokens = laps[0].arm.tokens
    for lap in laps:
        if lap.arm.tokens != tokens or not lap.chunks:
            continue
        values = smoothed([amortised(c) for c in lap.chunks if c.stream == 0])
        (line,) = axes.plot(range(len(values)), values, label=COLUMNS[lap.arm.policy])
        if lap.problem:
            axes.plot(len(values) - 1, values[-1], 'x', color=line.get_color(), markersize=9)
    axes.axhline(LIVE, color='grey', linestyle=':', label=f'{LIVE} ms')
    axes.set_yscale('log')
    axes.set_xlabel('stream time, s')
    axes.set_ylabel('latency per token, ms')
    axes.set_title(f'{model} on {device}, {tokens} tokens a second', fontsize=10)
    figure.legend(fontsize=8, loc='outside right upper')
    figure.savefig(path)
    with path.open('rb') as file:
        os.fsync(file.fileno())


def smoothed(values: Sequence[float]) -> list[float]:
    """The median of each value and those just before it."""
    return [median(values[max(0, n - SMOOTH + 1) : n + 1]) for n in range(len(values))]
