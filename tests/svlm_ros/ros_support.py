# SPDX-License-Identifier: Apache-2.0
"""A small engine with the contract of the real one, for tests of everything around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from svlm_core.errors import MemoryFull, SettingsError

Reply = Callable[[int, np.ndarray], str]


@dataclass
class FakeFork:
    """Answers a question a word at a time; `seen` are the stream seconds it rests on."""

    pause: float
    seen: tuple[float, float]
    answer: Callable[[str], str]
    last: Any = None

    def tokens(self, question: str) -> Iterator[Any]:
        words = self.answer(question).split()
        for i, word in enumerate(words):
            time.sleep(self.pause)
            yield SimpleNamespace(text=' '.join(words[: i + 1]), delta=' ' * bool(i) + word)
        self.last = SimpleNamespace(
            question=question, text=' '.join(words), seen=self.seen, text_tokens=7
        )


@dataclass
class FakeStream:
    """Says what `reply` returns for a round (number, frames), a word at a time; it may raise.

    `seen` keeps (start, frames) of every round; `pause` seconds pass before each word, with the
    interpreter free for other threads, as on a GPU.
    """

    settings: Any
    reply: Reply
    pause: float = 0
    seen: list[tuple[float, np.ndarray]] = field(default_factory=list)
    words: int = 0
    resets: int = 0
    queries: list[str] = field(default_factory=list)
    pins: tuple[str, ...] = ()
    kept: list[tuple[str, str]] = field(default_factory=list)
    adjusted: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[str], str] = 'You asked: {}'.format
    seconds: float = 0.0
    last: Any = None
    held: int = 0
    capacity: int = 1000
    memory_bytes: int = 4096

    def tokens(self, frames: np.ndarray, start: float) -> Iterator[Any]:
        assert frames.dtype == np.uint8
        assert frames.shape[0] == self.settings.frames_per_round
        self.seen.append((start, frames))
        words = self.reply(len(self.seen) - 1, frames).split()
        for i in range(len(words) + 1):  # the last token is the end mark: it adds no text
            time.sleep(self.pause)
            self.words += 1
            self.held += 1
            delta = ' ' * bool(0 < i < len(words)) + words[i] if i < len(words) else ''
            yield SimpleNamespace(text=' '.join(words[: i + 1]), delta=delta)
        self.last = SimpleNamespace(
            text=' '.join(words), ids=tuple(range(len(words) + 1)), seconds={'decode': self.pause}
        )
        self.seconds = start + self.settings.chunk_seconds

    def fork(self) -> FakeFork:
        if not self.settings.ask_tokens:
            raise SettingsError('no room is reserved for questions: open with ask_tokens=256')
        return FakeFork(self.pause, (0.0, self.seconds), self.answer)

    def keep(self, answer: Any) -> None:
        if self.kept:
            raise SettingsError('an exchange is still in memory')
        self.kept.append((answer.question, answer.text))

    def pin(self, sentence: str) -> None:
        if len(sentence) > 100:
            raise MemoryFull('the sentence is longer than its room: raise query_tokens')
        self.pins = (*self.pins, sentence)

    def unpin(self) -> None:
        self.pins = ()

    def adjust(self, **limits: Any) -> None:
        self.adjusted.append({name: value for name, value in limits.items() if value is not None})

    def set_query(self, query: str) -> None:
        if len(query) > 100:
            raise MemoryFull('the query is longer than its room: raise query_tokens')
        self.queries.append(query)

    def reset(self) -> None:
        self.resets += 1
        self.held = 0


@dataclass
class FakeEngine:
    """Opens FakeStreams; `stream` is the newest."""

    reply: Reply = lambda number, frames: f'second {number}'
    pause: float = 0
    trained: bool = True
    stream: Any = None

    @property
    def info(self) -> SimpleNamespace:
        return SimpleNamespace(
            model='fake',
            trained=self.trained,
            device='cpu',
            dtype='float32',
            attention='none',
            parameters=1234,
            limits='',
        )

    def open(self, settings: Any) -> FakeStream:
        self.stream = FakeStream(settings, self.reply, self.pause)
        return self.stream
