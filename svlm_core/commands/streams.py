# SPDX-License-Identifier: Apache-2.0
"""`svlm streams`: benchmarks of live commentary, from captions to the table of win rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from tyro.conf import Positional, arg

from svlm_core.commands.endpoint_flags import EndpointFlags
from svlm_core.commands.engine_flags import EngineFlags, Unset, introduction, load_engine
from svlm_core.errors import SettingsError

if TYPE_CHECKING:
    from svlm_core.curation.pipeline import Product, Stage
    from svlm_core.engine import StreamingVLM
    from svlm_core.evaluation.identity import Identity
    from svlm_core.evaluation.streams.benchmark import Benchmark, Query, Setting, Stretch
    from svlm_core.evaluation.streams.captioning import Captioner
    from svlm_core.evaluation.streams.running import Maker

NAMES: dict[str, str] = {'endless': '∞', 'chunks': '†'}


@dataclass(frozen=True)
class Data:
    """Which benchmark, and where."""

    benchmark: Positional[
        Annotated[
            Literal['inf-streams', 'livesports'], arg(help='Inf-Streams-Eval, LiveSports-3K')
        ]
    ]
    data: Annotated[Path, arg(help='folder with its official files', metavar='DIR')]
    videos: Path | None = None  # folder of its videos; None: that of the files
    begin: int = 1000  # inf-streams: second from which on captions are made and judged
    segment: int = 100  # inf-streams: seconds of a chunk, and of a window that is cut from words

    def read(self) -> Benchmark:
        """The benchmark. Raises SettingsError and SourceError."""
        from svlm_core.evaluation.streams import infstreams, livesports

        if self.begin < 0 or self.segment < 1:
            raise SettingsError('give at least --begin 0 --segment 1')
        found = (
            livesports.read(self.data)
            if self.benchmark == 'livesports'
            else infstreams.read(self.data, self.begin, self.segment)
        )
        return replace(found, videos=self.videos or self.data)

    def identity(self, benchmark: Benchmark) -> dict[str, Any]:
        """What the data are."""
        from svlm_core.evaluation.identity import file_hash

        cut = (
            {}
            if benchmark.name == 'livesports'
            else {'begin': self.begin, 'segment': self.segment}
        )
        return {
            'name': benchmark.name,
            'sha256': file_hash(benchmark.files),
            'windows': len(benchmark.windows),
            **cut,
        }


class Step(Protocol):
    """A command of `svlm streams`."""

    def run(self) -> int: ...


@dataclass(frozen=True)
class Run:
    """Caption a benchmark with a checkpoint.

    In setting endless a game is one stream; in chunks every 100 s are begun anew. Either begins
    after what was really said before, unless --previous none. A run that was stopped goes on with
    the video it was at. With --ray the workers of a Ray cluster caption, a video each at a time.
    """

    of: Annotated[Data, arg(name='')]
    output: Annotated[Path, arg(help='folder for captions', metavar='DIR')]
    setting: Annotated[
        Literal['endless', 'chunks'], arg(help='one stream (∞), or begun anew (†)')
    ] = 'endless'
    previous: Literal['truth', 'none'] = 'truth'  # what the model is told was said before
    shard: str = '1/1'  # i/n: work on part i of n of the videos, into the same folder
    ray: Annotated[
        str,
        arg(
            help='caption on a Ray cluster: its address, auto, or local; empty: in this process',
            metavar='ADDRESS',
        ),
    ] = ''
    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)

    def run(self) -> int:
        from svlm_core.commands.console import tell
        from svlm_core.curation.cluster import Cluster
        from svlm_core.curation.pipeline import Workplace
        from svlm_core.evaluation.identity import Identity
        from svlm_core.evaluation.streams.running import by_stage, here

        benchmark = self.of.read()
        if not self.ray:
            who, identity, engine = self._watching(benchmark)
            tell(introduction(engine.info))
            maker = here(who, benchmark.videos)
            return _caption(benchmark, self.setting, maker, identity, self.output, self.shard)
        with Cluster(self.ray) as cluster:
            row = cluster.settings(self.stage, self.engine.computes)
            stage = self._stage(row, lambda name, before: self.stage().make(name, before))
            place = Workplace(benchmark.videos, self.output)
            maker = by_stage(cluster.maker(self.stage), stage, place)
            identity = Identity(**row)
            return _caption(benchmark, self.setting, maker, identity, self.output, self.shard)

    def stage(self) -> Stage:
        """What a worker of a cluster does with a video, the engine loaded."""
        from svlm_core.evaluation.streams.running import by_video, product

        benchmark = self.of.read()
        who, identity, _ = self._watching(benchmark)
        of = by_video(benchmark, self.setting)
        return self._stage(
            identity.row(), lambda name, _: product(who, of[name], benchmark.videos / name)
        )

    def _stage(self, row: Any, make: Callable[[str, Any], Product]) -> Stage:
        from svlm_core.curation.pipeline import Stage

        return Stage('caption', '', row, make, computes=self.engine.computes)

    def _watching(self, benchmark: Benchmark) -> tuple[Captioner, Identity, StreamingVLM]:
        """Who captions, and how that comes about."""
        from svlm_core.evaluation.identity import model_identity, of_stream
        from svlm_core.evaluation.streams.captioning import by_engine

        settings, flags = self.engine.settings(), self.engine
        told = '' if isinstance(flags.query, Unset) else flags.query
        query: Query = (lambda stretch: told) if told else benchmark.query
        engine = load_engine(flags.model, flags.device, flags.dtype)
        asked = {'query': query(_untitled(benchmark, self.setting)), 'previous': self.previous}
        identity = of_stream(
            settings,
            f'{self.setting} {NAMES[self.setting]}',
            model=model_identity(engine),
            data=self.of.identity(benchmark),
            seed=settings.sampling.seed,
        )
        identity = replace(identity, settings={**identity.settings, **asked})
        who = by_engine(engine, settings, query, self.previous == 'truth')
        return who, identity, engine


@dataclass(frozen=True)
class Ask:
    """Caption a benchmark with a model behind an OpenAI-compatible endpoint.

    Each window that is judged is shown at once: a frame every 4 s, at most 60, 360 lines high, as
    published for GPT-4o mini. As published, a game is asked about with `Describe the video.` and
    an event with its title and what was said before, unless --query and --previous say otherwise.
    Replies are cached; what was answered is not asked again.
    """

    of: Annotated[Data, arg(name='')]
    output: Annotated[Path, arg(help='folder for captions', metavar='DIR')]
    endpoint: Annotated[EndpointFlags, arg(name='')] = field(default_factory=EndpointFlags)
    query: str = ''  # what is asked of every window; empty: as published
    previous: Literal['truth', 'none', 'published'] = 'published'  # what it is told was before
    workers: int = 4  # requests at a time
    shard: str = '1/1'  # i/n: work on part i of n of the videos, into the same folder

    def run(self) -> int:
        from svlm_core.evaluation.streams import captioning
        from svlm_core.evaluation.streams.running import here

        if self.workers < 1:
            raise SettingsError('give --workers of at least 1')
        benchmark = self.of.read()
        chat = self.endpoint.chat(self.output / 'replies')
        games = benchmark.name == 'inf-streams'
        told = self.query or (captioning.DESCRIBE if games else '')
        query: Query = (lambda stretch: told) if told else benchmark.query
        previous = self.previous == 'truth' or (self.previous == 'published' and not games)
        data = self.of.identity(benchmark)
        model, url = self.endpoint.model, self.endpoint.base_url
        identity = captioning.of_chat(model, url, query, previous, data)
        who = captioning.by_chat(chat, query, previous)
        maker = here(who, benchmark.videos, self.workers)
        return _caption(benchmark, 'windows', maker, identity, self.output, self.shard)


@dataclass(frozen=True)
class Table:
    """Judge captions against others, and print win rates as the paper does.

    With --base-url a model judges; without, words and events that agree with the reference are
    counted. Each window is judged in both orders; intervals are 95 % over videos.
    """

    of: Annotated[Data, arg(name='')]
    output: Annotated[Path, arg(help='folder for results.json and scores', metavar='DIR')]
    captions: Annotated[tuple[str, ...], arg(help='rows of the table', metavar='NAME=PATH')]
    against: Annotated[tuple[str, ...], arg(help='its columns', metavar='NAME=PATH')]
    endpoint: Annotated[EndpointFlags, arg(name='')] = field(default_factory=EndpointFlags)
    workers: int = 4  # requests at a time
    seed: int = 0  # draws of the bootstrap

    def run(self) -> int:
        from svlm_core.commands.console import errors, progress, screen
        from svlm_core.evaluation.identity import begin_folder
        from svlm_core.evaluation.judges import by_agreement, by_model
        from svlm_core.evaluation.streams.table import read_side, rows

        if self.workers < 1 or self.seed < 0:
            raise SettingsError('give at least --workers 1 --seed 0')
        benchmark = self.of.read()
        asked = bool(self.endpoint.base_url)
        judge = (
            by_model(self.endpoint.chat(self.output / 'replies'), benchmark.task)
            if asked
            else by_agreement
        )
        sides = [[read_side(n, benchmark) for n in of] for of in (self.captions, self.against)]
        for of in sides:
            if len({side.name for side in of}) < len(of):
                raise SettingsError('two captions have the same name')
        if not any(a.name != b.name for a in sides[0] for b in sides[1]):
            raise SettingsError('there is nothing to compare: give --captions and --against')
        shared = {
            'data': self.of.identity(benchmark),
            'judge': self.endpoint.model if asked else 'agreement of words and events',
            'seed': self.seed,
        }
        task = {'base_url': self.endpoint.base_url, 'task': benchmark.task if asked else ''}
        named = [{side.name: side.content for side in of} for of in sides]
        begin_folder(self.output, {**shared, **task, 'captions': named[0], 'against': named[1]})
        total = len(benchmark.windows)
        with progress(errors(), total) as moved:
            found = rows(
                benchmark,
                sides[0],
                sides[1],
                judge,
                shared,
                self.output,
                self.workers if asked else 1,
                lambda done, pair: moved(done, f'{pair}: {done} of {total} windows'),
            )
        screen().print(layout(found))
        return 0


@dataclass(frozen=True)
class Streams:
    """Caption and judge benchmarks of live commentary.

    Captions of a checkpoint (run), or of a model behind an endpoint (ask), or published ones,
    become a table of win rates.

      svlm streams run inf-streams --data DIR --output ours --model FOLDER
      svlm streams ask livesports --data DIR --output gpt --base-url http://HOST/v1 --model NAME
      svlm streams table inf-streams --data DIR --output table --captions Ours=ours \\
        --against GPT=gpt LiveCC=livecc.jsonl
    """

    step: Annotated[Run | Ask | Table, arg(name='')]

    def run(self) -> int:
        """Take the step and return the exit status. Raises SvlmError."""
        return self.step.run()


def layout(found: Sequence[Mapping[str, Any]]) -> Any:
    """The table for a person's eye: a line for each of ours and category, a column for theirs."""
    from rich.box import SIMPLE
    from rich.table import Table as Shown

    columns = list(dict.fromkeys(row['b'] for row in found))
    shown = Shown('win rate of', 'category', *(f'against {name}' for name in columns), box=SIMPLE)
    cells = {(row['a'], row['category'], row['b']): _cell(row) for row in found}
    for name, category in dict.fromkeys((row['a'], row['category']) for row in found):
        shown.add_row(name, category, *(cells.get((name, category, of), '-') for of in columns))
    return shown


