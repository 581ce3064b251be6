# SPDX-License-Identifier: Apache-2.0
"""Chunks of annotated videos to learn from: frames are chosen as inference chooses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from rich.progress import track

from svlm_core.errors import SvlmError
from svlm_core.training.annotations import AnnotationFile, BadRow, Row
from svlm_core.training.recipe import Annotations
from svlm_core.training.samples import Composer, Moment, Sample
from svlm_core.video.sampling import sample
from svlm_core.video.sources import open_source


class VideoSource:
    """The good rows of an annotation file. All rows are looked at once, before training.

    `problems` names the bad ones, a line each; nothing takes their place. Videos are decoded when
    their row is due: one that turns out to be damaged then is a line too.
    """

    run = 1

    def __init__(self, settings: Annotations, composer: Composer) -> None:
        self._composer = composer
        self._file = AnnotationFile(settings.file, settings.videos)
        found = list(
            track(
                self._file.check(),
                total=len(self._file),
                description=f'checking {self._file.path.name}',
                transient=True,
            )
        )
        self._good = [number for number, problem in enumerate(found) if problem is None]
        self.problems = [str(problem) for problem in found if problem is not None]

    def __len__(self) -> int:
        return len(self._good)

    def __getitem__(self, index: int) -> Sample | str:
        number = self._good[index]
        try:
            row = self._file.row(number)
            moments = list(self._moments(row, number + 1))
            first = round(row.start / self._composer.settings.chunk_seconds)
            earlier = [row.previous] if row.previous.strip() else []
            return self._composer.compose(moments, earlier, first, row.query)
        except BadRow as error:
            return str(error)
        except SvlmError as error:
            return str(BadRow(self._file.path, number + 1, 'video', str(error)))

    def _moments(self, row: Row, line: int) -> Iterator[Moment]:
        settings = self._composer.settings
        said = row.said(settings.chunk_seconds)
        if not said:
            raise BadRow(self._file.path, line, '[0].content video_end', 'leaves no whole round')
        duration = len(said) * settings.chunk_seconds
        with closing(open_source(row.video, start=row.start)) as source:
            rounds = iter(sample(source, settings, row.start, duration))
            for number, words in enumerate(said):
                shown = next(rounds, None)
                if shown is None:
                    ends = row.start + number * settings.chunk_seconds
                    reason = f'{row.end:g} lies behind the end of the video, at about {ends:g} s'
                    raise BadRow(self._file.path, line, '[0].content video_end', reason)
                yield Moment(shown.start, shown.frames, words)
            source.verify()
