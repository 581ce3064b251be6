# SPDX-License-Identifier: Apache-2.0
"""A stream that watches a video second by second, and is asked on copies of its bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from svlm_core.capacity import sized
from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa.answering import LIKELIEST, Reply, Telling, spoken
from svlm_core.evaluation.vqa.protocol import Ask, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.subtitles import read_subtitles
from svlm_core.prompt import CLOSING, Prompt
from svlm_core.stream import Stream
from svlm_core.transcript import Role
from svlm_core.video.sampling import STAMP_ERROR, Round, sample
from svlm_core.video.sources import Source, length, open_source

Place = tuple[Path, float]  # a video, and the second from which on it is watched


class Watching:
    """Watches as a robot does, saying what it sees; questions do not change what it remembers.

    A video is watched once for all questions that come in order of time. `room` is what the
    longest question with its answer takes, in tokens.
    """

    name = 'streaming'

    def __init__(
        self, engine: StreamingVLM, rules: Rules, settings: StreamSettings, room: int
    ) -> None:
        self._engine, self._rules, self._settings, self._room = engine, rules, settings, room
        self._place: Place | None = None
        self._source: Source | None = None
        self._stream: Stream | None = None
        self._rounds: Iterator[Round] = iter(())
        self._next: Round | None = None
        self._failure: SourceError | None = None

    def ask(self, question: Question, until: float | None, tell: Telling) -> Reply:
        place = (question.video, self._rules.first(question))
        limit = math.inf if until is None else until
        if place != self._place or (self._stream and self._stream.seconds > limit + STAMP_ERROR):
            self._begin(place, question.image_fps)
        stream = self._watch(limit)
        if not stream.seconds:
            raise self._failure or SourceError(
                f'{question.video}: there is no whole second from {place[1]:g} s to {limit:g} s'
            )
        lines = read_subtitles(question.subtitles) if question.subtitles else ()
        ask = tell([text for start, _, text in lines if start < stream.seconds])
        fork = stream.fork(LIKELIEST)
        tokens = fork.tokens(asked_of_memory(ask), ask.begun)
        text = spoken(((t.id, t.logits) for t in tokens), ask, self._engine.tokenizer)
        return _reply(text, ask, stream, self._engine)

    def close(self) -> None:
        """Let go of the video."""
        if self._source is not None:
            self._source.close()
        self._source, self._place = None, None

    def _begin(self, place: Place, image_fps: float) -> None:
        """Turn to another video, with an empty memory."""
        self.close()
        path, start = place
        seconds = length(path, image_fps) - start
        self._source = open_source(path, start=start, image_fps=image_fps)
        prompt = Prompt(self._engine.tokenizer, self._settings)
        settings = sized(prompt, self._settings_with_room, max(seconds, 0.0))
        if self._stream is None or self._stream.settings != settings:
            self._stream = None  # its memory goes before another comes
            self._stream = self._engine.open(settings)
        self._stream.reset()
        self._rounds = sample(self._source, settings, start)
        self._failure, self._next = None, None
        self._place = place
        self._fetch()

    @property
    def _settings_with_room(self) -> StreamSettings:
        return replace(self._settings, ask_tokens=self._room)

    def _watch(self, until: float) -> Stream:
        """See all rounds that have ended by then; raise what broke the video off before."""
        assert self._stream is not None
        while self._next is not None and self._next.end <= until + STAMP_ERROR:
            self._stream.step(self._next.frames, self._next.start)
            self._fetch()
        if self._next is None and self._failure and self._stream.seconds < until:
            raise self._failure
        return self._stream

    def _fetch(self) -> None:
        """Look one round ahead: whether it is still before the question, its end tells."""
        try:
            self._next = next(self._rounds, None)
        except SourceError as error:
            self._next, self._failure = None, error


def asked_of_memory(ask: Ask) -> str:
    """What is asked, as one turn behind the frames: what stood before them comes first."""
    return f'{ask.system}{ask.before}{ask.text}'


def room_for(ask: Ask, prompt: Prompt) -> int:
    """Tokens that a question and its answer take."""
    turns = prompt.question(asked_of_memory(ask), ask.begun)
    return sum(len(turn.ids) for turn in turns) + CLOSING + ask.tokens


def _reply(text: str, ask: Ask, stream: Stream, engine: StreamingVLM) -> Reply:
    shown = [s for s in stream.transcript.segments if s.role is Role.VISION]
    cell = engine.model.config.vision.patch_size * engine.model.config.vision.merge_size
    grid = shown[-1].grid if shown else None
    return Reply(
        text=text,
        asked=ask,
        frames=len(shown) * stream.settings.frames_per_round,
        pixels=(grid[1] * cell, grid[2] * cell) if grid else (0, 0),
        seen=stream.transcript.seen or (stream.seconds, stream.seconds),
        tokens=stream.held + room_for(ask, stream.prompt) - CLOSING - ask.tokens,
    )
