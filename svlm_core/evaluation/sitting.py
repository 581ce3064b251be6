# SPDX-License-Identifier: Apache-2.0
"""Exams of models under many conditions, on many worlds, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from svlm_core import workers
from svlm_core.capacity import sized
from svlm_core.caption import Answer
from svlm_core.card import suited
from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.conditions import CHANGE, CONDITIONS, NEW_TASK, Condition
from svlm_core.evaluation.exam import Mark, running_free, with_gold_history
from svlm_core.evaluation.kept import keep, read_kept
from svlm_core.evaluation.quiz import Quiz, answered
from svlm_core.prompt import Prompt
from svlm_core.stream import Stream
from svlm_core.synthetic.story import Story

ROOM = 64  # tokens for a task that is said as a turn

Job = TypeVar('Job')
Result = TypeVar('Result')


@dataclass(frozen=True)
class Paper:
    """One exam: of a model (None: the embedded one), under a condition, on a world."""

    model: Path | None
    condition: str
    seed: int
    seconds: int
    free: bool


def sit_all(
    papers: Sequence[Paper | Quiz],
    processes: int,
    done: Callable[[int], None],
    places: Mapping[Paper | Quiz, Path] | None = None,
) -> dict[Paper | Quiz, list[Any]]:
    """What comes of every paper; `done` is told how many are finished. Long ones begin first.

    Where `places` are given, each result is kept in its file, and what is there is not sat again.
    Raises OutputError and SourceError for files that cannot be written or read.
    """
    order = sorted(papers, key=lambda p: (not _costly(p), -p.seconds))
    kept = [(places or {}).get(paper) for paper in order]
    return dict(zip(order, spread_kept(sit, order, kept, processes, done), strict=True))


def spread_kept(
    work: Callable[[Job], list[Any]],
    jobs: Sequence[Job],
    places: Sequence[Path | None],
    processes: int,
    done: Callable[[int], None],
) -> list[list[Any]]:
    """The result of every job, as `spread` finds it, or as it is kept in its place from before.

    `done` is told how many are finished. Raises OutputError and SourceError.
    """
    ready = {n: read_kept(p) for n, p in enumerate(places) if p is not None and p.is_file()}
    done(len(ready))
    left = [number for number in range(len(jobs)) if number not in ready]
    for index, found in spread(work, [jobs[number] for number in left], processes):
        number = left[index]
        ready[number] = found
        if (place := places[number]) is not None:
            keep(place, found)
        done(len(ready))
    return [ready[number] for number in range(len(jobs))]


def spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int
) -> Iterator[tuple[int, Result]]:
    """The number and the result of every job, as they are done, each in one thread of its own."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, context, workers.begin) as pool:
        numbers = {pool.submit(work, job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def sit(paper: Paper | Quiz) -> list[Any]:
    """The marks of one exam, or the answers of a quiz."""
    if isinstance(paper, Quiz):
        return list(answered(engine_of(paper.model), paper))
    return tell_world(paper)


def tell_world(paper: Paper) -> list[Mark]:
    """The marks of a world told under a condition."""
    condition = CONDITIONS[paper.condition]
    return tell(condition, paper.model, paper.seed, paper.seconds, paper.free)


def tell(
    condition: Condition, model: Path | None, seed: int, seconds: int, free: bool
) -> list[Mark]:
    """The marks of the first seconds of a world, told under a condition by a model."""
    story, stream = Story(seed), open_for(condition, model, seconds)
    told = running_free if free else with_gold_history
    task, marks = stream.query, list[Mark]()
    for second in range(seconds):
        if second == CHANGE and condition.change != 'never':
            task = NEW_TASK
            change_task(stream, condition)
        marks += told(stream, story, [second], task)
    return marks


def _costly(paper: Paper | Quiz) -> bool:
    return isinstance(paper, Paper) and CONDITIONS[paper.condition].costly


def settings_for(condition: Condition, model: Path | None) -> StreamSettings:
    """The settings of a model under a condition."""
    settings = suited('robot', model, **condition.settings)
    return replace(settings, ask_tokens=ROOM) if condition.change == 'said' else settings


def open_for(condition: Condition, model: Path | None, seconds: int) -> Stream:
    """A stream under a condition, with room for all of it where nothing bounds its memory."""
    engine, settings = engine_of(model), settings_for(condition, model)
    settings = sized(Prompt(engine.tokenizer, settings), settings, seconds)
    return engine.open(settings, retrieved=condition.retrieved)


def change_task(stream: Stream, condition: Condition) -> None:
    """Tell the new task: to the pinned instruction, or as a turn that ages with the others."""
    if condition.change == 'pinned':
        stream.set_query(NEW_TASK)
        return
    silence = stream.prompt.tokenizer.reply('')
    stream.keep(Answer(NEW_TASK, '', silence, 'end', {}, None, 0))


@lru_cache(maxsize=2)
def engine_of(model: Path | None) -> StreamingVLM:
    """A model on one core; those used last are kept."""
    return StreamingVLM.from_pretrained(model, device='cpu')
