# SPDX-License-Identifier: Apache-2.0
"""The captions that items compare: each contestant captions a benchmark once, for all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from svlm_core.card import EMBEDDED, differences, suited
from svlm_core.curation.manifest import Shard
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.identity import (
    Identity,
    digest,
    file_hash,
    model_identity,
    of_stream,
    weights_hash,
)
from svlm_core.evaluation.paper.items import CHUNK, INF, LIVE, Contestant
from svlm_core.evaluation.paper.setup import Setup, Voice
from svlm_core.evaluation.paper.standins import scaled
from svlm_core.evaluation.sitting import spread
from svlm_core.evaluation.streams import infstreams, livesports
from svlm_core.evaluation.streams.benchmark import Benchmark, Stretch
from svlm_core.evaluation.streams.captioning import (
    DESCRIBE,
    Captioner,
    by_chat,
    by_engine,
    of_chat,
)
from svlm_core.evaluation.streams.running import by_video, caption_all, incomplete
from svlm_core.evaluation.windows import CAPTIONS

PUBLISHED = {'policy': 'streaming', 'text_refresh_interval': None}  # of StreamingVLM
BASES, BASE_TEMPERATURE = ('qwen', 'livecc'), 0.7  # as published
FILES = {INF: infstreams.files, LIVE: livesports.files}


@dataclass(frozen=True)
class Job:
    """Captions of a benchmark that are to be made, by a model or by a `voice`."""

    contestant: Contestant
    model: Path | None
    benchmark: str
    data: Path
    begin: int
    tiny: bool
    device: str
    output: Path
    voice: Voice | None = None
    workers: int = 1


def job_of(contestant: Contestant, name: str, data: Path, setup: Setup) -> Job:
    """The job that captions a benchmark in folder `data` with a contestant.

    Captions are found again by what made them and of what: the weights, or the model behind its
    endpoint, all settings, and the official files. Raises SourceError.
    """
    who, size = contestant, setup.size
    asked = who.setting == 'windows'
    voice = setup.commentator if asked else None
    model = None if asked else setup.model(who.model)
    if size is not None:
        who = scaled(who, size)
    elif who.model in BASES:
        sampling = {'temperature': BASE_TEMPERATURE}
        who = replace(who, settings={**who.settings, 'sampling': sampling})
    made = [voice.name, voice.base_url] if voice else weights(model)
    told = {**asdict(who), 'model': made, 'data': official(name, data), 'captions': ''}
    if name != INF:  # events are captioned one by one in every setting
        told |= {'setting': '', 'chunk': 0}
    elif who.setting == 'endless':
        told |= {'chunk': 0}
    output = setup.folder / 'captions' / f'{name}-{digest(told)}'
    begin = infstreams.BEGIN if size is None else size.chunk
    return Job(
        contestant=who,
        model=model,
        benchmark=name,
        data=data,
        begin=begin,
        tiny=size is not None,
        device=setup.device,
        output=output,
        voice=voice,
        workers=setup.workers if asked else 1,
    )


def read(name: str, data: Path, begin: int, chunk: int = CHUNK) -> Benchmark:
    """A benchmark by its name."""
    return infstreams.read(data, begin, chunk) if name == INF else livesports.read(data)


def make_all(jobs: Sequence[Job], processes: int, done: Callable[[int, int], None]) -> list[str]:
    """Make the captions that are not finished; what could not be captioned.

    `done` is told how many are finished, of how many.
    """
    left = list({job.output: job for job in jobs if not finished(job)}.values())
    total, failed = len({job.output for job in jobs}), list[str]()
    ready = total - len(left)
    done(ready, total)
    results = (
        spread(make, left, processes)
        if processes > 1
        else ((number, make(job)) for number, job in enumerate(left))
    )
    for _, problems in results:
        ready += 1
        failed += problems
        done(ready, total)
    return failed


def finished(job: Job) -> bool:
    """Whether all of it is captioned."""
    return (job.output / CAPTIONS).is_file()


def problems_of(jobs: Sequence[Job]) -> list[str]:
    """What is not as it should be in captions that are made, a line for each folder of them.

    It is read from their files, so that the next run, which makes them no more, tells it too.
    Raises SourceError for a file that was changed.
    """
    found = list[str]()
    for job in {job.output: job for job in jobs}.values():
        benchmark = read(job.benchmark, job.data, job.begin, job.contestant.chunk)
        setting = job.contestant.setting
        if troubled := incomplete(benchmark, setting, job.output):
            total = sum(map(len, by_video(benchmark, setting).values()))
            place, why = next(iter(troubled.items()))
            found.append(
                f'{job.output.name}: {len(troubled)} of {total} stretches are not captioned in '
                f'full: {place}: {why}'
            )
    return found


def make(job: Job) -> list[str]:
    """Caption, going on where it was broken off; what could not be captioned."""
    benchmark = read(job.benchmark, job.data, job.begin, job.contestant.chunk)
    data = {'name': job.benchmark, 'sha256': official(job.benchmark, job.data)}
    captioner, identity = (
        _asked(job, job.voice, data) if job.voice else _watching(job, benchmark, data)
    )
    outcome = caption_all(
        benchmark,
        job.contestant.setting,
        captioner,
        identity,
        job.output,
        Shard(),
        lambda done, video: None,
        job.workers,
    )
    return [f'{job.output.name}: {video}: {why}' for video, why in outcome.failed.items()]


def _asked(job: Job, voice: Voice, data: dict[str, Any]) -> tuple[Captioner, Identity]:
    def query(stretch: Stretch) -> str:
        return DESCRIBE

    identity = of_chat(voice.name, voice.base_url, query, job.contestant.previous, data)
    return by_chat(voice.chat, query, job.contestant.previous), identity


def _watching(job: Job, benchmark: Benchmark, data: dict[str, Any]) -> tuple[Captioner, Identity]:
    who, engine = job.contestant, load(job.model, job.device)
    settings = suited('robot', job.model, **{**PUBLISHED, **who.settings})
    query = (lambda stretch: settings.query) if job.tiny else benchmark.query
    told = {'previous': who.previous, 'retrieved': who.retrieved, 'chunk': who.chunk}
    identity = of_stream(
        settings,
        who.setting,
        model=model_identity(engine),
        data=data,
        seed=settings.sampling.seed,
    )
    identity = replace(identity, settings={**differences(settings), **told})
    return by_engine(engine, settings, query, who.previous, who.retrieved), identity


@lru_cache
def weights(model: Path | None) -> str:
    """What a model is, by the hash in its identity; its files are read once in a run."""
    return weights_hash(model or EMBEDDED)


@lru_cache
def official(name: str, data: Path) -> str:
    """A hash over the official files of a benchmark in a folder; they are read once in a run."""
    return file_hash(FILES[name](data))


@lru_cache(maxsize=1)
def load(model: Path | None, device: str) -> StreamingVLM:
    """A model; the one used last is kept."""
    return StreamingVLM.from_pretrained(model, device)
