# SPDX-License-Identifier: Apache-2.0
"""`svlm curate`: a folder of videos becomes rows that a model learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Protocol

from tyro.conf import Positional, arg

from svlm_core.commands.endpoint_flags import EndpointFlags
from svlm_core.curation.settings import (
    Aligning,
    Annealing,
    Building,
    Chunking,
    Cleaning,
    Exporting,
    Probing,
    Transcribing,
)
from svlm_core.errors import SettingsError

if TYPE_CHECKING:
    from svlm_core.curation.pipeline import Stage, Tally, Workplace


@dataclass(frozen=True)
class Place:
    """Where to work, and on which part of the videos."""

    videos: Annotated[Positional[Path], arg(help='folder of videos', metavar='VIDEOS')]
    output: Annotated[
        Positional[Path],
        arg(help='folder for the manifest, products and rows', metavar='OUTPUT'),
    ]
    shard: Annotated[
        str, arg(help='i/n: work on part i of n of the videos; merge afterwards', metavar='I/N')
    ] = '1/1'

    def workplace(self) -> Workplace:
        from svlm_core.curation.manifest import Shard
        from svlm_core.curation.pipeline import Workplace

        return Workplace(self.videos, self.output, Shard.parse(self.shard))


@dataclass(frozen=True)
class Work(Place):
    """Where to work, and who does."""

    ray: Annotated[
        str,
        arg(
            help='work on a Ray cluster: its address, auto, or local; empty: in this process',
            metavar='ADDRESS',
        ),
    ] = ''


@dataclass(frozen=True)
class Asked:
    """The model that reads transcripts."""

    endpoint: Annotated[EndpointFlags, arg(name='')] = field(default_factory=EndpointFlags)
    workers: int = 4  # requests at a time
    cache: Path | None = None  # folder for its replies; None: OUTPUT/replies

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError('give --workers of at least 1')


class Step(Protocol):
    """A command of `svlm curate`."""

    def run(self) -> int: ...


@dataclass(frozen=True)
class Probe:
    """Look into the videos; leave out those that are empty, silent, cut short or too short."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Probing, arg(name='')] = field(default_factory=Probing)

    def run(self) -> int:
        from svlm_core.curation.probing import probing

        return _run(self.place, [partial(probing, self.place.videos, self.settings)])


@dataclass(frozen=True)
class Transcribe:
    """Write down what is said, word by word; or read what somebody wrote down before."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Transcribing, arg(name='')] = field(default_factory=Transcribing)

    def run(self) -> int:
        from svlm_core.curation.asr import transcribing

        return _run(self.place, [partial(transcribing, self.place.videos, self.settings)])


@dataclass(frozen=True)
class Align:
    """Check the times of words, mend what can be mended, and put them into sentences."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Aligning, arg(name='')] = field(default_factory=Aligning)

    def run(self) -> int:
        from svlm_core.curation.alignment import aligning

        return _run(self.place, [partial(aligning, self.settings)])


@dataclass(frozen=True)
class Clean:
    """Let a model keep, edit or delete every sentence."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Cleaning, arg(name='')] = field(default_factory=Cleaning)
    asked: Annotated[Asked, arg(name='')] = field(default_factory=Asked)

    def run(self) -> int:
        return _run(self.place, [partial(_cleaning, self.place, self.settings, self.asked)])


@dataclass(frozen=True)
class Chunk:
    """Cut videos into overlapping chunks."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Chunking, arg(name='')] = field(default_factory=Chunking)

    def run(self) -> int:
        from svlm_core.curation.chunking import chunking

        return _run(self.place, [partial(chunking, self.settings)])


@dataclass(frozen=True)
class Anneal:
    """Choose the clips of live commentary for the last stage of training."""

    place: Annotated[Work, arg(name='')]
    settings: Annotated[Annealing, arg(name='')] = field(default_factory=Annealing)
    asked: Annotated[Asked, arg(name='')] = field(default_factory=Asked)

    def run(self) -> int:
        return _run(self.place, [partial(_annealing, self.place, self.settings, self.asked)])


