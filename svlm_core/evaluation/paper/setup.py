# SPDX-License-Identifier: Apache-2.0
"""One run of the paper's items: what there is, how large stand-ins are, who judges, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from svlm_core.endpoints.chat import Chat
from svlm_core.evaluation.judges import by_agreement, by_model
from svlm_core.evaluation.judging import Judge
from svlm_core.evaluation.paper.items import Contestant
from svlm_core.evaluation.paper.sources import (
    LAB,
    TRAINED,
    Sources,
    cell_needs,
    from_lab,
    lacking,
)
from svlm_core.evaluation.paper.standins import Size
from svlm_core.evaluation.streams.benchmark import Benchmark

EXAM = 'synthetic questions'  # the column that stands for the benchmarks of questions


@dataclass(frozen=True)
class Voice:
    """A model behind an endpoint, by the name it has there."""

    name: str
    base_url: str
    chat: Chat


@dataclass(frozen=True)
class Setup:
    """How items are run. With a `size` svlm-tiny and synthetic worlds stand in for everything."""

    folder: Path
    sources: Sources
    size: Size | None
    seed: int
    processes: int
    device: str
    judges: Mapping[str, Voice] = field(default_factory=dict)  # by benchmark; none: agreement
    commentator: Voice | None = None  # captions in place of GPT-4o mini
    workers: int = 1  # requests at a time

    def judge(self, benchmark: Benchmark) -> Judge:
        """Who judges a benchmark by what counts there."""
        voice = self.judges.get(benchmark.name)
        return by_model(voice.chat, benchmark.task) if voice else by_agreement

    def judge_name(self, benchmark: str) -> str:
        """What its judge is called."""
        voice = self.judges.get(benchmark)
        return voice.name if voice else 'agreement of words and events'

    def model(self, name: str) -> Path | None:
        """The folder of a model; None: the embedded one."""
        if self.size is None:
            return self.sources.weights[name]
        return from_lab(name, self.sources.lab)

    def lacks(self, contestant: Contestant, column: str) -> dict[str, str]:
        """What a value lacks, and how to get it."""
        if self.size is None:
            wanted = cell_needs(contestant, column, self.sources)
            return {str(need): need.how for need in lacking(wanted, self.sources)}
        name = contestant.model
        if name in TRAINED and from_lab(name, self.sources.lab) is None:
            return {f'a model of the laboratory for {name}': LAB}
        return {}
