# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: a video file, or a folder of images.

A source is read once, from its start time on, and holds a few frames at a time however long it
is. Damage is not hidden: every good frame comes first, then SourceError tells what is missing.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.format import Flags as FormatFlags
from av.stream import Disposition

from svlm_core.errors import FrameError, SettingsError, SourceError
from svlm_core.natural import natural
from svlm_core.video.cameras import ADDRESSES, kind_of_camera, masked
from svlm_core.video.frame import Frame, pixels

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')

# A container may announce a little more than it shows; a second less is a file cut short.
CUT_SHORT = 1.0

# FFmpeg steps over damage in Matroska without a word. Between two packets of a file that is whole
# stand some 30 bytes of headers; more than this, and a gap in the stamps: something was lost.
HOLE = 100  # bytes


class Source(AbstractContextManager['Source']):
    """Frames in order of time, as an iterator and a context manager.

    `name` is what the user called it; `duration` is in seconds, None where nobody knows.
    """

    name: str
    duration: float | None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Frames, the first at or before the start time if there is one. Raises SourceError."""

    @abstractmethod
    def verify(self) -> None:
        """Raise SourceError for what was left out so far; the end of the frames does so too."""

    def close(self) -> None:
        """Let go of files and decoders."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def length(path: Path, image_fps: float = 2.0) -> float:
    """Seconds of a video; where it does not say, it is read through. Raises SourceError."""
    with open_source(path, image_fps=image_fps) as source:
        if source.duration is not None:
            return source.duration
        return max((frame.end for frame in source), default=0.0)


def open_source(path: str | Path, *, start: float = 0.0, image_fps: float = 2.0) -> Source:
    """The video file or folder of images at `path`, to be read from `start` seconds on.

    Images are sorted as people number them (2 before 10) and shown `image_fps` a second.
    Raises SourceError when it cannot be read, SettingsError for a bad start or rate.
    """
    if not 0 <= start < math.inf:
        raise SettingsError(f'start={start:g} is out of range: it must be at least 0')
    if not 0 < image_fps < math.inf:
        raise SettingsError(f'image_fps={image_fps:g} is out of range: it must be above 0')
    if not str(path):
        raise SourceError('the name of the source is empty: give a video or a folder of images')
    if re.match(r'[a-z][a-z0-9+.-]*://', str(path), re.I) or kind_of_camera(str(path)):
        raise SourceError(
            f'{masked(str(path))} is no file or folder; of live cameras, known are {ADDRESSES}'
        )
    path = Path(path)
    try:
        if path.is_dir():
            return ImageFolder(path, start, image_fps)
        if path.stat().st_size == 0 and path.is_file():
            raise SourceError(f'{path} is empty (0 bytes): the recording or copy failed')
    except FileNotFoundError:
        raise SourceError(f'{path}: no such file or folder') from None
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    return VideoFile(path, start)


