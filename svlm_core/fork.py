# SPDX-License-Identifier: Apache-2.0
"""Asking a stream about what it has seen, on a copy of its memory."""

from __future__ import annotations

from collections.abc import Iterator

from svlm_core.caption import Answer, Token
from svlm_core.config import StreamSettings
from svlm_core.errors import MemoryFull
from svlm_core.memory import Memory
from svlm_core.model.checkpoint import Model
from svlm_core.policies import keep_all
from svlm_core.prompt import CLOSING, ChatTokenizer, Prompt
from svlm_core.speaker import Speaker, spoken
from svlm_core.stopwatch import Stopwatch
from svlm_core.transcript import Plan, Transcript


class Fork:
    """A stream's memory as it was at one moment. Asking it never touches the stream.

    The planes are reserved when the stream opens, with `StreamSettings.ask_tokens` slots more
    than the stream has; a new `Stream.fork` takes them over from the one before.
    """

    def __init__(
        self, model: Model, tokenizer: ChatTokenizer, settings: StreamSettings, capacity: int
    ) -> None:
        self.last: Answer | None = None
        self._room = settings.ask_tokens
        self._prompt = Prompt(tokenizer, settings)
        self._speaker = Speaker(model, tokenizer, settings.sampling)
        self._memory = Memory(model, settings, capacity + self._room, self._room)
        self._origin = Transcript()

    @property
    def bytes(self) -> int:
        """Bytes of the reserved planes."""
        return self._memory.cache.bytes

    def take_over(self, memory: Memory, transcript: Transcript) -> None:
        """Become a copy of a stream's memory; `transcript` is what it holds."""
        self._memory.copy_from(memory)
        self._origin = transcript

    def ask(self, question: str) -> Answer:
        """The answer to a question about what is in memory.

        Each question is asked of the same moment: an earlier answer is not remembered. Raises
        MemoryFull when the question leaves no room for an answer.
        """
        for _ in self.tokens(question):
            continue
        assert self.last is not None
        return self.last

    def tokens(self, question: str) -> Iterator[Token]:
        """The same as `ask`, token by token; afterwards `last` is the answer."""
        self.last = None
        watch, ids = Stopwatch(), list[int]()
        asked = self._prompt.question(question)
        room = self._room - sum(len(s.ids) for s in asked) - CLOSING
        if room < 1:
            raise MemoryFull(
                f'the question and its answer share {self._room} tokens, and the question alone '
                'takes them: shorten it, or open the stream with more ask_tokens'
            )
        with watch('prefill'):
            self._memory.rewind(self._origin)
            plan = Plan(keep_all(self._origin))
            self._memory.change(self._origin, plan, self._origin.extended(asked))
            hidden = self._memory.encode({})
        drawn = self._speaker.reply(self._memory, hidden, room, watch)
        yield from spoken(drawn, ids, self._prompt.text)
        self.last = Answer(
            question, self._prompt.text(ids), tuple(ids), self._speaker.stopped(ids), watch.seconds
        )
