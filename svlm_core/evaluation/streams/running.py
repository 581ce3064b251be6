# SPDX-License-Identifier: Apache-2.0
"""Captions of a whole benchmark: video by video, in a folder that can be gone on with.

`videos/NAME.jsonl` appears when a video is done, a line for each stretch. When all are there, of
all shards, `captions.jsonl` holds every line in the order of the benchmark, in the format in which
the captions of that benchmark are published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from svlm_core.curation import pipeline
from svlm_core.curation.formats import ANSWER_FILE, PREDICTION_FILE
from svlm_core.curation.manifest import Shard
from svlm_core.curation.validation import located
from svlm_core.errors import SourceError
from svlm_core.evaluation.identity import Identity, begin_folder
from svlm_core.evaluation.streams.benchmark import Benchmark, Setting, Stretch
from svlm_core.evaluation.streams.captioning import Captioner, Told
from svlm_core.evaluation.windows import CAPTIONS, fits
from svlm_core.timeline import make_folder, whole, write_lines

Moved = Callable[[float, str], None]  # how many seconds are done, and of which video
Waiting = Mapping[str, Sequence[Stretch]]  # the stretches of videos that are not done
# Captions videos, in any order; tells whom it is at, and how many of its seconds are done.
Maker = Callable[[Waiting, Callable[[str, float], None]], Iterator[tuple[str, list[Told]]]]


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    `videos` are those of its shard; `failed` those of which there is no caption at all, and why;
    `problems` the stretches of others that are not as they should be. `finished` says whether the
    captions of all videos, of every shard, are together.
    """

    videos: int
    failed: Mapping[str, str]
    problems: Mapping[str, str]
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
    """Caption the videos of a shard in this process, so many stretches at a time; see `gather`."""
    maker = here(who, benchmark.videos, workers)
    return gather(benchmark, setting, maker, identity, output, shard, moved)


def gather(
    benchmark: Benchmark,
    setting: Setting,
    maker: Maker,
    identity: Identity,
    output: Path,
    shard: Shard,
    moved: Moved,
) -> Outcome:
    """Write the captions of the videos of a shard that are not done yet, as they are made.

    A video of which nothing can be captioned is tried again by the next run. Raises SettingsError
    for a folder that holds other settings, and what the captioner raises besides SourceError.
    """
    begin_folder(output, identity.row())
    of = by_video(benchmark, setting)
    mine = {video: stretches for video, stretches in of.items() if shard.holds(video)}
    waiting = {video: of for video, of in mine.items() if not _file(output, video).is_file()}
    failed = dict[str, str]()
    done = sum(_length(of) for of in mine.values()) - sum(_length(of) for of in waiting.values())

    def seen(video: str, now: float) -> None:
        moved(done + now, video)

    for video, told in maker(waiting, seen):
        stretches = waiting[video]
        if any(one.remarks for one in told):
            _write(_file(output, video), stretches, told, benchmark, identity)
        else:
            failed[video] = told[0].problem
        done += _length(stretches)
        moved(done, video)
    problems = incomplete(benchmark, setting, output, shard)
    return Outcome(len(mine), failed, problems, _join(output, of))


def here(who: Captioner, videos: Path, workers: int = 1) -> Maker:
    """Caption one video after the other in this process."""

    def made(
        waiting: Waiting, seen: Callable[[str, float], None]
    ) -> Iterator[tuple[str, list[Told]]]:
        for video, of in waiting.items():
            seen(video, 0.0)
            yield video, told_of(who, of, videos / video, workers, partial(seen, video))

    return made


def product(who: Captioner, of: Sequence[Stretch], video: Path) -> pipeline.Product:
    """The captions of a video as what a stage makes, which a cluster can hand over."""
    told = told_of(who, of, video, 1, lambda now: None)
    return pipeline.Product([asdict(one) for one in told])


def by_stage(maker: pipeline.Maker, stage: pipeline.Stage, place: pipeline.Workplace) -> Maker:
    """Caption as a stage whose products are those of `product`, on a cluster."""

    def made(
        waiting: Waiting, seen: Callable[[str, float], None]
    ) -> Iterator[tuple[str, list[Told]]]:
        for video, found in maker(stage, place, dict.fromkeys(waiting)):
            yield video, [Told.from_json(one) for one in found.content]

    return made


def seconds(benchmark: Benchmark, setting: Setting, shard: Shard) -> float:
    """How much there is to caption in a shard."""
    of = by_video(benchmark, setting)
    return sum(_length(stretches) for video, stretches in of.items() if shard.holds(video))


def told_of(
    who: Captioner,
    of: Sequence[Stretch],
    video: Path,
    workers: int,
    seen: Callable[[float], None],
) -> list[Told]:
    """What is said of each stretch of a video; `seen` is told how many seconds are done."""
    before = [0.0, *accumulate(stretch.end - stretch.start for stretch in of)]

    def tell(number: int) -> Told:
        try:
            told = who(of[number], video, lambda now: seen(before[number] + now))
        except SourceError as error:
            told = Told((), of[number].start, str(error))
        # The same on every machine, wherever its videos are.
        return replace(told, problem=told.problem.replace(str(video), of[number].video))

    if workers == 1:  # in this thread, which Ctrl-C ends
        return [tell(number) for number in range(len(of))]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(tell, range(len(of))))


def incomplete(
    benchmark: Benchmark, setting: Setting, output: Path, shard: Shard | None = None
) -> dict[str, str]:
    """The stretches of captioned videos in a folder that are not as they should be, and why.

    They are read from the files, so that a run that goes on tells of those made before, too.
    Raises SourceError, naming line and field, for a file that was changed.
    """
    games = benchmark.name == 'inf-streams'
    shape, begin = (ANSWER_FILE, 'chunk_start') if games else (PREDICTION_FILE, 'begin')
    found = dict[str, str]()
    for video, stretches in by_video(benchmark, setting).items():
        path = _file(output, video)
        if not path.is_file() or (shard and not shard.holds(video)):
            continue
        told = dict[tuple[int | str, float], str]()
        for line, one in located(path):
            fits(one, shape, path, line)
            told[one.get('event_id', ''), one[begin]] = one.get('problem', '')
        for stretch in stretches:
            why = told.get((stretch.event, stretch.start), 'nothing of it was captioned')
            if why:
                found[f'{video} from {stretch.start:g} s'] = why
    return found


def _write(
    path: Path,
    of: Sequence[Stretch],
    told: Sequence[Told],
    benchmark: Benchmark,
    identity: Identity,
) -> None:
    """Write the lines of a video; a stretch that was not shown has none."""
    rows = [
        row(stretch, one, benchmark, identity.digest)
        for stretch, one in zip(of, told, strict=True)
        if one.remarks
    ]
    make_folder(path.parent)
    write_lines(path, rows)


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


def by_video(benchmark: Benchmark, setting: Setting) -> dict[str, list[Stretch]]:
    """The stretches of each video, in order of the benchmark."""
    found: dict[str, list[Stretch]] = {}
    for stretch in benchmark.stretches(setting):
        found.setdefault(stretch.video, []).append(stretch)
    return found


def _length(of: Sequence[Stretch]) -> float:
    return sum(stretch.end - stretch.start for stretch in of)


def _file(output: Path, video: str) -> Path:
    return output / 'videos' / f'{video}.jsonl'