@dataclass(frozen=True)
class Export:
    """Write the rows of all videos, with an index, as LiveCC and Inf-Stream-Train have them."""

    place: Annotated[Place, arg(name='')]
    settings: Annotated[Exporting, arg(name='')] = field(default_factory=Exporting)

    def run(self) -> int:
        from svlm_core.curation.exporting import export

        for name, count in export(self.place.workplace(), self.settings).items():
            print(f'{name:<10} {count} rows', flush=True)
        _tell_mixed(self.place.workplace())
        return 0


@dataclass(frozen=True)
class BuildEval:
    """Make a benchmark of the videos, as Inf-Streams-Eval is one, in OUTPUT/eval."""

    place: Annotated[Place, arg(name='')]
    settings: Annotated[Building, arg(name='')] = field(default_factory=Building)

    def run(self) -> int:
        from svlm_core.curation.building import build_eval

        for row in build_eval(self.place.workplace(), self.settings):
            print(
                f'{row["category"] or "none":<20} {row["videos"]} videos of '
                f'{row["seconds_per_video"] / 3600:.2f} h, {row["segments"]} segments with '
                f'{row["words_per_segment"]:.0f} words each',
                flush=True,
            )
        _tell_mixed(self.place.workplace())
        return 0


@dataclass(frozen=True)
class Run:
    """All steps one after the other; a shard ends before the export."""

    place: Annotated[Work, arg(name='')]
    probing: Annotated[Probing, arg(name='')] = field(default_factory=Probing)
    transcribing: Annotated[Transcribing, arg(name='')] = field(default_factory=Transcribing)
    aligning: Annotated[Aligning, arg(name='')] = field(default_factory=Aligning)
    cleaning: Annotated[Cleaning, arg(name='')] = field(default_factory=Cleaning)
    chunking: Annotated[Chunking, arg(name='')] = field(default_factory=Chunking)
    annealing: Annotated[Annealing, arg(name='')] = field(default_factory=Annealing)
    exporting: Annotated[Exporting, arg(name='')] = field(default_factory=Exporting)
    asked: Annotated[Asked, arg(name='')] = field(default_factory=Asked)

    def run(self) -> int:
        from svlm_core.curation.alignment import aligning
        from svlm_core.curation.asr import transcribing
        from svlm_core.curation.chunking import chunking
        from svlm_core.curation.probing import probing

        videos = self.place.videos
        status = _run(
            self.place,
            [
                partial(probing, videos, self.probing),
                partial(transcribing, videos, self.transcribing),
                partial(aligning, self.aligning),
                partial(_cleaning, self.place, self.cleaning, self.asked),
                partial(chunking, self.chunking),
                partial(_annealing, self.place, self.annealing, self.asked),
            ],
        )
        if self.place.workplace().shard.count > 1:
            return status
        return max(status, Export(self.place, self.exporting).run())


@dataclass(frozen=True)
class Merge:
    """Make one manifest of those of all shards."""

    output: Annotated[Positional[Path], arg(help='folder with the manifests', metavar='OUTPUT')]

    def run(self) -> int:
        from svlm_core.curation.manifest import merge

        shards, videos = merge(self.output)
        print(f'{shards} shards merged: {videos} videos')
        return 0


@dataclass(frozen=True)
class Validate:
    """Check a file of training or evaluation against its format, row by row.

    The exit status is 0 when every row is as it should be.
    """

    file: Annotated[Positional[Path], arg(help='.jsonl or .json', metavar='FILE')]
    videos: Path | None = None  # where rows of training have their videos; None: beside the file
    format: str = ''  # what it is meant to be; empty: what its first row looks like

    def run(self) -> int:
        from svlm_core.curation.validation import validate

        found = validate(self.file, self.videos, self.format)
        for fault in found.faults:
            print(fault)
        print(f'{self.file}: {found.format}, {found.rows} rows, {len(found.faults)} with faults')
        return int(bool(found.faults))


