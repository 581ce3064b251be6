# SPDX-License-Identifier: Apache-2.0
"""`svlm vqa`: questions about videos, in streaming mode or offline, beside a simple baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from svlm_core.commands.engine_flags import EngineFlags, introduction, load_engine
from svlm_core.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds to import
    from svlm_core.curation.pipeline import Stage
    from svlm_core.engine import StreamingVLM
    from svlm_core.evaluation.identity import Identity
    from svlm_core.evaluation.vqa.question import Question
    from svlm_core.evaluation.vqa.run import Job, Maker, Outcome, Panel

Benchmark = Literal['mvbench', 'videomme', 'longvideobench', 'ovobench', 'streamingbench']


@dataclass(frozen=True)
class Vqa:
    """Ask a model the questions of a video benchmark.

    The data are the official files, in a folder as published. In streaming mode the model watches
    each video through its bounded memory and is asked at the time of the question; offline it is
    shown frames at once. Beside either, the last four frames alone are tried.

    The table goes to results.json, every answer to answers.jsonl, and what the authors' own
    scripts read to the folder official. A run that was broken off goes on where it was; a folder
    that holds a run with other settings is refused. The exit status is 1 where questions could
    not be asked: each says why, and is asked again by the next run.
    Several machines share the work with --shard, the one that ends last making the table, or with
    --ray, where the workers of a Ray cluster answer.

      svlm vqa ovobench --data OVO-Bench --output ovo --mode streaming
      svlm vqa mvbench --data MVBench --output mvbench --mode offline --protocol paper
    """

    benchmark: Positional[Annotated[Benchmark, arg(help='whose questions')]]
    data: Annotated[Path, arg(help='folder with its official files', metavar='DIR')]
    output: Annotated[Path, arg(help='folder for answers and results', metavar='DIR')]
    mode: Annotated[
        Literal['streaming', 'offline'], arg(help='through the memory, or frames at once')
    ] = 'streaming'
    protocol: Annotated[
        Literal['paper', 'official'],
        arg(help="prompts, frames and reading of answers: the paper's, or the authors'"),
    ] = 'official'
    subtitles: Annotated[bool, arg(help='show subtitles (Video-MME)')] = False
    limit: Annotated[int | None, arg(help='ask the first questions only', metavar='NUMBER')] = None
    shard: Annotated[
        str, arg(help='i/n: part i of n of the videos, into the same folder', metavar='I/N')
    ] = '1/1'
    ray: Annotated[
        str,
        arg(
            help='answer on a Ray cluster: its address, auto, or local; empty: in this process',
            metavar='ADDRESS',
        ),
    ] = ''
    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)

    def run(self) -> int:
        """Ask, print the table, and return the exit status. Raises SvlmError."""
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f'--limit {self.limit} leaves no question')
        from svlm_core.commands.console import screen
        from svlm_core.evaluation.vqa.benchmarks import choose

        self.engine.settings()  # tells a mistake before it loads, as those that follow
        choose(self.benchmark, self.protocol, self.subtitles)
        job = self._job()
        done = self._on_cluster(job) if self.ray else self._here(job)
        if done.rows:
            screen().print(table(done.rows))
        else:
            print(f'shard {self.shard} is done, others are not yet: no table', flush=True)
        return int(bool(done.failed) or any(row['failed'] for row in done.rows))

    def stage(self) -> Stage:
        """What a worker of a cluster does with a video, the engine loaded."""
        return self._panel(self._job())[0].stage(self.engine.computes)

    def _here(self, job: Job) -> Outcome:
        from svlm_core.commands.console import tell

        panel, engine = self._panel(job)
        tell(introduction(engine.info))
        return _gather(job, panel.questions, panel.identities, panel.answers)

    def _on_cluster(self, job: Job) -> Outcome:
        from svlm_core.curation.cluster import Cluster
        from svlm_core.curation.pipeline import Stage, Workplace
        from svlm_core.evaluation.identity import Identity
        from svlm_core.evaluation.vqa.benchmarks import choose
        from svlm_core.evaluation.vqa.run import STAGE, by_stage, load

        benchmark, _ = choose(job.benchmark, job.protocol, job.subtitles)
        questions = load(benchmark, job)
        with Cluster(self.ray) as cluster:
            rows = cluster.settings(self.stage, self.engine.computes)
            stage = Stage(
                STAGE,
                '',
                rows,
                lambda name, before: self.stage().make(name, before),
                computes=self.engine.computes,
            )
            place = Workplace(self.data, self.output)
            identities = {name: Identity(**row) for name, row in rows.items()}
            maker = by_stage(cluster.maker(self.stage), stage, place)
            return _gather(job, questions, identities, maker)

    def _panel(self, job: Job) -> tuple[Panel, StreamingVLM]:
        from svlm_core.evaluation.vqa.run import prepare

        flags = self.engine
        engine = load_engine(flags.model, flags.device, flags.dtype)
        return prepare(job, engine, flags.settings()), engine

    def _job(self) -> Job:
        from svlm_core.curation.manifest import Shard
        from svlm_core.evaluation.vqa.run import Job

        return Job(
            benchmark=self.benchmark,
            data=self.data,
            output=self.output,
            mode=self.mode,
            protocol=self.protocol,
            subtitles=self.subtitles,
            limit=self.limit,
            shard=Shard.parse(self.shard),
        )


def _gather(
    job: Job, questions: Sequence[Question], identities: Mapping[str, Identity], maker: Maker
) -> Outcome:
    """Answer what is missing, and show how far that is."""
    from svlm_core.commands.console import errors, progress
    from svlm_core.evaluation.vqa.run import gather

    with progress(errors(), None) as moved:
        return gather(
            job,
            questions,
            identities,
            maker,
            lambda done, of: moved(100 * done / max(of, 1), f'{done} of {of} answers'),
        )


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The results for a person's eye, those of the baseline below each other's."""
    from rich.box import SIMPLE
    from rich.table import Table

    shown = Table(
        'of', 'seen', 'questions', 'official', 'strict', 'answered', 'failed', box=SIMPLE
    )
    for column in shown.columns[2:]:
        column.justify = 'right'
    places = list(dict.fromkeys((row['kind'], row['name']) for row in rows))
    for row in sorted(rows, key=lambda row: places.index((row['kind'], row['name']))):
        shown.add_row(
            row['name'] if row['kind'] in ('total', 'task') else f'{row["kind"]} {row["name"]}',
            row['mode'],
            str(row['questions']),
            _percent(row['official'], row['official_ci']),
            _percent(row['strict'], row['strict_ci']),
            f'{row["answered"]:.1f}',
            str(row['failed']),
        )
    return shown


def _percent(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return 'none'
    return f'{value:.2f} ({interval[0]:.1f} to {interval[1]:.1f})'
