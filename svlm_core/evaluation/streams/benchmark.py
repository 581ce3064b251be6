# SPDX-License-Identifier: Apache-2.0
"""What a benchmark of live commentary is: windows that are judged, and stretches to caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from svlm_core.errors import SourceError
from svlm_core.evaluation.windows import Window

Name = Literal['inf-streams', 'livesports']
# endless: a video in one go; chunks: begun anew every so often, with the reference before as
# previous text; windows: each window that is judged by itself.
Setting = Literal['endless', 'chunks', 'windows']


@dataclass(frozen=True)
class Stretch:
    """Seconds `start` to `end` of a video that are captioned in one go.

    `previous` is what the reference says before them. Events have the `video_id` and number that
    LiveSports-3K gives them.
    """

    video: str
    start: float
    end: float
    title: str
    previous: str
    video_id: str = ''
    event: int | str = ''


Query = Callable[[Stretch], str]  # the instruction to a model


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as read from its official `files`; `videos` is the folder of its videos.

    `task` tells a judge what is better.
    """

    name: Name
    videos: Path
    files: tuple[Path, ...]
    windows: tuple[Window, ...]
    stretches: Callable[[Setting], list[Stretch]]
    query: Query
    task: str


def inside(video: str, path: Path) -> None:
    """Raise SourceError for a name of a video that leads out of the folder of its benchmark."""
    if Path(video).is_absolute() or '..' in Path(video).parts:
        raise SourceError(f'{path}: video {video!r} leads out of the folder')
