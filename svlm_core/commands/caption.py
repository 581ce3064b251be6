# SPDX-License-Identifier: Apache-2.0
"""`svlm caption`: a video, a folder of images or a camera in, captions out, second by second."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from svlm_core.commands.camera_flags import CameraFlags
from svlm_core.commands.console import caption_line, progress, screen, signals, tell
from svlm_core.commands.engine_flags import (
    EngineFlags,
    introduction,
    load_engine,
    open_stream,
)
from svlm_core.commands.sessions import FileSession, LiveSession, Session
from svlm_core.config import StreamSettings
from svlm_core.curation.pipeline import is_video
from svlm_core.errors import OutputError, SettingsError
from svlm_core.notice import warning
from svlm_core.records import Record
from svlm_core.timeline import clock
from svlm_core.video.cameras import kind_of_camera, masked
from svlm_core.video.sources import images, open_source
from svlm_core.video.writers import JsonlWriter, SrtWriter, VttWriter, Writer

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.stream import Stream


@dataclass(frozen=True)
class Caption:
    """Caption a video file, a folder of images or a live camera, second by second.

    With --output all videos of a folder are captioned, into a file of JSON records for each.

    Captions are printed as they come. The files are written line by line and are whole at any
    moment; a file that exists is replaced. Ctrl-C ends after the second in work and leaves all
    files complete; once more, and it ends at once.

      svlm caption patrol.mp4 --vtt out.vtt --jsonl out.jsonl
      svlm caption patrol.mp4 --query 'Report people.'
      svlm caption patrol.mp4 --start 60 --duration 30
      svlm caption frames/ --image-fps 10 --device cuda
      svlm caption rtsp://user:password@camera/stream --jsonl out.jsonl
      svlm caption /dev/video0 --camera-size 1280x720 --camera-format mjpeg
      svlm caption videos/ --output captions

    A damaged image or piece of a video is left out, and counted in an error at the end. The
    last seconds that fill no whole round are left out too, and named in the summary.

    A camera is captioned until Ctrl-C or for --duration. Its newest second is, whatever was
    missed meanwhile; a connection that is lost is made again, and the memory goes on. Stamps and
    windows of its JSON records are wall clock, subtitles count from its first frame.

    Videos of a folder are captioned one by one: a run that was stopped goes on with the video that
    it was at, and --shard 2/4 takes a part of them. Another model or setting is refused in the
    same --output.

    Exit status: 0 when all was captioned, 1 after an error (told in one line, captions so far
    are kept), 130 after Ctrl-C, 143 after SIGTERM.
    """

    source: Annotated[
        Positional[str],
        arg(
            help='video file, folder of images (with --output: of videos), rtsp://... or '
            'http://... (MJPEG), /dev/video0',
            metavar='SOURCE',
        ),
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
    output: Annotated[
        Path | None, arg(help='folder for the captions of a folder of videos', metavar='DIR')
    ] = None
    shard: Annotated[
        str,
        arg(help='part i of n of the videos; afterwards `svlm curate merge DIR`', metavar='I/N'),
    ] = '1/1'
    ray: Annotated[
        str,
        arg(help='caption videos on a Ray cluster: its address, auto, local', metavar='ADDRESS'),
    ] = ''
    camera: Annotated[CameraFlags, arg(name='')] = field(default_factory=CameraFlags)
    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)

    def run(self) -> int:
        """Caption the source and return the exit status. Raises SvlmError."""
        settings = self.engine.settings()
        if self.output is not None:
            return self._caption_all(self.output)
        self._check_input()
        self._check_outputs()
        try:
            with ExitStack() as stack:
                session = self._session(stack, settings)
                flags = self.engine
                engine = load_engine(flags.model, flags.device, flags.dtype)
                stream = open_stream(engine, settings, session.length)
                notice = warning(engine.info)
                tell('\n'.join(filter(None, (introduction(engine.info), notice))))
                # Last, because it empties files of the same name.
                outputs = self._open_outputs(stack, settings.chunk_seconds, notice)
                return self._watch(session, stream, outputs)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT

    def _caption_all(self, output: Path) -> int:
        """Caption a folder of videos."""
        self.camera.check(self.source)
        for name in ('vtt', 'srt', 'jsonl', 'start', 'duration', 'image_fps'):
            if getattr(self, name) not in (None, 0):
                flag = name.replace('_', '-')
                raise SettingsError(f'--{flag} is for one source, --output for a folder of videos')
        from svlm_core.commands.archive import Archive, caption_all

        return caption_all(Archive(Path(self.source), self.engine), output, self.shard, self.ray)

    def _check_input(self) -> None:
        if self.ray or self.shard != '1/1':
            raise SettingsError('--shard and --ray are for a folder of videos: give --output DIR')
        self.camera.check(self.source)
        folder = Path(self.source)
        if folder.is_dir() and not images(folder) and any(map(is_video, folder.iterdir())):
            raise SettingsError(f'{folder} is a folder of videos: give --output DIR')
        for flag, value in (('--duration', self.duration), ('--image-fps', self.image_fps)):
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f'{flag} {value:g} is out of range: it must be above 0')
        if not 0 <= self.start < math.inf:
            raise SettingsError(f'--start {self.start:g} is out of range: it must be at least 0')
        live = kind_of_camera(self.source) is not None
        if self.start and live:
            raise SettingsError(f'--start is for files: {masked(self.source)} is a camera')
        if self.image_fps is not None and (live or Path(self.source).is_file()):
            what = 'a camera' if live else 'a file'
            raise SettingsError(
                f'--image-fps is for folders of images: {masked(self.source)} is {what}'
            )

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

    def _open_outputs(self, stack: ExitStack, seconds: float, note: str) -> Outputs:
        subtitles: list[Writer] = []
        if self.vtt is not None:
            subtitles.append(stack.enter_context(VttWriter(self.vtt, seconds, note)))
        if self.srt is not None:
            subtitles.append(stack.enter_context(SrtWriter(self.srt, seconds)))
        rows = [] if self.jsonl is None else [stack.enter_context(JsonlWriter(self.jsonl))]
        return Outputs(subtitles, rows)

    def _session(self, stack: ExitStack, settings: StreamSettings) -> Session:
        """Open the source."""
        if kind_of_camera(self.source):
            live = stack.enter_context(self.camera.source(self.source, settings))
            return LiveSession(live, self.duration)
        rate = self.image_fps or settings.fps
        source = open_source(self.source, start=self.start, image_fps=rate)
        return FileSession(self.source, stack.enter_context(source), self.start, self.duration)

    def _watch(self, session: Session, stream: Stream, outputs: Outputs) -> int:
        """Caption round by round until the end or a signal; the exit status."""
        began, rounds, spoken = time.monotonic(), 0, 0
        seconds = stream.settings.chunk_seconds
        terminal = screen()
        with signals() as caught:
            try:
                with progress(terminal, session.length) as show:
                    for start, record in session.records(stream, lambda: bool(caught)):
                        outputs.write(record, start)
                        end = start + seconds
                        rounds, spoken = rounds + 1, spoken + bool(record.text)
                        if record.text:
                            terminal.print(caption_line(start, end, record.text))
                        show(end - self.start, f'{clock(end)}  {stream.held} tokens held')
            finally:
                taken, remark = time.monotonic() - began, session.remark(rounds * seconds)
                tell(_summary(stream, rounds, spoken, taken) + remark)
        if not caught:
            session.verify(rounds * seconds)
        return 128 + caught[0] if caught else 0


@dataclass(frozen=True)
class Outputs:
    """Where records go: subtitles count from the first frame, rows keep their own clock."""

    subtitles: Sequence[Writer]
    rows: Sequence[Writer]

    def write(self, record: Record, start: float) -> None:
        """Write the record of the second that begins at `start` of the stream."""
        for writer in self.subtitles:
            writer.write(replace(record, window_start=start))
        for writer in self.rows:
            writer.write(record)


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common: links of both kinds, and ways to its folder."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _summary(stream: Stream, rounds: int, spoken: int, taken: float) -> str:
    """One line on what was done."""
    seconds = rounds * stream.settings.chunk_seconds
    return (
        f'{rounds} rounds, {spoken} with words: {seconds:g} s of stream in {taken:.1f} s '
        f'({seconds / max(taken, 1e-9):.1f} x real time); memory holds {stream.held} of '
        f'{stream.capacity} tokens ({stream.memory_bytes / 1e6:.1f} MB)'
    )
