# SPDX-License-Identifier: Apache-2.0
"""Accuracy of an item: the benchmarks of questions, or questions about synthetic chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from svlm_core.card import suited
from svlm_core.evaluation.bootstrap import interval, mean
from svlm_core.evaluation.identity import digest, model_identity, of_stream
from svlm_core.evaluation.kept import keep, read_kept
from svlm_core.evaluation.paper.captions import load
from svlm_core.evaluation.paper.inplace import of_model
from svlm_core.evaluation.paper.items import EXAMS_BY_COLUMN, Item
from svlm_core.evaluation.paper.setup import EXAM, Setup
from svlm_core.evaluation.paper.standins import Size
from svlm_core.evaluation.plan import world
from svlm_core.evaluation.quiz import QUIZ, Answered, Quiz, answered
from svlm_core.evaluation.vqa.run import Job, run
from svlm_core.timeline import make_folder

CLIP = 4  # seconds of a chunk of the quiz, as svlm-tiny was taught


def benchmark(item: Item, label: str, column: str, setup: Setup) -> dict[str, Any]:
    """The row of a benchmark, asked offline by the protocol of the paper."""
    name, model = EXAMS_BY_COLUMN[column], setup.model(item.rows[label].model)
    key = digest({'model': str(model), 'benchmark': name})
    job = Job(
        benchmark=name,
        data=setup.sources.data[name],
        output=setup.folder / 'answers' / f'{name}-{key}',
        mode='offline',
        protocol='paper',
    )
    engine = load(model, setup.device)
    found = run(job, engine, suited('robot', model), lambda done, of: None)
    kind = ('group', 'realtime') if name == 'ovobench' else ('total', 'total')
    wanted = [row for row in found if row['mode'] == 'offline']
    row = next((r for r in wanted if (r['kind'], r['name'].lower()) == kind), wanted[0])
    return {
        'item': item.name,
        'label': label,
        'column': column,
        'value': row['official'],
        'value_ci': row['official_ci'],
        'published': item.published[label][column],
        'stand_in': '',
        **row,
    }


def synthetic(item: Item, label: str, setup: Setup, size: Size) -> dict[str, Any]:
    """The row of the quiz that stands for all benchmarks of questions."""
    model = setup.model(item.rows[label].model)
    seeds = [world(setup.seed, number) for number in range(size.streams)]
    key = digest({'model': str(model)})
    found = [_quiz(setup, model, seed, size.seconds, key) for seed in seeds]
    shares = [100 * mean([float(answer.right) for answer in of]) for of in found]
    kinds = dict.fromkeys(answer.skill for of in found for answer in of)
    identity = of_stream(
        suited('robot', model, **QUIZ),
        'questions about single chunks',
        model=model_identity(load(model, setup.device)),
        data={'name': 'synthetic worlds', 'worlds': seeds, 'seconds': size.seconds, 'clip': CLIP},
        seed=setup.seed,
    )
    who = of_model(item.rows[label].model, setup)
    return {
        'item': item.name,
        'label': label,
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


def _quiz(
    setup: Setup, model: Path | None, seed: int, seconds: int, key: str
) -> Sequence[Answered]:
    """The answers about one world, which are kept. Raises OutputError and SourceError."""
    path = setup.folder / 'answers' / f'quiz-{key}-{seed}.jsonl'
    if not path.is_file():
        engine = load(model, setup.device)
        make_folder(path.parent)
        keep(path, list(answered(engine, Quiz(model, seed, seconds, CLIP))))
    return read_kept(path)
