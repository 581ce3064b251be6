# SPDX-License-Identifier: Apache-2.0
"""One connection to a live camera: its frames as they come, until it fails.

All that comes must be decoded where pictures build upon each other; still pictures (MJPEG, raw)
are decoded only if somebody looks at them. RGB is made only then in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any

import av
import numpy as np

from svlm_core.errors import FrameError, SourceError
from svlm_core.video.cameras import Camera
from svlm_core.video.frame import pixels

STILLS = ('mjpeg', 'rawvideo')  # codecs
JPEG_END, TAIL = b'\xff\xd9', 1024  # the mark, and bytes in which it lies; some cameras pad
POLL = 0.005  # seconds between two looks at a device
SECOND = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame as it came; `shown` is when on the camera's clock (ns), None where nothing tells.

    `rgb()` gives its pixels (H, W, 3) uint8 or raises FrameError; it is None where it is certain
    that the frame cannot be read.
    """

    shown: int | None
    rgb: Callable[[], np.ndarray] | None


class Connection(AbstractContextManager['Connection']):
    """An open camera. To be used, and closed, by one thread.

    Raises SourceError where it does not answer within `open_timeout` seconds, or cannot be read.
    """

    def __init__(self, camera: Camera, open_timeout: float, read_timeout: float) -> None:
        self._camera = camera
        self._read_timeout = read_timeout
        if refusal := camera.refusal():
            raise self._failure(refusal)
        began = time.monotonic()
        try:
            self._container: Any = av.open(
                camera.address,
                format=camera.format,
                options=dict(camera.options),
                timeout=(open_timeout, read_timeout),
                metadata_errors='ignore',
            )
        except av.FFmpegError as error:
            # Which error FFmpeg makes of a timeout is chance.
            late = time.monotonic() - began >= open_timeout
            reason = f'no answer within {open_timeout:g} s' if late else camera.reason(error)
            raise self._failure(reason + camera.hint * late) from error
        try:
            self._stream = self._video()
            self._coming = self._packets()
            # One that answers and sends nothing is as good as gone.
            self._first = next(packet for packet in self._coming if packet.size)
        except BaseException:
            self._container.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()

    @property
    def report(self) -> str:
        """What the camera sends, in one line."""
        codec, rate = self._stream.codec_context, self._stream.average_rate
        pace = f'{float(rate):.4g} frames/s' if rate else 'frame rate not announced'
        return (
            f'{codec.name} {codec.width}x{codec.height}, {pace}, {codec.pix_fmt}, '
            f'over {self._camera.over}'
        )

    def shots(self) -> Iterator[Shot]:
        """Frames in order, for as long as they come.

        Raises SourceError when none has come for `read_timeout` seconds, or the connection ends.
        """
        stills = self._stream.codec_context.name in STILLS
        for packet in chain([self._first], self._coming):
            if not stills:
                yield from self._decoded(packet)
            elif packet.size:
                yield self._still(packet)

    def _video(self) -> Any:
        stream = next(iter(self._container.streams.video), None)
        if stream is None or stream.codec_context is None or not stream.codec_context.width:
            raise self._failure(f'no picture comes that can be decoded{self._camera.hint}')
        # Threads that work on frames at once would hold several of them back.
        stream.thread_type = 'SLICE'
        return stream

    def _packets(self) -> Iterator[av.Packet]:
        """What comes, until SourceError tells why no more does."""
        newest = time.monotonic()
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    newest = time.monotonic()
                    yield packet
                raise self._failure('it ended the stream')
            except av.FFmpegError as error:
                if time.monotonic() - newest >= self._read_timeout:
                    raise self._failure(f'nothing came for {self._read_timeout:g} s') from error
                if not isinstance(error, av.error.BlockingIOError):
                    raise self._failure(self._camera.reason(error, connected=True)) from error
                time.sleep(POLL)  # a device has nothing yet

    def _failure(self, reason: str) -> SourceError:
        return SourceError(f'{self._camera.name}: {reason}')

    def _still(self, packet: av.Packet) -> Shot:
        # A copy: the memory of a packet from a device belongs to the device.
        codec = self._stream.codec_context
        still = (bytes(packet), codec.name, codec.width, codec.height, codec.pix_fmt)
        # Multipart tells no times; FFmpeg counts frames as if 25 came a second.
        ticks = None if self._camera.kind == 'http' else packet.pts
        return Shot(_nanoseconds(packet, ticks), partial(_decode, *still))

    def _decoded(self, packet: av.Packet) -> Iterator[Shot]:
        try:
            frames: list[Any] = packet.decode()
        except av.FFmpegError:
            yield Shot(None, None)
            return
        for frame in frames:
            readable = not (packet.is_corrupt or frame.is_corrupt)
            shown = _nanoseconds(frame, frame.pts)
            yield Shot(shown, partial(pixels, frame) if readable else None)


def _decode(data: bytes, codec: str, width: int, height: int, pix_fmt: str) -> np.ndarray:
    """A still picture as (H, W, 3) uint8 RGB. Raises FrameError."""
    # It would decode to a picture that is half grey. FFmpeg's own checks refuse good cameras too.
    if codec == 'mjpeg' and JPEG_END not in data[-TAIL:]:
        raise FrameError(f'jpeg picture of {len(data)} bytes: its end is missing')
    context: Any = av.CodecContext.create(codec, 'r')
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
        return pixels(frames[0])
    except (av.FFmpegError, IndexError) as error:
        raise FrameError(f'{codec} picture of {len(data)} bytes: its data are damaged') from error


def _nanoseconds(timed: Any, ticks: int | None) -> int | None:
    """Ticks of a packet or a frame as nanoseconds."""
    return None if ticks is None else round(ticks * timed.time_base * SECOND)
