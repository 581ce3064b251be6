# SPDX-License-Identifier: Apache-2.0
"""The per-second loop: one Stream is one camera with one bounded memory.

A round is: bring the frames to size, plan what leaves the memory, carry the plan out, encode the
frames, prefill what is new, decode a reply.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from svlm_core.capacity import Limits, capacity, room_for_pinned, tokens_per_role
from svlm_core.caption import Answer, Caption, Token
from svlm_core.config import Sampling, StreamSettings
from svlm_core.errors import DeviceFull, MemoryFull, SettingsError
from svlm_core.eye import Eye
from svlm_core.fork import Fork
from svlm_core.memory import Memory
from svlm_core.model.checkpoint import Model
from svlm_core.policies import plan_round
from svlm_core.prompt import CLOSING, ChatTokenizer, Prompt
from svlm_core.recall import RecallingMemory
from svlm_core.snapshot import State
from svlm_core.speaker import Speaker, spoken
from svlm_core.stopwatch import Stopwatch
from svlm_core.transcript import Plan, Role, Transcript
from svlm_core.view import View


class Stream:
    """One camera, one memory. Not thread-safe: step it from one thread.

    Made by `StreamingVLM.open`. Raises SettingsError when the settings give no bound.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: ChatTokenizer,
        settings: StreamSettings,
        endless: bool = False,
        retrieved: int = 0,
    ) -> None:
        self.settings = settings
        self.limits = Limits.of(settings)  # in force, changed by `adjust`
        self.model = model
        self.last: Caption | None = None
        self.seconds = 0.0  # of stream, at which the next round begins
        self.reused = 0  # tokens whose keys the newest round took over from the one before
        self.prompt = Prompt(tokenizer, settings)
        size = capacity(self.prompt, settings)
        longest = settings.max_new_tokens
        self._memory = (
            RecallingMemory(model, settings, size, longest, retrieved)
            if retrieved
            else Memory(model, settings, size, longest)
        )
        self._fork = Fork(model, tokenizer, settings, size) if settings.ask_tokens else None
        self._speaker = Speaker(model, tokenizer, settings.sampling, endless)
        self._eye = Eye(model, settings)
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
    def recalled(self) -> int:
        """Tokens that are back for this round, of those that had left; see `recall`."""
        return self._memory.recalled

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
        """Forget everything but query, pinned sentences and limits: a new stream begins."""
        self._hush()
        self._memory.clear()
        self._speaker.reset()
        self._views.clear()
        self._rounds, self.seconds = 0, 0.0
        self.last, self.reused = None, 0

    def fork(self, sampling: Sampling | None = None) -> Fork:
        """A copy of the memory as it is between two rounds, to ask questions of.

        Answers are drawn as captions are, or by `sampling`.
        There is one: a new fork takes over the planes of the one before. Raises SettingsError
        when none were reserved with `ask_tokens`, and before the first round.
        """
        if self._fork is None:
            raise SettingsError('no room is reserved for questions: open with ask_tokens=256')
        if not self._rounds:
            raise SettingsError('the stream has not begun: ask after its first round')
        self._hush()
        self._fork.take_over(self._memory, self._ended(), sampling or self.limits.sampling)
        return self._fork

    def set_query(self, query: str) -> None:
        """Change the instruction from the next round on; the rest of the memory stays as it is.

        Only the pinned segment is encoded anew. Raises SettingsError in preset `reference`, which
        asks its query once; MemoryFull for a query longer than the room that is left. Should the
        device fail on the way, the stream begins anew.
        """
        self._exchange_pinned(query, self.pins)

    @property
    def query(self) -> str:
        """The instruction that is in force."""
        return self.prompt.query

    @property
    def pins(self) -> tuple[str, ...]:
        """The sentences that are pinned."""
        return self.prompt.pins

    def pin(self, sentence: str) -> None:
        """Keep a sentence behind the query, in a line of its own, until `unpin`.

        One that is pinned already is not pinned twice. Raises SettingsError for an empty one,
        else as `set_query` does.
        """
        line = ' '.join(sentence.split())
        if not line:
            raise SettingsError('the sentence to pin is empty')
        if line not in self.pins:
            self._exchange_pinned(self.query, (*self.pins, line))

    def unpin(self) -> None:
        """Take all pinned sentences away. Raises as `set_query` does."""
        self._exchange_pinned(self.query, ())

    def keep(self, answer: Answer) -> None:
        """Put a question and its whole answer into the memory, so that later rounds know of them.

        They stand behind the newest reply and age with it: when it moves to previous text, so
        does the answer, and the question leaves. Raises SettingsError before the first round,
        while an earlier exchange stands in place, and in preset `reference`; MemoryFull where
        `ask_tokens` or the capacity has no room for it.
        """
        if self.settings.published_quirks:
            raise SettingsError('preset reference keeps no answers: use robot')
        if not self._rounds:
            raise SettingsError('the stream has not begun: it has no memory to keep an answer in')
        if self.transcript.find(Role.QUESTION) is not None:
            raise SettingsError(
                'an earlier question still stands in memory: keep the answer once that has moved '
                'to previous text'
            )
        self._hush()
        exchange = self.prompt.exchange(self._rounds - 1, answer)
        size, room = sum(len(s.ids) for s in exchange), self.settings.ask_tokens
        if size > room:
            raise MemoryFull(
                f'question and answer take {size} tokens, and there is room for {room}: open the '
                'stream with more ask_tokens'
            )
        after = self._ended().extended(exchange)
        self._check_future(after)
        self._memory.transcript = after

    def adjust(
        self,
        *,
        max_new_tokens: int | None = None,
        max_vision_tokens: int | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        """Change the `limits` that are given, from the next round on; `settings` stay.

        Frames become smaller or larger, and the memory stays valid. Random numbers go on, unless
        the seed is another one. Raises SettingsError for more than was reserved at `open`.
        """
        self.limits = self.limits.changed(
            self.settings,
            max_new_tokens=max_new_tokens,
            max_vision_tokens=max_vision_tokens,
            sampling=sampling,
        )

    def state(self) -> State:
        """All that it takes to go on from here; the planes are views, good until the next round.

        Raises SettingsError before the first round.
        """
        if not self._rounds:
            raise SettingsError('the stream has not begun: there is no memory to save')
        self._hush()
        return State(
            held=self._memory.held,
            views=self._views,
            rounds=self._rounds,
            seconds=self.seconds,
            query=self.query,
            pins=self.pins,
            random=self._speaker.random,
        )

    def restore(self, state: State) -> None:
        """Go on from another stream's state; the limits stay.

        Should the device fail on the way, the stream begins anew.
        """
        self._hush()
        try:
            self._memory.hold(state.held)
            self._speaker.random = state.random
        except BaseException:
            self.reset()
            raise
        self.prompt.query, self.prompt.pins = state.query, state.pins
        self._views = dict(state.views)
        self._rounds, self.seconds = state.rounds, state.seconds
        self.last, self.reused = None, 0

    def step(self, frames: np.ndarray, start: float, coming: np.ndarray | None = None) -> Caption:
        """See one round of frames and say what happens.

        `frames` (T, H, W, 3) uint8 RGB, T = `settings.frames_per_round`; `start` in seconds of
        stream. A GPU encodes the frames that are `coming` in the next round, where they are there
        already, while it speaks. Raises FrameError for other frames, MemoryFull at the capacity
        of a policy without bound, DeviceFull when the device has no room for the work. After
        these, or any other error before the reply, it is as if the round had never been.
        """
        for _ in self.tokens(frames, start, coming):
            continue
        assert self.last is not None
        return self.last

    def force(self, frames: np.ndarray, start: float, words: str) -> Tensor:
        """See a round as `step` does, and take `words` for the reply, whatever it would have been.

        Returns the scores (n, vocabulary) of the n tokens of the reply, each given those before;
        `last` is the caption. Raises as `step` does, and SettingsError for too long a reply.
        """
        return self.follow(frames, start, self.prompt.tokenizer.reply(words))

    def follow(self, frames: np.ndarray, start: float, ids: Sequence[int]) -> Tensor:
        """The same as `force`, with the ids of the reply, its end marker included."""
        ids, limits = tuple(ids), self.limits
        if len(ids) > self.settings.max_new_tokens:
            raise SettingsError(f'a reply of {len(ids)} tokens: open with more max_new_tokens')
        self._hush()
        watch, number = Stopwatch(self.model.device), self._rounds
        states = self._see(frames, start, limits, watch, ids[:-1])  # (n, hidden)
        self._close(number, list(ids), start, watch)
        with torch.inference_mode():
            return self.model.language.logits(states)

    def tokens(
        self, frames: np.ndarray, start: float, coming: np.ndarray | None = None
    ) -> Generator[Token, None, None]:
        """The same as `step`, token by token; afterwards `last` is the caption.

        A consumer that stops early, or turns to the next round, cuts the reply there; the memory
        stays whole.
        """
        self._hush()
        speech = self._speak(frames, start, coming)
        self._speech = weakref.ref(speech)  # weak: a reply that nobody reads on ends at once
        return speech

    def _hush(self) -> None:
        """Cut the reply that is still being read, if there is one."""
        if (speech := self._speech()) is not None:
            speech.close()

    def _exchange_pinned(self, query: str, pins: tuple[str, ...]) -> None:
        """Encode another pinned segment in the place of the one in memory."""
        if self.settings.published_quirks:
            raise SettingsError(
                'preset reference asks its query in round 0 alone and pins nothing: use robot'
            )
        self._hush()
        new = self.prompt.pinned(query, pins)
        size, room = sum(len(s.ids) for s in new), room_for_pinned(self.prompt, self.settings)
        if size > room:
            raise MemoryFull(
                f'query and pinned sentences take {size} tokens, and there is room for {room}: '
                'raise query_tokens'
            )
        segments = self.transcript.segments
        old = [s for s in segments if s.role is Role.PINNED]
        after = Transcript((*segments[:1], *new, *segments[1 + len(old) :]))
        if self._rounds and len(after) > self.held:
            self._check_future(after)
        self.prompt.query, self.prompt.pins = query, pins
        if not self._rounds:
            return
        try:
            self._memory.replace(1, len(old), new)  # behind the system line
        except BaseException:
            self.reset()
            raise

    def _speak(
        self, frames: np.ndarray, start: float, coming: np.ndarray | None
    ) -> Generator[Token, None, None]:
        """See a round, then say its reply."""
        watch, number, limits = Stopwatch(self.model.device), self._rounds, self.limits
        [hidden] = self._see(frames, start, limits, watch)
        if coming is not None:
            self._eye.expect(coming, limits.max_vision_tokens)
        self._speaker.adjust(limits.sampling)
        ids: list[int] = []
        try:
            drawn = self._speaker.reply(self._memory, hidden, limits.max_new_tokens, watch)
            yield from spoken(drawn, ids, self.prompt.text)
        finally:
            self._close(number, ids, start, watch)

    def _see(
        self,
        frames: np.ndarray,
        start: float,
        limits: Limits,
        watch: Stopwatch,
        reply: Sequence[int] = (),
    ) -> Tensor:
        """Take a round in, and what its reply begins with, if that is known.

        Returns the states (1 + n, hidden) before and after each of these n tokens.
        """
        with watch('look'):
            view = self._eye.look(frames, limits.max_vision_tokens)
        try:
            with watch('plan'):
                self._turn_over(view, start)
            states = self._encode(watch, reply)
        except torch.OutOfMemoryError as error:
            self._memory.forget_round(self._rounds)
            raise DeviceFull(
                f'{self.model.device} has no room for the work of a round: lower '
                'max_vision_tokens, or free the device'
            ) from error
        except BaseException:  # Ctrl-C too must leave a memory that can go on
            self._memory.forget_round(self._rounds)
            raise
        finally:
            self._forget_views()
        self._rounds += 1
        self.seconds = start + self.settings.chunk_seconds
        return states

    def _turn_over(self, view: View, start: float) -> None:
        """Make room for a round and append its prompt."""
        number, before, settings = self._rounds, self._ended(), self.settings
        if number == 0:
            plan, kept = Plan((), reuse=False, opening=True), self._opened()
        else:
            plan = plan_round(before, settings, number, self.prompt.content)
            kept = before.applied(plan)
        sees = settings.vision_rounds != 0
        grid = view.merged if sees else None
        after = kept.extended(self.prompt.round(number, start, grid, plan.opening))
        self._check_room(len(after) + settings.max_new_tokens + CLOSING)
        self._memory.change(before, plan, after)
        self.reused = self.encoded
        if number and settings.refresh_rounds and number % settings.refresh_rounds == 0:
            self.reused -= self._memory.refresh()
        if sees:
            self._views[number] = view

    def _opened(self) -> Transcript:
        return Transcript(tuple(self.prompt.opening()))

    def _ended(self) -> Transcript:
        """The transcript whose last reply is closed as another turn needs it."""
        segments = self.transcript.segments
        if not segments or segments[-1].role is not Role.REPLY:
            return self.transcript
        return Transcript((*segments[:-1], self.prompt.ended(segments[-1])))

    def _check_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            raise MemoryFull(
                f'policy {self.settings.policy} needs {tokens} tokens and the memory holds '
                f'{self.capacity} ({self.memory_bytes / 2**20:.1f} MiB): reset the stream, give '
                'a larger capacity, or use policy streaming'
            )

    def _check_future(self, transcript: Transcript) -> None:
        """Raise MemoryFull where a transcript leaves no room for one more round like the last."""
        plan = plan_round(transcript, self.settings, self._rounds, self.prompt.content)
        cost = tokens_per_role(self.prompt, self.settings)
        newest = [s for s in transcript.segments if s.round == self._rounds - 1]
        cost[Role.VISION] = sum(len(s.ids) for s in newest if s.role is Role.VISION)
        self._check_room(len(transcript.applied(plan)) + sum(cost.values()))

    @torch.inference_mode()
    def _encode(self, watch: Stopwatch, reply: Sequence[int]) -> Tensor:
        """Encode frames, prompt and reply; states (1 + n, hidden) from the last of the prompt."""
        with watch('vision'):
            features = {n: self._eye.encode(view) for n, view in self._views.items()}
        with watch('prefill'):
            return self._memory.encode(features, reply)

    def _forget_views(self) -> None:
        """Keep the frames only as long as policy recompute will encode them again."""
        if self.settings.policy != 'recompute':
            self._views = {}
            return
        held = {s.round for s in self.transcript.segments if s.role is Role.VISION}
        self._views = {n: v for n, v in self._views.items() if n in held}

    def _close(self, number: int, ids: list[int], start: float, watch: Stopwatch) -> None:
        """Write the reply into the transcript and make the caption."""
        stopped = self._speaker.stopped(ids)
        reply = self.prompt.reply(number, ids, stopped)
        self._memory.transcript = self.transcript.extended([reply])
        self.last = Caption(
            text=self.prompt.text(ids),
            start=start,
            end=start + self.settings.chunk_seconds,
            ids=tuple(ids),
            stopped=stopped,
            held=self.held,
            seconds=watch.seconds,
        )
