# SPDX-License-Identifier: Apache-2.0
"""What is captioned, second by second: a file that is read to its end, or a camera that goes on.

A session is used once. Its records come with the second of stream that they begin at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from svlm_core.commands.console import tell
from svlm_core.errors import FrameError, SourceError, SvlmError
from svlm_core.mailbox import SECOND, Round
from svlm_core.pictures import read_round
from svlm_core.records import Record, file_record, kind_of
from svlm_core.timeline import clock
from svlm_core.video import sampling
from svlm_core.video.live import LiveSource
from svlm_core.video.sampling import sample
from svlm_core.video.sources import Source

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.stream import Stream

Called = Callable[[], bool]


class Session(Protocol):
    """One source on its way through a stream; `length` is in seconds, None where nobody knows."""

    length: float | None

    def records(self, stream: Stream, called: Called) -> Iterator[tuple[float, Record]]:
        """Every second that was captioned; ends early once `called()` is true."""

    def remark(self, seconds: float) -> str:
        """What the summary has to add, after so many seconds were captioned."""

    def verify(self, seconds: float) -> None:
        """Raise SourceError for what is missing from a run that was not interrupted."""


class FileSession:
    """A video file or a folder, from `start` on; no clock runs, every round is captioned."""

    def __init__(self, name: str, source: Source, start: float, duration: float | None) -> None:
        self._name, self._source = name, source
        self._start, self._duration = start, duration
        self._ended = False  # by itself
        known = [duration] if duration is not None else []
        if source.duration is not None:
            known.append(max(0.0, source.duration - start))
        self.length = min(known, default=None)

    def records(self, stream: Stream, called: Called) -> Iterator[tuple[float, Record]]:
        frames = takewhile(lambda _: not called(), self._source)
        rounds = sample(frames, stream.settings, self._start, self._duration)
        for sequence, (round, after) in enumerate(in_pairs(rounds)):
            if called():
                break
            coming = None if after is None else after.frames
            caption = stream.step(round.frames, round.start, coming)
            yield round.start, file_record(caption, round, sequence, self._name)
        self._ended = not called()

    def remark(self, seconds: float) -> str:
        rest = (self.length or 0.0) - seconds if self._ended else 0.0
        return f'; the last {rest:.1f} s make no whole round, left out' if rest >= 0.05 else ''

    def verify(self, seconds: float) -> None:
        self._source.verify()  # with a duration, the frames end before the source tells by itself
        if not seconds:
            raise SourceError(
                f'{self._name}: nothing to caption: from {self._start:g} s on, there is '
                'less than one round'
            )


class LiveSession:
    """A camera, for `duration` seconds or until somebody ends it; the newest second is captioned.

    A second whose frames cannot be read is lost, and told where it is the first in a row.
    """

    def __init__(self, source: LiveSource, duration: float | None) -> None:
        self._source, self.length = source, duration
        self._late = self._lost = 0

    def records(self, stream: Stream, called: Called) -> Iterator[tuple[float, Record]]:
        lost = False
        for taken in self._source.rounds(self.length, called):
            try:
                record = self._caption(taken, stream)
            except FrameError as error:
                self._lost += 1
                if not lost:
                    tell(f'{self._source.name}: lost from {clock(taken.start)} on: {error}')
                lost = True
                continue
            lost = False
            self._late += record.late
            yield taken.start, record

    def remark(self, seconds: float) -> str:
        counts = self._source.mailbox.counts
        parts = [
            f'{counts.received} frames received, {counts.used} used, '
            f'{counts.dropped + counts.pending} not shown'
        ]
        for what, number in (
            ('seconds late', self._late),
            ('seconds passed over for newer ones', counts.rounds_replaced),
            ('seconds without frames', counts.rounds_blind),
            ('seconds unreadable', self._lost),
            ('connections lost', self._source.losses),
        ):
            parts += [f'{what}: {number}'] * bool(number)
        return '; ' + '; '.join(parts)

    def verify(self, seconds: float) -> None:
        if not seconds:
            raise SourceError(f'{self._source.name}: nothing to caption: not one second of frames')

    def _caption(self, taken: Round, stream: Stream) -> Record:
        began = time.monotonic()
        mailbox = self._source.mailbox
        frames, substituted = read_round(
            taken, lambda pixels: pixels(), lambda error: mailbox.spoil()
        )
        caption = stream.step(frames, taken.start)
        slow = time.monotonic() - began > stream.settings.chunk_seconds
        newest = taken.frames[-1]
        return Record(
            stamp=newest.stamp / SECOND,
            frame_id='',
            camera=self._source.name,
            window_start=(taken.origin + round(taken.start * SECOND)) / SECOND,
            sequence=taken.index,
            kind=kind_of(caption.text),
            text=caption.text,
            delta=caption.text,
            done=True,
            late=slow or mailbox.waiting,
            frames_used=len(frames),
            frames_repeated=min(taken.repeated + substituted, len(frames)),
            frames_dropped=taken.dropped,
            tokens=len(caption.ids),
            latency=(self._source.now - newest.stamp) / SECOND,
        )


def in_pairs(
    rounds: Iterator[sampling.Round],
) -> Iterator[tuple[sampling.Round, sampling.Round | None]]:
    """Every round with the one after it. What goes wrong with that one comes when this is done."""
    round = next(rounds, None)
    while round is not None:
        after, trouble = None, None
        try:
            after = next(rounds, None)
        except SvlmError as error:
            trouble = error
        yield round, after
        if trouble is not None:
            raise trouble
        round = after
