# SPDX-License-Identifier: Apache-2.0
"""`svlm claims`: what the paper says, tried on this model, with intervals."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from svlm_core.errors import SettingsError


@dataclass(frozen=True)
class Claims:
    """Try the claims of the paper, and our own, on worlds that the model has never seen.

    Prints a line of JSON for each claim: both sides with bootstrap 95 % intervals over streams,
    their paired difference, and whether the claim holds. The exit status is 0 whether or not
    claims hold. A model that does not know the synthetic world shows nothing here.

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
    processes: Annotated[int, arg(help='processes; 0: one for each core', metavar='NUMBER')] = 0

    def run(self) -> int:
        """Try, print, and return the exit status. Raises SvlmError."""
        if self.seed < 0 or self.streams < 2 or self.minutes < 1 or self.processes < 0:
            raise SettingsError('give at least --seed 0 --streams 2 --minutes 1')
        from svlm_core.commands.console import errors, progress
        from svlm_core.evaluation.claims import CLAIMS, judge
        from svlm_core.evaluation.plan import Size, gathered, needs, papers
        from svlm_core.evaluation.sitting import sit_all

        size = Size(self.streams, self.minutes)
        planned = papers(needs(CLAIMS), self.model, self.seed, size)
        every = [paper for of in planned.values() for paper in of]
        with progress(errors(), len(every)) as moved:
            marks = sit_all(
                every,
                self.processes or os.cpu_count() or 1,
                lambda done: moved(done, f'{done} of {len(every)} streams'),
            )
        streams = gathered(planned, marks)
        verdicts = [judge(claim, streams, self.seed) for claim in CLAIMS]
        for verdict in verdicts:
            print(verdict.to_json(), flush=True)
        if self.output is not None:
            from svlm_core.evaluation.report import write_report

            model = 'svlm-tiny' if self.model is None else self.model.name
            write_report(self.output, verdicts, streams, f'Claims on {model}, seed {self.seed}')
        return 0
