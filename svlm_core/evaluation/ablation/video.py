# SPDX-License-Identifier: Apache-2.0
"""A grid tried on one's own video: each cell captions it by itself, and nobody knows the truth.

Cells run one after another, so that their times compare. One is done when its costs are there; a
run that was broken off goes on with those that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from svlm_core.capacity import sized
from svlm_core.engine import StreamingVLM
from svlm_core.errors import (
    DeviceFull,
    FrameError,
    MemoryFull,
    OutputError,
    SourceError,
)
from svlm_core.evaluation.ablation.grid import Cell
from svlm_core.evaluation.exam import effort_of
from svlm_core.evaluation.identity import file_hash
from svlm_core.prompt import Prompt
from svlm_core.records import Record, file_record
from svlm_core.timeline import lines_of, make_folder, write_lines, write_whole
from svlm_core.video.sampling import END_ERROR, sample
from svlm_core.video.sources import length, open_source

CAPTIONS, COSTS = 'captions', 'costs'  # folders

Engines = Callable[[Path | None], StreamingVLM]  # the model of a folder; None: the embedded one
Seen = Callable[[int, int, float], None]  # cells that are done, of how many, seconds of the next


@dataclass(frozen=True)
class Video:
    """A file, a hash of it, and its length in seconds."""

    path: Path
    sha256: str
    length: float

    @property
    def seconds(self) -> int:
        """How many seconds of it are whole."""
        return int(self.length + END_ERROR)


@dataclass(frozen=True)
class Effort:
    """What a round cost; fields as in `Mark`, `second` is the number of the round."""

    second: int
    held: int
    encoded: int
    tokens: int
    spent: float = field(compare=False)


@dataclass(frozen=True)
class Told:
    """What a cell said of a video, round by round, and what it cost.

    `problem` is why there is less than all of it: a full memory or device, a damaged file.
    """

    records: tuple[Record, ...]
    efforts: tuple[Effort, ...]
    chunk_seconds: float
    problem: str = ''

    def at(self, second: float) -> int:
        """The number of the round that shows a second; there may be none of that number."""
        return int(second / self.chunk_seconds + 1e-6)


def look_at(path: Path) -> Video:
    """The video in a file. Raises SourceError where it is none, or shorter than a second."""
    if path.is_dir():
        raise SourceError(f'{path} is a folder: give a video file')
    seconds = length(path)  # first: it says best what is wrong with a file
    video = Video(path, file_hash([path]), seconds)
    if not video.seconds:
        raise SourceError(f'{path}: nothing to caption: there is less than one second')
    return video


def carry_out(
    cells: Mapping[int, Cell], video: Video, folder: Path, engines: Engines, seen: Seen
) -> dict[int, Told]:
    """Caption a video with all cells that `folder` does not hold yet; what every one said.

    Raises OutputError and SourceError for files that cannot be written or read, and as loading a
    model does.
    """
    for name in (CAPTIONS, COSTS):
        make_folder(folder / name)
    found = {}
    for done, (number, cell) in enumerate(cells.items()):
        if not (folder / costs_of(number)).is_file():

            def seconds(second: float, done: int = done) -> None:
                seen(done, len(cells), second)

            keep(folder, number, watch(engines(cell.folder), cell, video, seconds))
        found[number] = read_told(folder, number, cell)
    return found


def watch(engine: StreamingVLM, cell: Cell, video: Video, seen: Callable[[float], None]) -> Told:
    """Caption a video under the settings of a cell, as far as its memory goes.

    `seen` is told of each second that is done.
    """
    settings, name = cell.stream, video.path.name
    records, efforts, problem = list[Record](), list[Effort](), ''
    with open_source(video.path) as source:
        try:
            room = sized(Prompt(engine.tokenizer, settings), settings, video.length)
            stream = engine.open(room, retrieved=cell.retrieved)
            for number, shown in enumerate(sample(source, settings)):
                caption = stream.step(shown.frames, shown.start)
                records.append(file_record(caption, shown, number, name))
                efforts.append(Effort(second=number, **effort_of(stream)))
                seen(shown.end)
            source.verify()
        except (SourceError, FrameError, MemoryFull, DeviceFull) as error:
            problem = str(error).replace(str(video.path), name)
    if not records and not problem:
        problem = f'{name}: nothing to caption: there is less than one round'
    return Told(tuple(records), tuple(efforts), settings.chunk_seconds, problem)


def captions_of(cell: int) -> str:
    """The file with what a cell said: caption records, a line for each round."""
    return f'{CAPTIONS}/cell-{cell:02}.jsonl'


def costs_of(cell: int) -> str:
    """The file with what each round of a cell cost, and why it ended early."""
    return f'{COSTS}/cell-{cell:02}.json'


def keep(folder: Path, cell: int, told: Told) -> None:
    """Write what a cell said; its costs come last, and say that it is done. Raises OutputError."""
    write_lines(folder / captions_of(cell), map(asdict, told.records))
    content = {'problem': told.problem, 'rounds': [asdict(effort) for effort in told.efforts]}
    write_whole(folder / costs_of(cell), json.dumps(content, allow_nan=False) + '\n')


def read_told(folder: Path, number: int, cell: Cell) -> Told:
    """What a cell said, as it is kept. Raises SourceError."""
    captions, costs = folder / captions_of(number), folder / costs_of(number)
    try:
        lines = lines_of(captions.read_text(encoding='utf-8'))
        content = json.loads(costs.read_bytes())
        return Told(
            records=tuple(Record.from_json(line) for line in lines),
            efforts=tuple(Effort(**effort) for effort in content['rounds']),
            chunk_seconds=cell.stream.chunk_seconds,
            problem=content['problem'],
        )
    except (OSError, ValueError, LookupError, TypeError, OutputError) as error:
        raise SourceError(
            f'{costs} and {captions.name} hold nothing of a run, remove them: {error}'
        ) from error
