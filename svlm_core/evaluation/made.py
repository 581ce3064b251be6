# SPDX-License-Identifier: Apache-2.0
"""How the results of the claims came about: an identity for everything that was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.card import suited
from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.claims import Side
from svlm_core.evaluation.conditions import CONDITIONS
from svlm_core.evaluation.identity import Identity, model_identity, of_stream
from svlm_core.evaluation.judging import COUNTING
from svlm_core.evaluation.plan import Planned
from svlm_core.evaluation.quiz import CHUNKS, QUIZ, Quiz
from svlm_core.evaluation.sitting import Paper, settings_for
from svlm_core.evaluation.variants import Planned as Varied

Key = tuple[str, str, bool]  # variant of training ('': the model on trial), condition, free
Made = Mapping[Key, Identity]


def made(planned: Planned, varied: Varied, seed: int) -> dict[Key, Identity]:
    """The identity of every condition, and of every variant of training under it."""
    on_trial = {
        ('', condition, free): _identity([papers], seed)
        for (condition, free), papers in planned.items()
    }
    of_training = {
        (variant, condition, False): _identity(runs, seed)
        for (variant, condition), runs in varied.items()
    }
    return {**on_trial, **of_training}


def key(side: Side) -> Key:
    """The key of a side of a claim."""
    return side.variant, side.condition, side.free


def name(of: Key) -> str:
    """A key in words, as a name in the account of a run."""
    variant, condition, free = of
    return ', '.join(filter(None, (variant, condition, f'{history(free)} history')))


def named(planned: Planned, varied: Varied) -> dict[Paper | Quiz, str]:
    """All exams, each with a name that a file may have: its key, training seed and stream."""
    runs = {
        **{('', *key): [papers] for key, papers in planned.items()},
        **{(*key, False): papers for key, papers in varied.items()},
    }
    return {
        exam: f'{name(key)} {seed} {stream}'.replace(',', '').replace(' ', '-')
        for key, of in runs.items()
        for seed, exams in enumerate(of)
        for stream, exam in enumerate(exams)
    }


def history(free: bool) -> str:
    """Whose words are in memory: the model's own, or the true ones."""
    return 'own' if free else 'gold'


def _identity(runs: Sequence[Sequence[Paper | Quiz]], seed: int) -> Identity:
    """The identity of exams under one condition, training seed by training seed."""
    one = runs[0][0]
    models = [_model(papers[0].model) for papers in runs]
    data = {
        'name': 'synthetic worlds',
        'worlds': [paper.seed for paper in runs[0]],
        'seconds': one.seconds,
    }
    mode, settings, more = _exam(one)
    return of_stream(
        settings,
        mode=mode,
        model=models[0] if len(models) == 1 else {'training seeds': models},
        data={**data, **more},
        seed=seed,
        judge=COUNTING,
    )


def _exam(paper: Paper | Quiz) -> tuple[str, StreamSettings, dict[str, Any]]:
    """How a model sits an exam, with which settings, and what else there is to it."""
    if isinstance(paper, Quiz):
        settings = suited('robot', paper.model, **QUIZ)
        chunks = {'clip': paper.clip, 'chunks': CHUNKS}
        return 'questions about single chunks', settings, chunks
    condition = CONDITIONS[paper.condition]
    more: dict[str, Any] = {
        'task changes': condition.change,
        'rounds retrieved': condition.retrieved,
    }
    mode = f'streaming, {history(paper.free)} history'
    return mode, settings_for(condition, paper.model), more


def _model(folder: Path | None) -> dict[str, Any]:
    return model_identity(StreamingVLM.from_pretrained(folder, device='cpu'))
