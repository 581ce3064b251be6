# SPDX-License-Identifier: Apache-2.0
"""The captions that items compare: each contestant captions a benchmark once, for all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from svlm_core.card import differences, suited
from svlm_core.curation.manifest import Shard
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.identity import digest, file_hash, model_identity, of_stream
from svlm_core.evaluation.paper.items import CHUNK, INF, Contestant
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.evaluation.paper.standins import scaled
from svlm_core.evaluation.sitting import spread
from svlm_core.evaluation.streams import infstreams, livesports
from svlm_core.evaluation.streams.benchmark import Benchmark
from svlm_core.evaluation.streams.captioning import by_engine
from svlm_core.evaluation.streams.running import caption_all
from svlm_core.evaluation.windows import CAPTIONS

PUBLISHED = {'policy': 'streaming', 'text_refresh_interval': None}  # of StreamingVLM
BASE_TEMPERATURE = 0.7  # of Qwen and LiveCC, as published


@dataclass(frozen=True)
class Job:
    """Captions of a benchmark that are to be made."""

    contestant: Contestant
    model: Path | None
    benchmark: str
    data: Path
    begin: int
    tiny: bool
    device: str
    output: Path


def job_of(contestant: Contestant, name: str, data: Path, setup: Setup) -> Job:
    """The job that captions a benchmark in folder `data` with a contestant."""
    who, size = contestant, setup.size
    model = setup.model(who.model)
    if size is not None:
        who = scaled(who, size)
    told = {**asdict(who), 'model': who.model if size is None else str(model), 'captions': ''}
    if name != INF:  # events are captioned one by one in every setting
        told |= {'setting': '', 'chunk': 0}
    elif who.setting == 'endless':
        told |= {'chunk': 0}
    output = setup.folder / 'captions' / f'{name}-{digest(told)}'
    begin = infstreams.BEGIN if size is None else size.chunk
    return Job(who, model, name, data, begin, size is not None, setup.device, output)


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


def make(job: Job) -> list[str]:
    """Caption, going on where it was broken off; what could not be captioned."""
    who, engine = job.contestant, load(job.model, job.device)
    more: dict[str, Any] = {}
    if not job.tiny and who.model in ('qwen', 'livecc'):
        more = {'sampling': {'temperature': BASE_TEMPERATURE}}
    settings = suited('robot', job.model, **{**PUBLISHED, **who.settings, **more})
    benchmark = read(job.benchmark, job.data, job.begin, who.chunk)
    query = (lambda stretch: settings.query) if job.tiny else benchmark.query
    told = {'previous': who.previous, 'retrieved': who.retrieved, 'chunk': who.chunk}
    identity = of_stream(
        settings,
        who.setting,
        model=model_identity(engine),
        data={'name': job.benchmark, 'sha256': file_hash(benchmark.files)},
        seed=settings.sampling.seed,
    )
    identity = replace(identity, settings={**differences(settings), **told})
    captioner = by_engine(engine, settings, query, who.previous, who.retrieved)
    outcome = caption_all(
        benchmark, who.setting, captioner, identity, job.output, Shard(), lambda done, video: None
    )
    return [f'{job.output.name}: {video}: {why}' for video, why in outcome.failed.items()]


@lru_cache(maxsize=1)
def load(model: Path | None, device: str) -> StreamingVLM:
    """A model; the one used last is kept."""
    return StreamingVLM.from_pretrained(model, device)
