# SPDX-License-Identifier: Apache-2.0
"""Captions of a whole benchmark: video by video, in a folder that can be gone on with.

`videos/NAME.jsonl` appears when a video is done, a line for each stretch. When all are there, of
all shards, `captions.jsonl` holds every line in the order of the benchmark, in the format in which
the captions of that benchmark are published.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.curation.manifest import Shard
from svlm_core.errors import FrameError, MemoryFull, OutputError, SourceError
from svlm_core.evaluation.identity import Identity, begin_folder
from svlm_core.evaluation.streams.benchmark import Benchmark, Setting, Stretch
from svlm_core.evaluation.streams.captioning import Captioner, Told
from svlm_core.timeline import whole, write_whole

CAPTIONS = 'captions.jsonl'

Moved = Callable[[int, str], None]  # how many videos are done, and which one is next


@dataclass(frozen=True)
class Outcome:
    """What a run has done: videos of its shard, those that failed and why, refusals of a model.

    `finished` says whether the captions of all videos, of every shard, are together.
    """

    videos: int
    failed: Mapping[str, str]
    refused: int
    finished: bool


def caption_all(
    benchmark: Benchmark,
    setting: Setting,
    who: Captioner,
    identity: Identity,
    output: Path,
    shard: Shard,
    moved: Moved,
    workers: int = 1,
) -> Outcome:
    """Caption the videos of a shard that are not done yet, so many stretches at a time.

    A video that cannot be read is told, and tried again by the next run. Raises SettingsError
    for a folder that holds other settings, and what the captioner raises besides.
    """
    begin_folder(output, identity.row())
    of = _by_video(benchmark.stretches(setting))
    mine = [video for video in of if shard.holds(video)]
    failed, refused = dict[str, str](), 0
    for number, video in enumerate(mine):
        moved(number, video)
        path = _file(output, video)
        if path.is_file():
            continue
        try:
            told = _told(who, of[video], benchmark.videos / video, workers)
        except (SourceError, FrameError, MemoryFull) as error:
            failed[video] = str(error)
            continue
        refused += sum(bool(one.problem) for one in told)
        rows = [
            row(stretch, one, benchmark, identity.digest)
            for stretch, one in zip(of[video], told, strict=True)
        ]
        _make(path.parent)
        write_whole(path, ''.join(f'{json.dumps(each, ensure_ascii=False)}\n' for each in rows))
    moved(len(mine), '')
    return Outcome(len(mine), failed, refused, _join(output, of))


def _told(who: Captioner, of: Sequence[Stretch], video: Path, workers: int) -> list[Told]:
    if workers == 1:  # in this thread, which Ctrl-C ends
        return [who(stretch, video) for stretch in of]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda stretch: who(stretch, video), of))


def row(stretch: Stretch, told: Told, benchmark: Benchmark, run: str) -> dict[str, Any]:
    """The line of a stretch, as published; `run` is the digest of how it came about."""
    items = [remark.to_json() for remark in told.remarks]
    more: dict[str, Any] = {'run': run} | ({'problem': told.problem} if told.problem else {})
    if benchmark.name == 'inf-streams':
        span = {'chunk_start': stretch.start, 'chunk_end': told.end}
        return {'video': stretch.video, **span, 'items': items, **more}
    said = ' '.join(remark.text for remark in told.remarks if remark.text)
    return {
        'video_id': stretch.video_id,
        'event_id': stretch.event,
        'begin': stretch.start,
        'end': stretch.end,
        'pred': said,
        'items': items,
        **more,
    }


def _join(output: Path, videos: Iterable[str]) -> bool:
    """Put the lines of all videos into one file, if all are there."""
    files = [_file(output, video) for video in videos]
    if not all(file.is_file() for file in files):
        return False
    with whole(output / CAPTIONS) as joined:
        for file in files:
            joined.write(file.read_text(encoding='utf-8'))
    return True


def _by_video(stretches: Sequence[Stretch]) -> dict[str, list[Stretch]]:
    found: dict[str, list[Stretch]] = {}
    for stretch in stretches:
        found.setdefault(stretch.video, []).append(stretch)
    return found


def _file(output: Path, video: str) -> Path:
    return output / 'videos' / f'{video}.jsonl'


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{folder} cannot be made: {error.strerror}') from error
