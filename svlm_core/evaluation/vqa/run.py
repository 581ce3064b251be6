# SPDX-License-Identifier: Apache-2.0
"""From the files of a benchmark to its table: every answer is kept, and a broken run goes on.

Shards answer the questions about different videos, into the same folder; the one that ends last
makes the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from svlm_core.config import StreamSettings
from svlm_core.curation import pipeline
from svlm_core.curation.manifest import Shard
from svlm_core.curation.pipeline import Product, Stage, Workplace
from svlm_core.engine import StreamingVLM
from svlm_core.errors import FrameError, MemoryFull, SourceError
from svlm_core.evaluation.identity import (
    Identity,
    begin_folder,
    file_hash,
    model_identity,
    of_stream,
)
from svlm_core.evaluation.vqa import accuracy, proactive, reading
from svlm_core.evaluation.vqa.answering import Answering, Reply
from svlm_core.evaluation.vqa.answers import Answered, AnswerFile
from svlm_core.evaluation.vqa.atonce import AtOnce
from svlm_core.evaluation.vqa.benchmarks import choose
from svlm_core.evaluation.vqa.protocol import Benchmark, Name, Pixels, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.subtitles import read_subtitles
from svlm_core.evaluation.vqa.watching import Watching, room_for
from svlm_core.prompt import Prompt
from svlm_core.timeline import make_folder, write_whole

LAST = 4  # newest frames that the baseline is shown (SimpleStream)
RESULTS = 'results.json'
OFFICIAL = 'official'  # folder of the files that the authors' own scripts read
STAGE = 'answer'

Mode = Literal['streaming', 'offline']
Said = Callable[[int, int], None]  # how many are answered, of how many
Waiting = Sequence[tuple[str, Question]]  # who is to answer what, in order of time
Maker = Callable[[Waiting], Iterator[Answered]]  # answers in any order


@dataclass(frozen=True)
class Job:
    """What is to be run. `limit` takes only the first so many questions, `shard` their part."""

    benchmark: str
    data: Path
    output: Path
    mode: Mode
    protocol: Name
    subtitles: bool = False
    limit: int | None = None
    shard: Shard = field(default_factory=Shard)


@dataclass(frozen=True)
class Outcome:
    """What a run has done: `rows` of the table, none as long as other shards have to answer.

    `failed` is how many of its own questions could not be asked.
    """

    rows: list[dict[str, Any]]
    failed: int


def run(job: Job, engine: StreamingVLM, settings: StreamSettings, said: Said) -> list[dict]:
    """Answer the questions of a job in this process; the rows of the table. See `gather`."""
    panel = prepare(job, engine, settings)
    return gather(job, panel.questions, panel.identities, panel.answers, said).rows


def gather(
    job: Job,
    questions: Sequence[Question],
    identities: Mapping[str, Identity],
    maker: Maker,
    said: Said,
) -> Outcome:
    """Write the answers that are missing, as they are made; those of all shards make the table.

    `questions` are those that `load` finds, `identities` those of whoever answers, by name. Raises
    SettingsError where the folder holds another run, and the errors of files and disks.
    """
    benchmark, rules = choose(job.benchmark, job.protocol, job.subtitles)
    begin_folder(job.output, {name: identity.row() for name, identity in identities.items()})
    file = AnswerFile(job.output, job.shard)
    mine = [q for q in questions if job.shard.holds(_within(q.video, job.data))]
    due = [(name, q) for name in identities for q in _in_time(mine, rules)]
    waiting = [(name, q) for name, q in due if (q.id, name) not in file.answers]
    done = len(due) - len(waiting)
    said(done, len(due))
    for number, answer in enumerate(maker(waiting), 1):
        file.add(answer)
        said(done + number, len(due))
    failed = sum(bool(file.answers[q.id, name].error) for name, q in due)
    answers = file.together([(q.id, name) for name in identities for q in questions])
    if not answers:
        return Outcome([], failed)
    rows = list[dict[str, Any]]()
    for name, identity in identities.items():
        of = [answer for answer in answers if answer.by == name]
        rows += accuracy.rows(benchmark, of, identity.row(), identity.seed)
        _write_official(job, benchmark, name, of)
    write_whole(job.output / RESULTS, json.dumps({'rows': rows}, indent=1) + '\n')
    return Outcome(rows, failed)


def _write_official(
    job: Job, benchmark: Benchmark, name: str, answers: Sequence[Answered]
) -> None:
    """Write what the authors' scripts read, into a folder for whoever answers."""
    folder = make_folder(job.output / OFFICIAL / name.replace(' ', '-'))
    found = benchmark.results(job.data, {answer.id: answer for answer in answers})
    for file, content in found.items():
        write_whole(folder / file, json.dumps(content, ensure_ascii=False, indent=1) + '\n')


