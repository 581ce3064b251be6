# SPDX-License-Identifier: Apache-2.0
"""The per-second loop: one Stream is one camera with one bounded memory.

A round is: bring the frames to size, plan what leaves the memory, carry the plan out, encode the
frames, prefill what is new, decode a reply.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor

from svlm_core.capacity import capacity
from svlm_core.caption import Caption, Token
from svlm_core.config import StreamSettings
from svlm_core.errors import DeviceFull, MemoryFull, SettingsError
from svlm_core.fork import Fork
from svlm_core.memory import Memory
from svlm_core.model.checkpoint import Model
from svlm_core.policies import plan_round
from svlm_core.prompt import CLOSING, ChatTokenizer, Prompt
from svlm_core.speaker import Speaker, spoken
from svlm_core.stopwatch import Stopwatch
from svlm_core.transcript import Plan, Role, Transcript
from svlm_core.view import View, look


class Stream:
    """One camera, one memory. Not thread-safe: step it from one thread.

    Made by `StreamingVLM.open`. Raises SettingsError when the settings give no bound.
    """

    def __init__(self, model: Model, tokenizer: ChatTokenizer, settings: StreamSettings) -> None:
        self.settings = settings
        self.last: Caption | None = None
        self.reused = 0  # tokens whose keys the newest round took over from the one before
        self._model = model
        self._prompt = Prompt(tokenizer, settings)
        size = capacity(self._prompt, settings)
        self._memory = Memory(model, settings, size, settings.max_new_tokens)
        self._fork = Fork(model, tokenizer, settings, size) if settings.ask_tokens else None
        self._speaker = Speaker(model, tokenizer, settings.sampling)
        self._views: dict[int, View] = {}  # by round: what has to be encoded, perhaps again
        self._rounds = 0
        self._speech: Callable[[], Generator[Token, None, None] | None] = lambda: None

    @property
    def transcript(self) -> Transcript:
        """What the memory holds, as segments."""
        return self._memory.transcript

    @property
    def positions(self) -> np.ndarray:
        """Positions (3, n) on t, h, w of the tokens with keys; native: of the newest of them."""
        return self._memory.positions

    @property
    def encoded(self) -> int:
        """Tokens that have keys; the end of a reply gets its keys with the next round."""
        return self._memory.cache.length

    @property
    def held(self) -> int:
        """Tokens in memory."""
        return len(self._memory.transcript)

    @property
    def capacity(self) -> int:
        """Tokens that the memory can hold."""
        return self._memory.cache.capacity

    @property
    def planes(self) -> list[Tensor]:
        """The buffers of the memory, allocated once."""
        return self._memory.cache.planes

    @property
    def memory_bytes(self) -> int:
        """Bytes of the memory's buffers, those reserved for questions included."""
        return self._memory.cache.bytes + (self._fork.bytes if self._fork else 0)

    def reset(self) -> None:
        """Forget everything: the next round is the first of a new stream."""
        self._hush()
        self._memory.clear()
        self._speaker.reset()
        self._views.clear()
        self._rounds = 0
        self.last = None
        self.reused = 0

    def fork(self) -> Fork:
        """A copy of the memory as it is between two rounds, to ask questions of.

        There is one: a new fork takes over the planes of the one before. Raises SettingsError
        when none were reserved with `ask_tokens`, and before the first round.
        """
        if self._fork is None:
            raise SettingsError('no room is reserved for questions: open with ask_tokens=256')
        if not self._rounds:
            raise SettingsError('the stream has not begun: ask after its first round')
        self._hush()
        self._fork.take_over(self._memory, self._ended())
        return self._fork

    def set_query(self, query: str) -> None:
        """Change the instruction from the next round on; the rest of the memory stays as it is.

        Only the pinned segment is encoded anew. Raises SettingsError in preset `reference`, which
        asks its query once; MemoryFull for a query longer than the room that is left. Should the
        device fail on the way, the stream begins anew.
        """
        if self.settings.published_quirks:
            raise SettingsError('preset reference asks its query in round 0 alone: use robot')
        self._hush()
        before, self._prompt.query = self._prompt.query, query
        old = [s for s in self.transcript.segments if s.role is Role.PINNED]
        new = self._prompt.pinned()
        grown = sum(len(s.ids) for s in new) - sum(len(s.ids) for s in old)
        allowed = self.settings.query_tokens
        if grown > 0 and sum(len(s.ids) for s in new) > allowed:
            self._prompt.query = before
            raise MemoryFull(f'the query is longer than its {allowed} tokens: raise query_tokens')
        if not self._rounds:
            return
        try:
            self._memory.replace(1, len(old), new)  # behind the system line
        except BaseException:
            self.reset()
            raise

    def step(self, frames: np.ndarray, start: float) -> Caption:
        """See one round of frames and say what happens.

        `frames` (T, H, W, 3) uint8 RGB, T = `settings.frames_per_round`; `start` in seconds of
        stream. Raises FrameError for other frames, MemoryFull at the capacity of a policy
        without bound, DeviceFull when the device has no room for the work. After these, or any
        other error before the reply, it is as if the round had never been.
        """
        for _ in self.tokens(frames, start):
            continue
        assert self.last is not None
        return self.last

    def tokens(self, frames: np.ndarray, start: float) -> Generator[Token, None, None]:
        """The same as `step`, token by token; afterwards `last` is the caption.

        A consumer that stops early, or turns to the next round, cuts the reply there; the memory
        stays whole.
        """
        self._hush()
        speech = self._speak(frames, start)
        self._speech = weakref.ref(speech)  # weak: a reply that nobody reads on ends at once
        return speech

    def _hush(self) -> None:
        """Cut the reply that is still being read, if there is one."""
        if (speech := self._speech()) is not None:
            speech.close()

    def _speak(self, frames: np.ndarray, start: float) -> Generator[Token, None, None]:
        """See a round, then say its reply."""
        watch, number = Stopwatch(), self._rounds
        hidden = self._see(frames, start, watch)
        ids: list[int] = []
        limit = self.settings.max_new_tokens
        try:
            drawn = self._speaker.reply(self._memory, hidden, limit, watch)
            yield from spoken(drawn, ids, self._prompt.text)
        finally:
            self._close(number, ids, start, watch)

    def _see(self, frames: np.ndarray, start: float, watch: Stopwatch) -> Tensor:
        """Take a round in; the hidden state (hidden,) from which its reply begins."""
        with watch('look'):
            view = look(frames, self._model, self.settings)
        try:
            with watch('plan'):
                self._turn_over(view, start)
            hidden = self._encode(watch)
        except torch.OutOfMemoryError as error:
            self._memory.forget_round(self._rounds)
            raise DeviceFull(
                f'{self._model.device} has no room for the work of a round: lower '
                'max_vision_tokens, or free the device'
            ) from error
        except BaseException:  # Ctrl-C too must leave a memory that can go on
            self._memory.forget_round(self._rounds)
            raise
        finally:
            self._forget_views()
        self._rounds += 1
        return hidden

    def _turn_over(self, view: View, start: float) -> None:
        """Make room for a round and append its prompt."""
        number, before = self._rounds, self._ended()
        if number == 0:
            plan, kept = Plan((), reuse=False, opening=True), self._opened()
        else:
            plan = plan_round(before, self.settings, number, self._prompt.content)
            kept = before.applied(plan)
        sees = self.settings.vision_rounds != 0
        grid = view.merged if sees else None
        after = kept.extended(self._prompt.round(number, start, grid, plan.opening))
        self._check_room(len(after) + self.settings.max_new_tokens + CLOSING)
        self._memory.change(before, plan, after)
        self.reused = self.encoded
        if sees:
            self._views[number] = view

    def _opened(self) -> Transcript:
        return Transcript(tuple(self._prompt.opening()))

    def _ended(self) -> Transcript:
        """The transcript whose last reply is closed as another turn needs it."""
        segments = self.transcript.segments
        if not segments or segments[-1].role is not Role.REPLY:
            return self.transcript
        return Transcript((*segments[:-1], self._prompt.ended(segments[-1])))

    def _check_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            raise MemoryFull(
                f'policy {self.settings.policy} needs {tokens} tokens and the memory holds '
                f'{self.capacity} ({self.memory_bytes / 2**20:.1f} MiB): reset the stream, give '
                'a larger capacity, or use policy streaming'
            )

    @torch.inference_mode()
    def _encode(self, watch: Stopwatch) -> Tensor:
        """Encode frames and prompt; the hidden state (hidden,) after them."""
        with watch('vision'):
            tower = self._model.vision
            features = {n: tower(v.patches, v.grid) for n, v in self._views.items()}
        with watch('prefill'):
            return self._memory.encode(features)

    def _forget_views(self) -> None:
        """Keep the frames only as long as policy recompute will encode them again."""
        held = {s.round for s in self.transcript.segments if s.role is Role.VISION}
        if self.settings.policy != 'recompute':
            held.clear()
        self._views = {n: v for n, v in self._views.items() if n in held}

    def _close(self, number: int, ids: list[int], start: float, watch: Stopwatch) -> None:
        """Write the reply into the transcript and make the caption."""
        memory, reply = self._memory, self._prompt.reply(number, ids)
        memory.transcript = memory.transcript.extended([reply])
        self.last = Caption(
            text=self._prompt.text(ids),
            start=start,
            end=start + self.settings.chunk_seconds,
            ids=tuple(ids),
            stopped=self._speaker.stopped(ids),
            held=self.held,
            seconds=watch.seconds,
        )