class VideoFile(Source):
    """A video file, decoded as it is read; times count from its first frame."""

    def __init__(self, path: Path, start: float = 0.0) -> None:
        self.name = str(path)
        self._start = start
        self._container = _open(path)
        try:
            self._stream = _video_stream(self._container, self.name)
            self.duration = _declared_duration(self._container, self._stream)
            self._torn = self._container.format.name == 'mpegts' and _ends_in_a_packet(path)
            self._damage: list[float] = []  # when: stream seconds of the frame before
            self._now = 0.0  # end of the newest good frame
            self._hole = False  # bytes were stepped over, perhaps with frames among them
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise SourceError(f'{path}: not one frame can be decoded: the file is damaged')
        except BaseException:
            self._container.close()
            raise
        self._first = first
        self._origin = self._clock(first) or 0.0
        self._damage.clear()  # reading may begin between two key frames; that is no damage

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._timed(self._from_start()):
            self._now = frame.end
            yield frame
        if self.duration is not None and self.duration - self._now > CUT_SHORT:
            raise SourceError(
                f'{self.name} is cut short: it announces {self.duration:.1f} s '
                f'and can be read up to {self._now:.1f} s'
            )
        if self._torn:
            raise SourceError(f'{self.name} is cut short: it breaks off at {self._now:.1f} s')
        self.verify()

    def verify(self) -> None:
        if self._damage:
            raise SourceError(
                f'{self.name} is damaged: {len(self._damage)} pieces cannot be decoded, '
                f'the first after {self._damage[0]:.1f} s'
            )

    def close(self) -> None:
        self._container.close()

    def _clock(self, frame: av.VideoFrame) -> float | None:
        """When a frame is shown, in seconds of its container; None if nothing tells."""
        # AVI stores no presentation times: those that FFmpeg guesses are out of order.
        by_dts = frame.pts is None or self._container.format.name == 'avi'
        return _seconds(frame, frame.dts if by_dts else frame.pts)

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Good frames in order of display, from where the container stands."""
        try:
            for packet in self._packets():
                try:
                    # What is corrupt may still decode, to a picture that is half grey.
                    frames: list[Any] = [] if packet.is_corrupt else packet.decode()
                except av.FFmpegError:
                    frames, broken = [], True
                else:
                    broken = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
                if broken:
                    self._damage.append(self._now)
                yield from (frame for frame in frames if not frame.is_corrupt)
        except av.FFmpegError:
            self._damage.append(self._now)

    def _packets(self) -> Iterator[av.Packet]:
        """Packets of the video; notes where the demuxer steps over bytes of a Matroska file."""
        if not self._container.format.name.startswith('matroska'):
            yield from self._container.demux(self._stream)
            return
        end = None
        for packet in self._container.demux():
            if packet.size and packet.pos is not None:
                self._hole |= end is not None and packet.pos - end > HOLE
                end = packet.pos + packet.size
            if packet.stream.index == self._stream.index:
                yield packet

    def _from_start(self) -> Iterator[av.VideoFrame]:
        """Frames from the newest key frame that is not after the start time."""
        frames = chain([self._first], self._decoded)
        if self._start == 0 or self._clock(self._first) is None:
            return frames
        # Some indexes lead past the time asked for; then everything is read from the beginning.
        for target in (self._start, 0.0):
            try:
                stamp = round((self._origin + target) / self._stream.time_base)
                self._container.seek(stamp, stream=self._stream)
            except av.FFmpegError:
                return frames  # cannot seek: what is before the start is decoded and left out
            decoded = self._decode()
            first = next(decoded, None)
            self._damage.clear()
            frames = chain([] if first is None else [first], decoded)
            if first is not None and (self._clock(first) or 0.0) - self._origin <= self._start:
                break
        return frames

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[Frame]:
        """Lay frames on a timeline that only goes forward; a missing stamp follows the last."""
        usual = 1 / (self._stream.average_rate or self._stream.guessed_rate or 25)
        last, expected = -1.0, 0.0
        for frame in frames:
            clock = self._clock(frame)
            stamp = expected if clock is None else clock - self._origin
            if stamp <= last:
                stamp = expected
            shown = _seconds(frame, frame.duration) or float(usual)
            if self._hole and last >= 0 and stamp - expected > shown / 2:
                self._damage.append(expected)
                self._hole = False
            last, expected = stamp, stamp + shown
            yield Frame(stamp, expected, partial(_pixels, frame, self.name))


class ImageFolder(Source):
    """The images of a folder, each shown for `1 / fps` seconds, opened one after the other.

    In place of an image that cannot be read, the one before it stays on screen.
    """

    def __init__(self, path: Path, start: float = 0.0, fps: float = 2.0) -> None:
        self.name = str(path)
        self._start, self._fps = start, fps
        self._files = images(path)
        self._faults: list[SourceError] = []
        if not self._files:
            raise SourceError(f'{path} holds no images ({" ".join(IMAGES)})')
        self.duration = len(self._files) / fps

    def __iter__(self) -> Iterator[Frame]:
        first = int(self._start * self._fps)
        for number, file in enumerate(self._files[first:], first):
            try:
                picture = _read_image(file)
            except SourceError as error:
                self._faults.append(error)
                continue
            yield Frame(number / self._fps, (number + 1) / self._fps, picture.copy)
        self.verify()

    def verify(self) -> None:
        if self._faults:
            raise SourceError(
                f'{self.name}: {len(self._faults)} of {len(self._files)} images are left out: '
                f'{self._faults[0]}'
            )


def images(folder: Path) -> list[Path]:
    """The images of a folder, in the order people count; hidden files are none."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in IMAGES)
    return sorted((file for file in files if not file.name.startswith('.')), key=natural)


def _open(path: Path) -> Any:
    """The container of a file; a name with a colon is still a file, never a protocol."""
    try:
        container = av.open(f'file:{path}', metadata_errors='ignore')
    except av.FFmpegError as error:
        raise SourceError(
            f'{path} is no video, or is cut off before its index: {error.strerror}'
        ) from error
    if container.format.name == 'tty':  # FFmpeg would film any text file
        container.close()
        raise SourceError(f'{path} is a text file, not a video')
    return container


def _video_stream(container: Any, name: str) -> Any:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ' and '.join(sorted({stream.type for stream in container.streams})) or 'nothing'
        raise SourceError(f'{name} has no video stream: it holds {kinds} only')
    # Threads that work on frames at once would find damage now and then, not always.
    streams[0].thread_type = 'SLICE'
    return streams[0]


def _declared_duration(container: Any, stream: Any) -> float | None:
    """Seconds of video that the file announces; the whole file's where that is all it knows."""
    if container.format.flags & FormatFlags.no_timestamps.value:
        return None  # FFmpeg guesses from the size of such a file, and wildly
    if stream.duration:
        return float(stream.duration * stream.time_base)
    clock = re.fullmatch(r'(\d+):(\d\d):(\d\d(?:\.\d+)?)', stream.metadata.get('DURATION', ''))
    if clock:  # Matroska and WebM
        hours, minutes, seconds = map(float, clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base
    return None


def _ends_in_a_packet(path: Path) -> bool:
    """Whether a transport stream is cut within a packet of 188 bytes (192 on disc, 204 on air)."""
    return all(path.stat().st_size % size for size in (188, 192, 204))


def _seconds(frame: av.VideoFrame, ticks: int | None) -> float | None:
    return None if ticks is None or frame.time_base is None else float(ticks * frame.time_base)


def _pixels(frame: av.VideoFrame, name: str) -> np.ndarray:
    """The pixels of a frame, (H, W, 3) uint8."""
    try:
        return pixels(frame)
    except FrameError as error:
        raise SourceError(f'{name}: {error}') from error


def _read_image(path: Path) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8 of an image file."""
    try:
        with path.open('rb') as file, av.open(file, mode='r') as container:
            stream = container.streams.video[0]
            # Without this, a JPEG that is cut off decodes to grey and nobody is told.
            stream.codec_context.options = {'err_detect': 'explode'}
            return _pixels(next(container.decode(stream)), str(path))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise SourceError(f'{path} is damaged or not an image') from error
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