@dataclass(frozen=True)
class Panel:
    """Who answers the questions of a job: by its mode, and the baseline."""

    job: Job
    rules: Rules
    questions: Sequence[Question]
    asked: Sequence[tuple[Answering, Identity]]

    @property
    def identities(self) -> dict[str, Identity]:
        return {who.name: identity for who, identity in self.asked}

    def answers(self, waiting: Waiting) -> Iterator[Answered]:
        """Answer one question after the other.

        One whose video cannot be read is written down with what is wrong with it.
        """
        by_name = {who.name: (who, identity.digest) for who, identity in self.asked}
        for name, question in waiting:
            who, run = by_name[name]
            yield replace(_answered(question, who, self.rules, self.job.data), run=run)

    def stage(self, computes: bool) -> Stage:
        """What a worker of a cluster does: all answers about a video."""
        rows = {name: identity.row() for name, identity in self.identities.items()}
        return Stage(STAGE, '', rows, lambda video, _: self._product(video), computes=computes)

    def _product(self, video: str) -> Product:
        of = [q for q in self.questions if _within(q.video, self.job.data) == video]
        asked = [(name, q) for name in self.identities for q in _in_time(of, self.rules)]
        return Product([asdict(answer) for answer in self.answers(asked)])


def by_stage(maker: pipeline.Maker, stage: Stage, place: Workplace) -> Maker:
    """Answer as a stage of `Panel`, on a cluster; a video of which anything is missing anew."""

    def made(waiting: Waiting) -> Iterator[Answered]:
        wanted = {(question.id, name) for name, question in waiting}
        videos = dict.fromkeys(_within(question.video, place.videos) for _, question in waiting)
        for _, product in maker(stage, place, videos):
            answers = (Answered.from_json(json.dumps(one)) for one in product.content)
            yield from (answer for answer in answers if (answer.id, answer.by) in wanted)

    return made


def prepare(job: Job, engine: StreamingVLM, settings: StreamSettings) -> Panel:
    """Who answers. Raises SettingsError, and SourceError for files that are not as published."""
    benchmark, rules = choose(job.benchmark, job.protocol, job.subtitles)
    questions = load(benchmark, job)
    pixels = rules.pixels.within(settings.max_vision_tokens)
    data = {
        'name': benchmark.name,
        'protocol': job.protocol,
        'subtitles': job.subtitles,
        'sha256': file_hash(benchmark.files(job.data)),
        'questions': len(questions),
        'videos': len({question.video for question in questions}),
    }
    shared = {'model': model_identity(engine), 'data': data, 'seed': settings.sampling.seed}
    asked = [
        _answering(job.mode, engine, rules, settings, pixels, questions, shared),
        _last_frames(engine, rules, settings, pixels, shared),
    ]
    return Panel(job, rules, questions, asked)


def load(benchmark: Benchmark, job: Job) -> list[Question]:
    """The questions of a job. Raises SourceError for files that are not as published."""
    questions = benchmark.load(job.data, job.subtitles)
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise SourceError(f'{job.data}: two questions of {benchmark.name} are {question.id}')
        seen.add(question.id)
    return questions[: job.limit]


