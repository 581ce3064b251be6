# SPDX-License-Identifier: Apache-2.0
"""What a robot's camera showed, second by second, to be learnt from: a video, or a bag.

The rounds are those of inference. A bag becomes a video that holds exactly the frames of its
rounds, at the rate of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from svlm_core.bags.reader import Bag
from svlm_core.config import StreamSettings
from svlm_core.errors import FrameError, OutputError, SourceError
from svlm_core.replay.decoding import decoder
from svlm_core.replay.feed import Feed, pictures
from svlm_core.video.sources import open_source


def seconds_of_video(path: Path, settings: StreamSettings) -> range:
    """The rounds of a video file. Raises SourceError where its length is not known."""
    with open_source(path) as source:
        if source.duration is None:
            raise SourceError(f'{path} does not say how long it is: remux it to .mp4')
        return range(int(source.duration / settings.chunk_seconds))


@dataclass(frozen=True)
class Filmed:
    """What became a video: the numbers of its rounds, the stamp (ns) of its time 0.

    `problem` is what is wrong with the bag; empty where nothing is.
    """

    numbers: tuple[int, ...]
    origin: int
    problem: str


def film(bag: Bag, topic: str | None, settings: StreamSettings, path: Path) -> Filmed:
    """Write the rounds of a camera as a video at the rate of the stream.

    Where a round is missing, time passes and the picture stays; what a damaged bag still holds is
    used. The file appears only when it is complete. Raises SourceError for a bag that does not
    fill one round, OutputError when the video cannot be written.
    """
    images = bag.image_topic(topic)
    decode = decoder(images.type)
    feed = Feed(
        bag.messages(images),
        decode.check,
        settings.fps,
        settings.frames_per_round,
        realtime=False,
    )
    part = path.with_name(f'.part-{path.name}')
    numbers: list[int] = []
    origin, problem = 0, ''
    try:
        with Reel(part, settings.fps) as reel:
            try:
                for taken in feed:
                    try:
                        frames, _ = pictures(taken, decode.convert, feed.mailbox, feed.camera)
                    except FrameError as error:  # not one frame of this round
                        problem = (
                            f'some seconds cannot be read, the last at {taken.start:g} s: {error}'
                        )
                        continue
                    reel.add(frames, taken.index * settings.frames_per_round)
                    numbers.append(taken.index)
                    origin = taken.origin
            except SourceError as error:
                problem = str(error)
            if not numbers:
                raise SourceError(problem or f'{bag.path} does not fill one round')
        part.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f'{path} cannot be written: {error}') from error
    finally:
        part.unlink(missing_ok=True)
    return Filmed(tuple(numbers), origin, problem)


class Reel:
    """A video file (H.264) that is being written; its size is that of the first picture."""

    def __init__(self, path: Path, fps: float) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container = av.open(str(path), 'w')
        self._stream = self._container.add_stream(
            'libx264', rate=self._rate, options={'crf': '14'}
        )
        self._stream.pix_fmt = 'yuv420p'
        self._size: tuple[int, int] | None = None

    def add(self, frames: np.ndarray, first: int) -> None:
        """Show `frames` (T, H, W, 3) uint8 from frame number `first` on."""
        if self._size is None:
            self._size = height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
            self._stream.height, self._stream.width = height, width
        for number, picture in enumerate(frames, first):
            shot = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), 'rgb24')
            shot = shot.reformat(self._size[1], self._size[0])
            shot.pts, shot.time_base = number, 1 / self._rate
            self._container.mux(self._stream.encode(shot))

    def __enter__(self) -> Reel:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