@dataclass(frozen=True)
class Curate:
    """Turn a folder of videos into training data.

    Every step takes up where it was stopped, and does again only what has changed. `run` takes
    all of them; `--shard 2/4` works on a part of the videos, `merge` puts the parts together.

      svlm curate run VIDEOS OUTPUT --transcripts DIR --base-url http://HOST/v1 --model NAME
      svlm curate validate OUTPUT/train.jsonl --videos VIDEOS
      svlm curate build-eval VIDEOS OUTPUT
    """

    step: Annotated[
        Probe
        | Transcribe
        | Align
        | Clean
        | Chunk
        | Anneal
        | Export
        | BuildEval
        | Run
        | Merge
        | Validate,
        arg(name=''),
    ]

    def run(self) -> int:
        """Take the step and return the exit status. Raises SvlmError."""
        return self.step.run()


def _cleaning(place: Place, settings: Cleaning, asked: Asked) -> Stage:
    from svlm_core.curation.cleaning import cleaning

    chat = asked.endpoint.chat(asked.cache or place.output / 'replies')
    return cleaning(chat, asked.endpoint.model, settings, asked.workers)


def _annealing(place: Place, settings: Annealing, asked: Asked) -> Stage:
    from svlm_core.curation.annealing import annealing

    chat = asked.endpoint.chat(asked.cache or place.output / 'replies')
    return annealing(chat, asked.endpoint.model, settings, asked.workers)


def _run(place: Work, loads: Sequence[Callable[[], Stage]]) -> int:
    """Take all videos through some stages; a line for each, and for each video left out.

    The exit status is 1 where something of a video could not be read.
    """
    from svlm_core.commands.console import errors, progress
    from svlm_core.curation.cluster import Cluster
    from svlm_core.curation.pipeline import here, run_stage

    at, stages = place.workplace(), [load() for load in loads]  # mistakes are told before work
    failed = 0
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(place.ray)) if place.ray else None
        for stage, load in zip(stages, loads, strict=True):
            maker = cluster.maker(load) if cluster else here
            with progress(errors(), len(at.names())) as moved:
                tally = run_stage(stage, at, partial(_moved, moved, stage.name), maker)
            print('\n'.join(_told(tally)), flush=True)
            failed += tally.failed
    _tell_mixed(at)
    return int(bool(failed))


def _tell_mixed(at: Workplace) -> None:
    """Say it where products were not all made by the same version of the code."""
    if len(codes := at.codes()) > 1:
        print(f'{"":<10} made by {len(codes)} versions of the code:', *codes, flush=True)


def _moved(moved: Callable[[float, str], None], stage: str, done: int, name: str) -> None:
    moved(done, f'{stage} {name}')


def _told(tally: Tally) -> Iterator[str]:
    """What there is to say of a stage."""
    from svlm_core.curation.alignment import DRIFT
    from svlm_core.curation.cleaning import ratios

    added = {name: count for name, count in tally.counts.items() if name != DRIFT}
    counts = ', '.join(f'{count:g} {name}' for name, count in added.items())
    left = f', {len(tally.left_out)} left out' if tally.left_out else ''
    yield f'{tally.stage:<10} {tally.videos} videos, {tally.done} now{left}: {counts}'
    if drifts := {name: of[DRIFT] for name, of in tally.counted.items() if DRIFT in of}:
        most = max(drifts, key=lambda name: abs(drifts[name]))
        yield (
            f'{"":<10} drift {median(drifts.values()):.2f} s at the median of {len(drifts)} '
            f'videos, most {drifts[most]:.2f} s: {most}'
        )
    if tally.stage == 'clean':
        shares = ', '.join(f'{share:.2%} {name}' for name, share in ratios(tally.counts).items())
        yield f'{"":<10} {shares} (published: 46.32% keep, 37.89% edit, 15.79% delete)'
    yield from (f'{"":<10} left out: {name}: {why}' for name, why in tally.left_out.items())
