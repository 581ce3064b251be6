# SPDX-License-Identifier: Apache-2.0
"""The loop of a replay: rounds of a feed in, captions out, and what the report needs to know."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from svlm_core.bags.types import SECOND
from svlm_core.errors import FrameError
from svlm_core.records import Record, kind_of
from svlm_core.replay.feed import Feed, Round, pictures
from svlm_core.replay.outputs import Outputs
from svlm_core.timeline import Picture, picture

THUMBNAILS = 400  # at most this many are kept, however long the bag


@dataclass(frozen=True)
class Second:
    """One round as it was replayed.

    `start` is in stream seconds, `held` in tokens; `spent` and `stages` are seconds of computing,
    `latency` seconds from the newest frame to the caption, and in a deterministic replay, where
    no clock runs, those of computing. `rss` is the memory of the process in bytes.
    """

    record: Record
    start: float
    held: int
    spent: float
    stages: dict[str, float]
    latency: float
    rss: int | None


@dataclass
class Run:
    """What a replay did. `lost` are rounds with frames that could not be read, by number."""

    seconds: list[Second] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    origin: int | None = None  # stamp of stream second 0, in ns
    thumbnails: dict[int, Picture] = field(default_factory=dict)
    wall: float = 0.0
    _every: int = 1

    def remember(self, number: int, stamp: float, frame: np.ndarray) -> None:
        """Keep a small picture of a round; of a long run, of every second, fourth, ... round."""
        if number % self._every:
            return
        self.thumbnails[number] = picture(stamp, frame)
        if len(self.thumbnails) > THUMBNAILS:
            self._every *= 2
            for odd in [n for n in self.thumbnails if n % self._every]:
                del self.thumbnails[odd]


def replay(
    feed: Feed,
    stream: Any,
    convert: Callable[[Any], np.ndarray],
    outputs: Outputs,
    run: Run,
    camera: str,
) -> Iterator[Second]:
    """Caption every round of `feed` into `outputs` and `run`, one at a time.

    A round whose frames cannot be read is lost and noted, as in the node. Raises SvlmError as
    the bag, the stream and the outputs do; what came before stands in `run`.
    """
    began = time.monotonic()
    try:
        with closing(iter(feed)) as rounds:
            for taken in rounds:
                run.origin = taken.origin
                try:
                    second, frame = _caption(taken, feed, stream, convert, camera)
                except FrameError as error:
                    run.lost[taken.index] = str(error)
                    continue
                outputs.write(taken, second.record, feed.now)
                run.seconds.append(second)
                run.remember(taken.index, second.record.stamp, frame)
                yield second
    finally:
        run.wall = time.monotonic() - began


def _caption(
    taken: Round, feed: Feed, stream: Any, convert: Callable[[Any], np.ndarray], camera: str
) -> tuple[Second, np.ndarray]:
    began = time.monotonic()
    frames, substituted = pictures(taken, convert, feed.mailbox, feed.camera)
    caption = stream.step(frames, taken.start)
    spent = time.monotonic() - began
    newest = taken.frames[-1]
    live = feed.realtime
    latency = (feed.now - newest.stamp) / SECOND if live else spent
    record = Record(
        stamp=newest.stamp / SECOND,
        frame_id=newest.message.header.frame_id,
        camera=camera,
        window_start=(taken.origin + round(taken.start * SECOND)) / SECOND,
        sequence=taken.index,
        kind=kind_of(caption.text),
        text=caption.text,
        delta=caption.text,
        done=True,
        late=live and (spent > stream.settings.chunk_seconds or feed.mailbox.waiting),
        frames_used=len(frames),
        frames_repeated=min(taken.repeated + substituted, len(frames)),
        frames_dropped=taken.dropped,
        tokens=len(caption.ids),
        latency=latency if live else None,
    )
    second = Second(
        record, taken.start, stream.held, spent, caption.seconds, latency, resident_bytes()
    )
    return second, frames[-1]


def resident_bytes() -> int | None:
    """Memory that the process occupies; None where the system does not say (Linux does)."""
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf('SC_PAGE_SIZE')
