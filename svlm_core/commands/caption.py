# SPDX-License-Identifier: Apache-2.0
"""`svlm caption`: a video file or a folder of images in, captions out, second by second."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from svlm_core.commands.console import caption_line, progress, screen, signals, tell
from svlm_core.commands.engine_flags import (
    EngineFlags,
    introduction,
    load_engine,
    open_stream,
    warning,
)
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.records import Record, file_record
from svlm_core.timeline import clock
from svlm_core.video.sampling import sample
from svlm_core.video.sources import Source, images, open_source
from svlm_core.video.writers import JsonlWriter, SrtWriter, VttWriter, Writer

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.stream import Stream


@dataclass(frozen=True)
class Caption:
    """Caption a video file or a folder of images, second by second.

    Captions are printed as they come. The files are written line by line and are whole at any
    moment; a file that exists is replaced. Ctrl-C ends after the second in work and leaves all
    files complete; once more, and it ends at once.

      svlm caption patrol.mp4 --vtt out.vtt --jsonl out.jsonl
      svlm caption patrol.mp4 --query 'Report people.'
      svlm caption patrol.mp4 --start 60 --duration 30
      svlm caption frames/ --image-fps 10 --device cuda

    A damaged image or piece of a video is left out, and counted in an error at the end. The
    last seconds that fill no whole round are left out too, and named in the summary.

    Exit status: 0 when all was captioned, 1 after an error (told in one line, captions so far
    are kept), 130 after Ctrl-C, 143 after SIGTERM.
    """

    source: Annotated[
        Positional[str], arg(help='video file, or folder of images', metavar='SOURCE')
    ]
    vtt: Annotated[Path | None, arg(help='write WebVTT subtitles', metavar='FILE')] = None
    srt: Annotated[Path | None, arg(help='write SubRip subtitles', metavar='FILE')] = None
    jsonl: Annotated[
        Path | None,
        arg(help='write one JSON record per second, silent ones too', metavar='FILE'),
    ] = None
    start: Annotated[float, arg(help='begin at this second of the source', metavar='SECONDS')] = 0
    duration: Annotated[
        float | None, arg(help='stop after this much; None: at the end', metavar='SECONDS')
    ] = None
    image_fps: Annotated[
        float | None,
        arg(help='images shown per second, of a folder; None: as --fps', metavar='RATE'),
    ] = None
    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)

    def run(self) -> int:
        """Caption the source and return the exit status. Raises SvlmError."""
        settings = self.engine.settings()
        self._check_input()
        self._check_outputs()
        try:
            with ExitStack() as stack:
                rate = self.image_fps or settings.fps
                source = stack.enter_context(
                    open_source(self.source, start=self.start, image_fps=rate)
                )
                flags = self.engine
                engine = load_engine(flags.model, flags.device, flags.dtype)
                stream = open_stream(engine, settings, self._length(source))
                notice = warning(engine.info)
                tell('\n'.join(filter(None, (introduction(engine.info), notice))))
                # Last, because it empties files of the same name.
                writers = self._open_writers(stack, settings.chunk_seconds, notice)
                return self._watch(source, stream, writers)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT

    def _check_input(self) -> None:
        for flag, value in (('--duration', self.duration), ('--image-fps', self.image_fps)):
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f'{flag} {value:g} is out of range: it must be above 0')
        if self.image_fps is not None and Path(self.source).is_file():
            raise SettingsError(f'--image-fps is for folders of images: {self.source} is a file')

    def _check_outputs(self) -> None:
        """Refuse, before any is opened, outputs that would destroy the source or each other."""
        source = Path(self.source)
        inputs = [source, *(images(source) if source.is_dir() else [])]
        taken = dict.fromkeys(map(_identity, inputs), 'is the source, or part of it')
        for flag, path in (('--vtt', self.vtt), ('--srt', self.srt), ('--jsonl', self.jsonl)):
            if path is None or path.is_char_device():
                continue
            if path.is_dir():  # an empty name is this folder
                raise OutputError(f'{flag} {path} is a folder: give the name of a file')
            if not Path(os.path.realpath(path)).parent.is_dir():
                raise OutputError(f'{path} cannot be written: its folder does not exist')
            if use := taken.get(_identity(path)):
                raise OutputError(f'{flag} {path} {use}: give another name')
            taken[_identity(path)] = 'is named twice'

    def _open_writers(self, stack: ExitStack, seconds: float, note: str) -> list[Writer]:
        writers: list[Writer] = []
        if self.vtt is not None:
            writers.append(stack.enter_context(VttWriter(self.vtt, seconds, note)))
        if self.srt is not None:
            writers.append(stack.enter_context(SrtWriter(self.srt, seconds)))
        if self.jsonl is not None:
            writers.append(stack.enter_context(JsonlWriter(self.jsonl)))
        return writers

    def _watch(self, source: Source, stream: Stream, writers: list[Writer]) -> int:
        """Caption round by round until the end or a signal; the exit status."""
        began, rounds, spoken, rest = time.monotonic(), 0, 0, 0.0
        seconds = stream.settings.chunk_seconds
        terminal = screen()
        with signals() as caught:
            try:
                with progress(terminal, self._length(source)) as show:
                    for record in self._records(source, stream, caught):
                        for writer in writers:
                            writer.write(record)
                        end = record.window_start + seconds
                        rounds, spoken = rounds + 1, spoken + bool(record.text)
                        if record.text:
                            terminal.print(caption_line(record.window_start, end, record.text))
                        show(end - self.start, f'{clock(end)}  {stream.held} tokens held')
                if not caught:
                    rest = max(0.0, (self._length(source) or 0.0) - rounds * seconds)
            finally:
                tell(_summary(stream, rounds, spoken, time.monotonic() - began, rest))
        if not caught:
            source.verify()  # with --duration, the frames end before the source tells by itself
        if not rounds and not caught:
            raise SourceError(
                f'{self.source}: nothing to caption: from {self.start:g} s on, there is less than '
                f'one round of {seconds:g} s'
            )
        return 128 + caught[0] if caught else 0

    def _records(self, source: Source, stream: Stream, caught: list[int]) -> Iterator[Record]:
        """The record of each round; ends early once a signal is caught."""
        frames = takewhile(lambda _: not caught, source)
        rounds = sample(frames, stream.settings, self.start, self.duration)
        for sequence, round in enumerate(takewhile(lambda _: not caught, rounds)):
            caption = stream.step(round.frames, round.start)
            yield file_record(caption, round, sequence, self.source)

    def _length(self, source: Source) -> float | None:
        """Seconds that will be captioned, for the progress bar; None if nobody knows."""
        known = [self.duration] if self.duration is not None else []
        if source.duration is not None:
            known.append(max(0.0, source.duration - self.start))
        return min(known, default=None)


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common: links of both kinds, and ways to its folder."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _summary(stream: Stream, rounds: int, spoken: int, taken: float, rest: float) -> str:
    """One line on what was done; `rest` is the seconds at the end that make no whole round."""
    seconds = rounds * stream.settings.chunk_seconds
    left_out = f'; the last {rest:.1f} s make no whole round, left out' if rest >= 0.05 else ''
    return (
        f'{rounds} rounds, {spoken} with words: {seconds:g} s of stream in {taken:.1f} s '
        f'({seconds / max(taken, 1e-9):.1f} x real time); memory holds {stream.held} of '
        f'{stream.capacity} tokens ({stream.memory_bytes / 1e6:.1f} MB){left_out}'
    )
