# SPDX-License-Identifier: Apache-2.0
"""Which claims about training can be tried in a laboratory, and the exams that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.evaluation.claims import QUESTIONS, TRAINING, Claim, Side, Trials
from svlm_core.evaluation.plan import Size, papers, world
from svlm_core.evaluation.quiz import Quiz
from svlm_core.evaluation.sitting import Paper
from svlm_core.training.lab import TRUNK, VARIANTS, Lab

MINUTES = 4.0  # of a stream, at most

Planned = Mapping[tuple[str, str], Sequence[Sequence[Paper | Quiz]]]


def possible(folder: Path, lab: Lab | None) -> tuple[list[Claim], str]:
    """The claims about training that can be tried, and a line on why others cannot ('': all can).

    `lab` is what is known of the laboratory in `folder`.
    """
    missing = lab.missing(folder) if lab else [TRUNK, *VARIANTS]
    quiz = lab is not None and lab.clip is not None

    def can(side: Side) -> bool:
        return side.variant not in missing and (quiz or side.condition != QUESTIONS)

    claims = [claim for claim in TRAINING if can(claim.a) and can(claim.b)]
    reasons = []
    if missing:
        reasons.append(
            f'{folder} lacks {", ".join(missing)}: train them with '
            f'`python training/lab.py --trunk DIR --output {folder}`'
        )
    elif not quiz:
        reasons.append(
            f'the trunk of {folder} was taught no questions: train one whose stories have a share '
            'of `questions`'
        )
    left = len(TRAINING) - len(claims)
    return claims, f'{left} claims about training left out; {"; ".join(reasons)}' if left else ''


def trials(claims: Sequence[Claim], folder: Path, lab: Lab, seed: int, size: Size) -> Planned:
    """The exams of every variant and condition of the claims, by training seed and stream."""
    sides = dict.fromkeys(
        (side.variant, side.condition) for claim in claims for side in (claim.a, claim.b)
    )
    size = Size(size.streams, min(size.minutes, MINUTES))

    def exams(model: Path, condition: str) -> Sequence[Paper | Quiz]:
        if condition == QUESTIONS:
            assert lab.clip is not None
            clip, length = lab.clip, round(60 * size.minutes)
            return [Quiz(model, world(seed, n), length, clip) for n in range(size.streams)]
        return papers([(condition, False)], model, seed, size)[condition, False]

    return {
        (variant, condition): [exams(model, condition) for model in lab.models(folder, variant)]
        for variant, condition in sides
    }


def tried(planned: Planned, results: Mapping[Paper | Quiz, Sequence[Any]]) -> Trials:
    """What came of the exams, in their order."""
    return {
        key: [[results[paper] for paper in of] for of in runs] for key, runs in planned.items()
    }