def _answering(
    mode: Mode,
    engine: StreamingVLM,
    rules: Rules,
    settings: StreamSettings,
    pixels: Pixels,
    questions: Sequence[Question],
    shared: Mapping[str, Any],
) -> tuple[Answering, Identity]:
    if mode == 'offline':
        return AtOnce(engine, rules, pixels), _of_frames(mode, str(rules.frames), pixels, shared)
    room = longest(questions, rules, Prompt(engine.tokenizer, settings))
    return Watching(engine, rules, settings, room), of_stream(settings, mode, **shared)


def _last_frames(
    engine: StreamingVLM,
    rules: Rules,
    settings: StreamSettings,
    pixels: Pixels,
    shared: Mapping[str, Any],
) -> tuple[Answering, Identity]:
    frames = f'the last {LAST} at {settings.fps:g} fps'
    baseline = AtOnce(engine, rules, pixels, LAST, settings.fps)
    return baseline, _of_frames(baseline.name, frames, pixels, shared)


def _of_frames(mode: str, frames: str, pixels: Pixels, shared: Mapping[str, Any]) -> Identity:
    """The identity of whoever is shown frames at once, as if at 2 fps."""
    return Identity(
        mode=mode,
        policy=None,
        frames=frames,
        pixels=str(pixels),
        positions='native, as at 2 fps',
        **shared,
    )


def longest(questions: Sequence[Question], rules: Rules, prompt: Prompt) -> int:
    """Tokens that the longest question and its answer take."""
    return max(room_for(ask, prompt) for q in questions for ask in _asks(q, rules))


def _asks(question: Question, rules: Rules) -> Iterator[Any]:
    """All that may be asked for a question, at its longest."""
    if question.kind == 'output':
        yield from (proactive.is_it_time(question), proactive.now_say_it(question))
        return
    try:
        lines = read_subtitles(question.subtitles) if question.subtitles else ()
    except SourceError:  # told with its answer
        lines = ()
    yield rules.ask(question, [text for _, _, text in lines])


def _in_time(questions: Sequence[Question], rules: Rules) -> list[Question]:
    """Questions in the order in which they are asked: video by video, in order of time."""
    first = {q.video: n for n, q in reversed([*enumerate(questions)])}
    return sorted(questions, key=lambda q: (first[q.video], rules.first(q), q.end or 0.0))


def _answered(question: Question, who: Answering, rules: Rules, data: Path) -> Answered:
    """A question with its answer, read by both rules."""
    polls, reply, error = list[proactive.Poll](), None, ''
    try:
        if question.kind == 'output':
            polls, reply = proactive.await_words(
                question,
                lambda second, ask: who.ask(question, second, lambda _: ask),
                lambda reply: reply.text,
            )
        else:
            reply = who.ask(question, question.end, lambda lines: rules.ask(question, lines))
    except (SourceError, FrameError, MemoryFull) as problem:
        error = str(problem)
    text = reply.text if reply else None
    awaited = question.kind == 'output' and reply is not None
    answered = Answered(
        id=question.id,
        by=who.name,
        task=question.task,
        video=_within(question.video, data),
        question=question.text,
        options=question.options,
        answer=question.answer,
        response=text,
        official=proactive.official(question, polls) if awaited else rules.score(question, text),
        strict=proactive.strict(question, polls) if awaited else reading.strict(question, text),
        run='',
        error=error,
        polls=[[poll.second, poll.text] for poll in polls],
        tags=question.tags,
    )
    return _with_reply(answered, reply)


def _with_reply(answered: Answered, reply: Reply | None) -> Answered:
    if reply is None:
        return answered
    return replace(
        answered,
        asked=asdict(reply.asked),
        frames=reply.frames,
        pixels=reply.pixels,
        seen=reply.seen,
        tokens=reply.tokens,
    )


def _within(video: Path, data: Path) -> str:
    """The name of a video, without the folder that it happens to lie in."""
    return str(video.relative_to(data)) if video.is_relative_to(data) else str(video)
