# SPDX-License-Identifier: Apache-2.0
"""Exams of models under many conditions, on many worlds, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from svlm_core.capacity import capacity, tokens_per_role, whole_stream
from svlm_core.caption import Answer
from svlm_core.card import suited
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.conditions import CHANGE, CONDITIONS, NEW_TASK, Condition
from svlm_core.evaluation.exam import Mark, running_free, with_gold_history
from svlm_core.evaluation.quiz import Quiz, answered
from svlm_core.evaluation.retrieval import Retriever
from svlm_core.prompt import Prompt
from svlm_core.stream import Stream
from svlm_core.synthetic.story import Story
from svlm_core.transcript import Role

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
    papers: Sequence[Paper | Quiz], processes: int, done: Callable[[int], None]
) -> dict[Paper | Quiz, list[Any]]:
    """What comes of every paper; `done` is told how many are finished. Long ones begin first."""
    order = sorted(papers, key=lambda p: (not _costly(p), -p.seconds))
    context = multiprocessing.get_context('spawn')
    marks = {}
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        sat = {pool.submit(sit, paper): paper for paper in order}
        for count, future in enumerate(as_completed(sat), 1):
            marks[sat[future]] = future.result()
            done(count)
    return marks


def sit(paper: Paper | Quiz) -> list[Any]:
    """The marks of one exam, or the answers of a quiz."""
    if isinstance(paper, Quiz):
        return list(answered(_engine(paper.model), paper))
    return tell_world(paper)


def tell_world(paper: Paper) -> list[Mark]:
    """The marks of a world told under a condition."""
    condition, story = CONDITIONS[paper.condition], Story(paper.seed)
    stream = open_for(condition, paper)
    tell = running_free if paper.free else with_gold_history
    retriever = Retriever(stream, condition.retrieved) if condition.retrieved else None
    task, marks = stream.query, list[Mark]()
    for second in range(paper.seconds):
        if second == CHANGE and condition.change != 'never':
            task = NEW_TASK
            change_task(stream, condition)
        if retriever is not None:
            retriever.before(story.frames(second))
        marks += tell(stream, story, [second], task)
        if retriever is not None:
            retriever.after()
    return marks


def _costly(paper: Paper | Quiz) -> bool:
    return isinstance(paper, Paper) and CONDITIONS[paper.condition].costly


def open_for(condition: Condition, paper: Paper) -> Stream:
    """A stream under a condition, with room for all of it where nothing bounds its memory."""
    engine = _engine(paper.model)
    settings = suited('robot', paper.model, **condition.settings)
    if condition.change == 'said':
        settings = replace(settings, ask_tokens=ROOM)
    prompt = Prompt(engine.tokenizer, settings)
    if settings.policy == 'full_attention':
        settings = replace(settings, capacity=whole_stream(prompt, settings, paper.seconds))
    elif condition.retrieved:
        back = condition.retrieved * tokens_per_role(prompt, settings)[Role.VISION]
        settings = replace(settings, capacity=capacity(prompt, settings) + back)
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
