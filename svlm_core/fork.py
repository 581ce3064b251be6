# SPDX-License-Identifier: Apache-2.0
"""Asking a stream about what it has seen, on a copy of its memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from svlm_core.caption import Answer, Token
from svlm_core.config import Sampling, StreamSettings
from svlm_core.errors import DeviceFull, MemoryFull
from svlm_core.memory import Memory
from svlm_core.model.checkpoint import Model
from svlm_core.policies import keep_all
from svlm_core.prompt import CLOSING, ChatTokenizer, Prompt
from svlm_core.speaker import Speaker, spoken
from svlm_core.stopwatch import Stopwatch
from svlm_core.transcript import Plan, Role, Transcript


class Fork:
    """A stream's memory as it was at one moment. Asking it never touches the stream.

    The planes are reserved when the stream opens, with `StreamSettings.ask_tokens` slots more
    than the stream has; a new `Stream.fork` takes them over from the one before.
    """

    def __init__(
        self, model: Model, tokenizer: ChatTokenizer, settings: StreamSettings, capacity: int
    ) -> None:
        self.last: Answer | None = None
        self._device = model.device
        self._room = settings.ask_tokens
        self._prompt = Prompt(tokenizer, settings)
        self._speaker = Speaker(model, tokenizer, settings.sampling)
        self._memory = Memory(model, settings, capacity + self._room, self._room)
        self._origin = Transcript()
        self._encoded = 0  # of its tokens have keys

    @property
    def bytes(self) -> int:
        """Bytes of the reserved planes."""
        return self._memory.cache.bytes

    def take_over(self, memory: Memory, transcript: Transcript, sampling: Sampling) -> None:
        """Become a copy of a stream's memory; `transcript` is what it holds."""
        self._memory.hold(memory.held)
        self._origin, self._encoded = transcript, self._memory.cache.length
        self._speaker.adjust(sampling)

    def ask(self, question: str, begun: str = '') -> Answer:
        """The answer to a question about what is in memory; `begun` are its first words.

        Each question is asked of the same moment: an earlier answer is not remembered, and the
        same question is answered with the same words. Raises MemoryFull when the question leaves
        no room for an answer, DeviceFull when the device has none for the work.
        """
        for _ in self.tokens(question, begun):
            continue
        assert self.last is not None
        return self.last

    def tokens(self, question: str, begun: str = '') -> Iterator[Token]:
        """The same as `ask`, token by token; afterwards `last` is the answer."""
        self.last = None
        watch, ids = Stopwatch(self._device), list[int]()
        asked = self._prompt.question(question, begun)
        room = self._room - sum(len(s.ids) for s in asked) - CLOSING
        if room < 1:
            raise MemoryFull(
                f'the question and its answer share {self._room} tokens, and the question alone '
                'takes them: shorten it, or open the stream with more ask_tokens'
            )
        try:
            with watch('prefill'):
                self._memory.rewind(self._origin, self._encoded)
                plan = Plan(keep_all(self._origin))
                self._memory.change(self._origin, plan, self._origin.extended(asked))
                [hidden] = self._memory.encode({})
        except torch.OutOfMemoryError as error:
            raise DeviceFull(
                f'{self._device} has no room for the work of a question: free the device'
            ) from error
        self._speaker.reset()
        drawn = self._speaker.reply(self._memory, hidden, room, watch)
        yield from spoken(drawn, ids, self._prompt.text)
        self.last = Answer(
            question=question,
            text=self._prompt.text(ids),
            ids=tuple(ids),
            stopped=self._speaker.stopped(ids),
            seconds=watch.seconds,
            seen=self._origin.seen,
            text_tokens=self._told(),
        )

    def _told(self) -> int:
        """Tokens of commentary in memory."""
        segments = self._origin.segments
        previous = sum(len(s.ids) for s in segments if s.role is Role.PREVIOUS)
        replies = sum(self._prompt.content(s) for s in segments if s.role is Role.REPLY)
        return previous + replies
