# SPDX-License-Identifier: Apache-2.0
"""Accuracy of an item: the benchmarks of questions, or questions about synthetic chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from svlm_core.card import suited
from svlm_core.errors import SourceError
from svlm_core.evaluation.bootstrap import interval, mean
from svlm_core.evaluation.identity import digest, model_identity, of_stream
from svlm_core.evaluation.kept import keep, read_kept
from svlm_core.evaluation.paper.captions import load, weights
from svlm_core.evaluation.paper.inplace import of_model
from svlm_core.evaluation.paper.items import EXAMS_BY_COLUMN, Item
from svlm_core.evaluation.paper.setup import EXAM, Setup
from svlm_core.evaluation.paper.standins import Size
from svlm_core.evaluation.plan import world
from svlm_core.evaluation.quiz import QUIZ, Answered, Quiz, answered
from svlm_core.evaluation.vqa.answers import FILE, read_answers
from svlm_core.evaluation.vqa.run import LAST, Job, run
from svlm_core.timeline import make_folder

CLIP = 4  # seconds of a chunk of the quiz, as svlm-tiny was taught
LAST_SECONDS = LAST // 2  # of it that the baseline sees, at 2 frames a second


def benchmark(
    item: Item, label: str, column: str, setup: Setup
) -> tuple[list[dict[str, Any]], str]:
    """The rows of a benchmark, asked offline by the protocol of the paper, and of its baseline.

    Besides them what could not be asked, in a line, empty where all was: the protocol may count
    such questions as right. Raises SourceError where the files have nothing for this column.
    """
    name, model = EXAMS_BY_COLUMN[column], setup.model(item.rows[label].model)
    engine = load(model, setup.device)
    key = digest({'model': weights(model), 'benchmark': name})
    job = Job(
        benchmark=name,
        data=setup.sources.data[name],
        output=setup.folder / 'answers' / f'{name}-{key}',
        mode='offline',
        protocol='paper',
    )
    found = run(job, engine, suited('robot', model), lambda done, of: None)
    kind, group = ('group', 'realtime') if name == 'ovobench' else ('total', 'total')
    wanted = [row for row in found if (row['kind'], row['name']) == (kind, group)]
    if not wanted:
        raise SourceError(f'{job.data} has no questions of group {group}')
    rows = [
        {
            'item': item.name,
            'label': label if row['mode'] == job.mode else below(label),
            'column': column,
            'value': row['official'],
            'value_ci': row['official_ci'],
            'published': item.published[label][column] if row['mode'] == job.mode else None,
            'stand_in': '',
            **row,
        }
        for row in wanted
    ]
    return rows, _failed(f'{column} of {label}', job, found)


def below(label: str) -> str:
    """The label of the baseline of a row: the same model, which sees the newest frames alone."""
    return f'{label}, last {LAST} frames'


def _failed(what: str, job: Job, found: Sequence[Mapping[str, Any]]) -> str:
    tasks = [row for row in found if row['kind'] == 'task']  # each answer is of one
    asked, failed = (sum(row[name] for row in tasks) for name in ('questions', 'failed'))
    if not failed:
        return ''
    first = next(answer for answer in read_answers(job.output / FILE) if answer.error)
    return f'{what}: {failed} of {asked} answers could not be had: {first.error}'


def synthetic(item: Item, label: str, setup: Setup, size: Size) -> list[dict[str, Any]]:
    """The rows of the quiz that stands for all benchmarks of questions, and for its baseline."""
    return [_synthetic(item, label, setup, size, shown) for shown in (CLIP, LAST_SECONDS)]


def _synthetic(item: Item, label: str, setup: Setup, size: Size, shown: int) -> dict[str, Any]:
    """The row of a quiz in which the last seconds of each chunk, so many, are shown."""
    model = setup.model(item.rows[label].model)
    seeds = [world(setup.seed, number) for number in range(size.streams)]
    found = [_quiz(setup, Quiz(model, seed, size.seconds, CLIP, shown)) for seed in seeds]
    shares = [100 * mean([float(answer.right) for answer in of]) for of in found]
    kinds = dict.fromkeys(answer.skill for of in found for answer in of)
    whole, who = shown == CLIP, of_model(item.rows[label].model, setup)
    identity = of_stream(
        suited('robot', model, **QUIZ),
        'questions about single chunks' if whole else f'last {LAST} frames of single chunks',
        model=model_identity(load(model, setup.device)),
        data={'name': 'synthetic worlds', 'worlds': seeds, 'seconds': size.seconds, 'clip': CLIP},
        seed=setup.seed,
    )
    return {
        'item': item.name,
        'label': label if whole else below(label),
        'column': EXAM,
        'value': mean(shares),
        'value_ci': list(interval(shares, setup.seed)),
        'published': None,
        'stand_in': f'{who}; synthetic questions stand for all benchmarks',
        'questions': sum(map(len, found)),
        'kinds': {
            kind: 100 * mean([float(a.right) for of in found for a in of if a.skill == kind])
            for kind in kinds
        },
        **identity.row(),
    }


def _quiz(setup: Setup, quiz: Quiz) -> Sequence[Answered]:
    """The answers about one world, which are kept. Raises OutputError and SourceError."""
    key = digest({'model': weights(quiz.model), 'shown': quiz.shown})
    path = setup.folder / 'answers' / f'quiz-{key}-{quiz.seed}.jsonl'
    if not path.is_file():
        engine = load(quiz.model, setup.device)
        make_folder(path.parent)
        keep(path, list(answered(engine, quiz)))
    return read_kept(path)