def _cell(row: Mapping[str, Any]) -> str:
    if row['win_rate'] is None:
        return 'no vote'
    low, high = row['interval']
    return f'{row["win_rate"]:.2f} ({low:.1f} to {high:.1f})'


def _caption(
    benchmark: Benchmark,
    setting: Setting,
    maker: Maker,
    identity: Identity,
    output: Path,
    shard: str,
) -> int:
    """Caption, and say what came of it; 1 where videos have no captions."""
    from svlm_core.commands.console import errors, progress, tell
    from svlm_core.curation.manifest import Shard
    from svlm_core.evaluation.streams.running import gather, seconds

    part = Shard.parse(shard)
    with progress(errors(), seconds(benchmark, setting, part)) as moved:
        done = gather(benchmark, setting, maker, identity, output, part, moved)
    for place, why in (*done.failed.items(), *done.problems.items()):
        tell(f'{"not captioned: " * (place in done.failed)}{place}: {why}')
    print(
        f'{done.videos} videos, {len(done.failed)} not captioned, '
        f'{len(done.problems)} stretches with a problem: '
        + (f'captions are in {output}' if done.finished else 'not all videos are done'),
        flush=True,
    )
    return int(bool(done.failed))


def _untitled(benchmark: Benchmark, setting: Setting) -> Stretch:
    """A stretch whose query is that of all: what it is titled is of the data."""
    return replace(benchmark.stretches(setting)[0], title='')
