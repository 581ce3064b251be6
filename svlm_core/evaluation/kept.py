# SPDX-License-Identifier: Apache-2.0
"""What came of exams, kept: one file each, so that a run that was broken off goes on.

A line of a file is a second, or an answer, with all that was measured of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.quiz import Answered
from svlm_core.synthetic.captions import Meaning
from svlm_core.timeline import lines_of, write_lines


def keep(path: Path, results: Sequence[Mark | Answered]) -> None:
    """Write what came of an exam. Raises OutputError."""
    write_lines(path, ({**asdict(one), 'right': one.right} for one in results))


def read_kept(path: Path) -> list[Any]:
    """What came of an exam: its marks, or the answers of a quiz. Raises SourceError."""
    try:
        return [_one(json.loads(line)) for line in lines_of(path.read_text(encoding='utf-8'))]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f'{path} holds nothing of an exam, remove it: {error}') from error


def _one(plain: dict[str, Any]) -> Mark | Answered:
    if 'held' not in plain:
        return Answered(**plain)
    truth = plain.pop('truth')
    del plain['right']  # it follows
    return Mark(truth=Meaning(truth['sentence'], tuple(truth['words'])), **plain)
