# SPDX-License-Identifier: Apache-2.0
"""`svlm claims`: what the paper says, tried on this model, with intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from svlm_core.errors import SettingsError

if TYPE_CHECKING:
    from svlm_core.evaluation.made import Made
    from svlm_core.evaluation.plan import Planned
    from svlm_core.evaluation.quiz import Quiz
    from svlm_core.evaluation.sitting import Paper
    from svlm_core.evaluation.variants import Planned as Varied

EXAMS = 'exams'  # folder of what was said, in that of --output


@dataclass(frozen=True)
class Claims:
    """Try claims of the paper, and ours, on unseen worlds.

    Prints a line of JSON for each claim: both sides with bootstrap 95 % intervals over streams,
    their paired difference, and whether the claim holds. The exit status is 0 whether or not
    claims hold. A model that does not know the synthetic world shows nothing here.

    With --output, every exam is kept when it is done: the same command goes on where it was broken
    off, and once there are variants, with those alone. A folder that holds claims on another
    model, seed, size or version is refused.

    Claims about training are tried on the variants that training/lab.py has trained, whatever the
    model. Where some are missing, the claims about them are left out, and stderr says so.

      svlm claims --seed 1
      svlm claims --seed 1 --output claims    # and tables, plots and all marks
    """

    seed: Annotated[int, arg(help='which worlds, and which draws of the bootstrap')] = 0
    minutes: Annotated[float, arg(help='length of a stream', metavar='MINUTES')] = 30
    streams: Annotated[int, arg(help='how many streams', metavar='NUMBER')] = 16
    output: Annotated[
        Path | None, arg(help='folder for claims.html, claims.jsonl and marks.csv', metavar='DIR')
    ] = None
    model: Annotated[
        Path | None, arg(help='checkpoint folder; None: the built-in svlm-tiny', metavar='DIR')
    ] = None
    variants: Annotated[
        Path, arg(help='folder of the laboratory, with variants of training', metavar='DIR')
    ] = Path('runs/lab')
    processes: Annotated[int, arg(help='processes; 0: one for each core', metavar='NUMBER')] = 0

    def run(self) -> int:
        """Try, print, and return the exit status. Raises SvlmError."""
        if self.seed < 0 or self.streams < 2 or self.minutes < 1 or self.processes < 0:
            raise SettingsError('give at least --seed 0 --streams 2 --minutes 1')
        from svlm_core.commands.console import tell
        from svlm_core.evaluation.claims import CLAIMS, judge, judge_training
        from svlm_core.evaluation.made import named
        from svlm_core.evaluation.plan import Size, gathered, needs, papers
        from svlm_core.evaluation.variants import possible, trials, tried
        from svlm_core.training.lab import read_lab

        size, lab = Size(self.streams, self.minutes), read_lab(self.variants)
        training, left_out = possible(self.variants, lab)
        if left_out:
            tell(f'svlm claims: {left_out}')
        planned = papers(needs(CLAIMS), self.model, self.seed, size)
        varied = trials(training, self.variants, lab, self.seed, size) if lab else {}
        identities = self._begin(planned, varied)
        marks = self._sit(named(planned, varied))
        streams, trained = gathered(planned, marks), tried(varied, marks)
        verdicts = [
            *(judge(claim, streams, self.seed) for claim in CLAIMS),
            *(judge_training(claim, trained, self.seed) for claim in training),
        ]
        for verdict in verdicts:
            print(verdict.to_json(), flush=True)
        if self.output is not None:
            from svlm_core.evaluation.report import Result, write_report
            from svlm_core.evaluation.wins import wins, wins_of_training

            won = [
                *(wins(claim, streams, self.seed) for claim in CLAIMS),
                *(wins_of_training(claim, trained, self.seed) for claim in training),
            ]
            of = zip((*CLAIMS, *training), verdicts, won, strict=True)
            results = [Result(claim, verdict, *win) for claim, verdict, win in of]
            model = 'svlm-tiny' if self.model is None else self.model.name
            title = f'Claims on {model}, seed {self.seed}'
            write_report(self.output, results, streams, trained, identities, title)
        return 0

    def _begin(self, planned: Planned, varied: Varied) -> Made:
        """Begin the folder; how everything is going to be made."""
        if self.output is None:
            return {}
        from svlm_core.evaluation.identity import begin_folder
        from svlm_core.evaluation.made import made, name

        found = made(planned, varied, self.seed)
        begin_folder(self.output, {name(key): of.row() for key, of in found.items()}, grows=True)
        return found

    def _sit(self, exams: Mapping[Paper | Quiz, str]) -> dict[Paper | Quiz, list[Any]]:
        """What comes of all exams, shown as it goes, and kept by their names."""
        from svlm_core.commands.console import errors, progress
        from svlm_core.evaluation.sitting import sit_all
        from svlm_core.timeline import make_folder

        places = {}
        if self.output is not None:
            folder = make_folder(self.output / EXAMS)
            places = {exam: folder / f'{name}.jsonl' for exam, name in exams.items()}
        with progress(errors(), len(exams)) as moved:
            return sit_all(
                list(exams),
                self.processes or os.cpu_count() or 1,
                lambda done: moved(done, f'{done} of {len(exams)} streams'),
                places,
            )
