# SPDX-License-Identifier: Apache-2.0
"""A replay from its parts: bag, decoder, stream, feed, outputs and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from svlm_core.bags.reader import Bag, Topic
from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.errors import SourceError, SvlmError
from svlm_core.replay.decoding import decoder
from svlm_core.replay.feed import Feed
from svlm_core.replay.outputs import PAGE, REPORT, Outputs
from svlm_core.replay.page import page
from svlm_core.replay.references import Reference
from svlm_core.replay.report import Other, Setup, build
from svlm_core.replay.run import Run, Second, replay
from svlm_core.timeline import write_whole


class Session:
    """One replay of one topic. Raises SvlmError as its parts do."""

    def __init__(
        self,
        bag: Bag,
        topic: Topic,
        engine: StreamingVLM,
        settings: StreamSettings,
        *,
        realtime: bool,
        max_frame_age: float,
        notice: str,
        reference: Reference | None,
        other: Other | None,
    ) -> None:
        self.topic, self.settings = topic, settings
        self.run = Run()
        self._bag, self._notice = bag, notice
        self._reference, self._other = reference, other
        self._decoder = decoder(topic.type)
        self._engine, self._stream = engine, engine.open(settings)
        self._feed = Feed(
            bag.messages(topic),
            self._decoder.check,
            settings.fps,
            settings.frames_per_round,
            max_age=max_frame_age,
            realtime=realtime,
        )

    @property
    def received(self) -> int:
        """Frames read so far."""
        return self._feed.mailbox.counts.received

    def outputs(self, folder: Path) -> Outputs:
        """The caption files of this run."""
        return Outputs(folder, self.settings.chunk_seconds, self._notice)

    def seconds(self, outputs: Outputs) -> Iterator[Second]:
        """Caption the topic, one round at a time."""
        return replay(
            self._feed, self._stream, self._decoder.convert, outputs, self.run, self.topic.name
        )

    def nothing(self) -> SourceError | None:
        """The error of a bag without a single whole round, if it is one."""
        if self.run.seconds:
            return None
        reason = self._feed.camera.trouble or (
            f'its frames do not fill one round of {self.settings.chunk_seconds:g} s'
        )
        return SourceError(f'{self._bag.path}: nothing to caption on {self.topic.name}: {reason}')

    def report(self, folder: Path, problem: SvlmError | None, *, interrupted: bool) -> None:
        """Write the report, of all or of a part."""
        report = build(
            Setup(
                self._bag,
                self.topic,
                self._decoder.name,
                self._engine.info,
                self.settings,
                self._stream.capacity,
                self._stream.memory_bytes,
            ),
            self._feed,
            self.run,
            self._problems(problem, interrupted),
            complete=problem is None and not interrupted,
            reference=self._reference,
            other=self._other,
        )
        write_whole(
            folder / REPORT, json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False)
        )
        records = [second.record for second in self.run.seconds]
        shown = page(report, records, self.run.thumbnails, notice=self._notice, other=self._other)
        write_whole(folder / PAGE, shown)

    def summary(self) -> str:
        """One line about what was done."""
        counts, rounds = self._feed.mailbox.counts, len(self.run.seconds)
        length = rounds * self.settings.chunk_seconds
        return (
            f'{rounds} rounds in {self.run.wall:.1f} s '
            f'({length / max(self.run.wall, 1e-9):.1f} x real time); {counts.received} frames '
            f'received, {counts.used} used, {counts.dropped + counts.pending} not shown'
        )

    def _problems(self, problem: SvlmError | None, interrupted: bool) -> list[str]:
        """What the reader of the report must know, a line each."""
        lines = [str(problem)] if problem else []
        if interrupted:
            lines.append('interrupted: the rest of the bag was not replayed')
        lines += self._bag.notes
        counts, camera = self._feed.mailbox.counts, self._feed.camera
        if counts.unreadable:
            lines.append(f'{counts.unreadable} frames cannot be shown: {camera.trouble}')
        if counts.stale:
            lines.append(
                f'{counts.stale} frames were dropped: their stamps are not after the one before'
            )
        if camera.zero_stamps:
            lines.append(
                f'{camera.zero_stamps} frames carry no stamp: the time of reception counts'
            )
        if self.run.lost:
            lines.append(
                f'{len(self.run.lost)} rounds were lost: {next(iter(self.run.lost.values()))}'
            )
        return lines
