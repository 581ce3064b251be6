# SPDX-License-Identifier: Apache-2.0
"""Exams of models under many conditions, on many worlds, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch

from svlm_core.capacity import whole_stream
from svlm_core.caption import Answer
from svlm_core.card import suited
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.conditions import CHANGE, CONDITIONS, NEW_TASK, Condition
from svlm_core.evaluation.exam import Mark, running_free, with_gold_history
from svlm_core.prompt import Prompt
from svlm_core.stream import Stream
from svlm_core.synthetic.story import Story

ROOM = 64  # tokens for a task that is said as a turn


@dataclass(frozen=True)
class Paper:
    """One exam: of a model (None: the embedded one), under a condition, on a world."""

    model: Path | None
    condition: str
    seed: int
    seconds: int
    free: bool


def sit_all(
    papers: Sequence[Paper], processes: int, done: Callable[[int], None]
) -> dict[Paper, list[Mark]]:
    """The marks of every paper; `done` is told how many are finished. Long ones begin first."""
    order = sorted(papers, key=lambda p: (not CONDITIONS[p.condition].costly, -p.seconds))
    context = multiprocessing.get_context('spawn')
    marks = {}
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        sat = {pool.submit(sit, paper): paper for paper in order}
        for count, future in enumerate(as_completed(sat), 1):
            marks[sat[future]] = future.result()
            done(count)
    return marks


def sit(paper: Paper) -> list[Mark]:
    """The marks of one exam."""
    condition, story = CONDITIONS[paper.condition], Story(paper.seed)
    stream = open_for(condition, paper)
    tell = running_free if paper.free else with_gold_history
    task = stream.query
    if condition.change == 'never':
        return list(tell(stream, story, range(paper.seconds), task))

    def changed() -> Iterator[Mark]:
        change_task(stream, condition)
        yield from tell(stream, story, range(CHANGE, paper.seconds), NEW_TASK)

    return list(chain(tell(stream, story, range(CHANGE), task), changed()))


def open_for(condition: Condition, paper: Paper) -> Stream:
    """A stream under a condition, with room for all of it where nothing bounds its memory."""
    engine = _engine(paper.model)
    settings = suited('robot', paper.model, **condition.settings)
    if condition.change == 'said':
        settings = replace(settings, ask_tokens=ROOM)
    if settings.policy == 'full_attention':
        room = whole_stream(Prompt(engine.tokenizer, settings), settings, paper.seconds)
        settings = replace(settings, capacity=room)
    return engine.open(settings)


def change_task(stream: Stream, condition: Condition) -> None:
    """Tell the new task: to the pinned instruction, or as a turn that ages with the others."""
    if condition.change == 'pinned':
        stream.set_query(NEW_TASK)
        return
    silence = stream.prompt.tokenizer.reply('')
    stream.keep(Answer(NEW_TASK, '', silence, 'end', {}, None, 0))


@lru_cache(maxsize=2)
def _engine(model: Path | None) -> StreamingVLM:
    return StreamingVLM.from_pretrained(model, device='cpu')
