# SPDX-License-Identifier: Apache-2.0
"""A transcript together with the keys and values of its tokens: carries out plans, encodes.

The last one or two tokens of a reply have no keys yet when the round ends (the last sampled
token is never run through the model on its own): they are the head of the next prefill.

Contiguous positions are those of the paper up to one number that all share: rotation knows
distances alone. So that the rounds in place need not be rotated again when one before them has
left, that number grows in its stead, and only previous text, before them, is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.cache import Cache
from svlm_core.config import StreamSettings
from svlm_core.model.checkpoint import Model
from svlm_core.model.language import Continuation
from svlm_core.prompt import CLOSING
from svlm_core.rope import LINE, Rotary, Run, lay_out
from svlm_core.step import Step
from svlm_core.transcript import Plan, Role, Segment, Transcript

PIECE = 1024  # tokens of one forward: bounds the causal mask of a very long opening


@dataclass(frozen=True)
class Held:
    """What a memory holds, to be held by another one of the same model and settings.

    `filled` are the planes (L, n, H, D) of the n tokens with keys, by name, and `slots` (n,) says
    where in them each token stands. `positions` (3, n + 1 - base) begin with the token `base` and
    end with the position of the next one; keys whose positions are no numbers are yet to be
    rotated.
    """

    transcript: Transcript
    filled: Mapping[str, Tensor]
    slots: np.ndarray
    positions: np.ndarray
    base: int


class Memory:
    """What a stream remembers. Positions are laid once per change, and keys rotated that moved."""

    def __init__(
        self, model: Model, settings: StreamSettings, capacity: int, longest_reply: int
    ) -> None:
        text = model.config.text
        self._anew, self._plain = settings.lays_anew, settings.rope == 'plain'
        self._published = settings.published_quirks
        self.transcript = Transcript()
        self.cache = Cache(text, capacity, model.dtype, model.device, self._anew)
        self._model = model
        self._step = Step(model, self.cache)
        angles = torch.float32 if settings.published_quirks else torch.float64
        self._rotary = Rotary(text.rope, model.device, angles)
        self._seconds_per_grid = 2 / settings.fps
        self._room = longest_reply + CLOSING  # what may follow before positions change
        self._base = 0  # the token where the laid positions begin
        self._laid = np.zeros((3, 1), dtype=np.float32)  # (3, n) by which keys are rotated
        self._behind = 0  # the first token without keys when positions were laid
        self._tables = self._rotary.tables(torch.from_numpy(self._laid))  # from there on, (n, D)

    @property
    def positions(self) -> np.ndarray:
        """Positions (3, n) of the tokens with keys; with native RoPE, of the newest of them."""
        return self._laid[:, : self.cache.length - self._base] - self._origin

    @property
    def recalled(self) -> int:
        """Tokens that are attended over beside those that are held."""
        return 0

    def clear(self) -> None:
        """Forget everything."""
        self.transcript = Transcript()
        self.cache.clear()
        self._base = 0
        self._laid = np.zeros((3, 1), dtype=np.float32)

    @torch.inference_mode()
    def change(self, before: Transcript, plan: Plan, after: Transcript) -> None:
        """Carry out a plan on `before`, what is held now; `after` is its result and more.

        Should the device run out of memory on the way, the next change mends what is left undone.
        """
        upcoming = 0.0
        if plan.reuse:
            spans = before.spans(plan)
            if any(span.stop > self.cache.length for span in spans[:-1]):
                self._encode_tail(before)
            upcoming, length = self._upcoming, self.cache.length
            kept = [range(s.start, min(s.stop, length)) for s in spans]
            self._retain(kept, after.before_rounds)
        else:
            self.cache.clear()
        self.transcript = after
        self._lay(upcoming)

    @property
    def held(self) -> Held:
        """All that it holds; the planes are views, good until the next change."""
        cache = self.cache
        laid = self._laid[:, : cache.length + 1 - self._base]
        return Held(self.transcript, cache.filled, cache.slots, laid, self._base)

    def hold(self, held: Held) -> None:
        """Hold what another memory of the same model and settings held."""
        self.cache.fill(held.filled, held.slots)
        self.transcript = held.transcript
        self._base, self._laid = held.base, held.positions.copy()
        self._prepare()

    def rewind(self, transcript: Transcript, encoded: int) -> None:
        """Forget what came after `transcript`, and all keys behind its first `encoded` tokens."""
        self.transcript = transcript
        self.cache.length = encoded

    @torch.inference_mode()
    def replace(self, number: int, count: int, segments: Sequence[Segment]) -> None:
        """Put `segments` in the place of `count` from `number` on, and encode them there.

        They see what stands before them; what follows keeps its keys and values. Text only.
        """
        held = self.transcript
        upcoming, start, stop = self._upcoming, held.starts[number], held.starts[number + count]
        ids = tuple(token for segment in segments for token in segment.ids)
        self._retain([range(start), range(stop, self.cache.length)], start)
        self.cache.insert(start, len(ids))
        if self._anew:
            self._laid = np.insert(self._laid, [start] * len(ids), np.nan, axis=1)
        rest = held.segments[number + count :]
        self.transcript = Transcript((*held.segments[:number], *segments, *rest))
        self._lay(upcoming)
        if ids:
            self._read_text(self._embed(ids), start)

    @torch.inference_mode()
    def refresh(self) -> int:
        """Encode previous text anew where it stands: it sees what is before it, and no frames.

        What follows keeps the keys and values that it has. Returns how many tokens were encoded.
        """
        number = self.transcript.find(Role.PREVIOUS)
        if number is None or not (ids := self.transcript.segments[number].ids):
            return 0
        start = self.transcript.starts[number]
        self.cache.settle(start + len(ids))
        for piece in self._embed(ids).split(PIECE):
            self._read_text(piece, start)
            start += len(piece)
        return len(ids)

    def forget_round(self, number: int) -> None:
        """Take back the segments of a round that could not be encoded, if it has any."""
        kept = tuple(s for s in self.transcript.segments if s.round != number)
        self.transcript = Transcript(kept)
        self.cache.length = min(self.cache.length, len(self.transcript))

    @torch.inference_mode()
    def encode(self, features: Mapping[int, Tensor], reply: Sequence[int] = ()) -> Tensor:
        """Prefill all tokens that have no keys, and what a `reply` begins with.

        `features` holds, by round, what stands in for the tokens of a vision segment. Returns the
        states (1 + n, hidden) before and after each of the n tokens of the reply.
        """
        start, transcript = self.cache.length, self.transcript
        x = self._embed((*transcript.ids[start:], *reply))  # (T, hidden)
        for first, segment in zip(transcript.starts, transcript.segments, strict=False):
            if segment.role is Role.VISION and first >= start:
                assert segment.round is not None
                seen, low = features[segment.round], first + 1 - start  # behind the start marker
                x[low : low + len(seen)] = seen
        wanted, after, states = 1 + len(reply), len(x), list[Tensor]()
        for piece in x.split(PIECE):
            after -= len(piece)
            states.append(self._forward(piece, min(max(wanted - after, 1), len(piece))))
        return torch.cat(states)[-wanted:]

    @torch.inference_mode()
    def say(self, token: Tensor) -> Tensor:
        """Run one drawn token (1,) through the model; the scores (V,) float32 after it.

        It counts as encoded only with `keep`: until then the next one would take its place.
        """
        slot = self.cache.length
        return self._step(token, slot, *self._rows(slot, slot + 1))

    def keep(self) -> None:
        """Keep the keys and values of the token that was said last."""
        self.cache.length += 1

    @property
    def _upcoming(self) -> float:
        """The position of the next token after those that have keys."""
        return float(self._laid[0, self.cache.length - self._base])

    def _encode_tail(self, before: Transcript) -> None:
        """A reply moves before its last token has keys: encode that where it was said."""
        self.transcript = before
        self._lay(self._upcoming)
        self.encode({})

    @property
    def _origin(self) -> float:
        """Where contiguous positions begin."""
        return float(self._laid[0, 0]) if self._anew else 0.0

    def _retain(self, spans: Iterable[range], front: int) -> None:
        """Keep the keys and values of these tokens, in this order, the first `front` in front."""
        tokens = np.concatenate([np.arange(0), *(np.arange(s.start, s.stop) for s in spans)])
        length = self.cache.length
        self.cache.keep(tokens, front if self._anew else 0)  # to be rotated
        if self._anew:
            self._laid = self._laid[:, np.append(tokens, length)]

    def _lay(self, upcoming: float) -> None:
        """Lay positions anew and rotate the keys that moved by them.

        With native RoPE only new tokens are laid, from position `upcoming` on.
        """
        length = self.cache.length
        self._base, start = (0, 0.0) if self._anew else (length, upcoming)
        runs = [*self.transcript.runs_from(self._base), (self._room, None)]
        laid = self._laid_out(runs, start)
        if self._anew:
            laid += self._shift(laid)
            self._turn(laid[:, :length])
        self._laid = laid
        self._prepare()

    def _shift(self, laid: np.ndarray) -> float:
        """What is added to positions (3, n), laid from 0, for the newest key to stay as it is.

        They begin at 0 again before they leave the line that rotations are looked up on. As
        published they always do, and so do fractions, whose sums would be rounded otherwise.
        """
        length, end = self.cache.length, laid.max()
        if self._published or not length or not np.array_equal(laid, np.rint(laid)):
            return 0.0
        shift = float(self._laid[0, length - 1] - laid[0, length - 1])
        return shift if 0 <= shift < max(LINE, 2 * end) - end else 0.0  # never if it is no number

    def _turn(self, laid: np.ndarray) -> None:
        """Rotate by new positions (3, n) the keys of the n tokens that have others now."""
        length = laid.shape[1]
        moved = np.flatnonzero((laid != self._laid[:, :length]).any(0))
        count = int(moved[-1]) + 1 if len(moved) else 0
        if (self.cache.slots[:count] >= count).any():  # they do not stand in front
            count = length
        order = np.argsort(self.cache.slots[:count])
        tables = self._rotary.tables(torch.from_numpy(laid[:, order]))
        self._laid[:, :count] = np.nan  # should it fail on the way, all of it is done again
        self.cache.turn(*tables)

    def _prepare(self) -> None:
        """Make the rotations of the tokens that come."""
        self._behind = self.cache.length
        coming = torch.from_numpy(self._laid[:, self._behind - self._base :])  # (3, n)
        self._tables = self._rotary.tables(coming)

    def _laid_out(self, runs: Iterable[Run], start: float) -> np.ndarray:
        """Positions (3, n) of runs; with plain RoPE a grid counts up as text does."""
        if self._plain:
            runs = [(count, None) for count, _ in runs]
        rate = self._rotary.spec.tokens_per_second
        return lay_out(runs, start, self._seconds_per_grid, rate)

    def _forward(self, x: Tensor, wanted: int = 1) -> Tensor:
        """Run tokens (T, hidden) through the model; the last hidden states (wanted, hidden)."""
        start, end = self.cache.length, self.cache.length + len(x)
        cos, sin = self._rows(start, end)
        states = self._run(x, cos, sin, start, wanted)
        self.cache.length = end
        return states

    def _read_text(self, x: Tensor, start: int) -> None:
        """Encode text `x` (n, hidden) into slots from `start` on, before which is only text."""
        laid = lay_out([(len(x), None)], start + self._origin, 0, 0)
        positions = torch.from_numpy(laid)  # (3, n)
        cos, sin = self._rotary.tables(positions)
        self._run(x, cos, sin, start)

    def _run(self, x: Tensor, cos: Tensor, sin: Tensor, start: int, wanted: int = 1) -> Tensor:
        language = self._model.language
        reading = Continuation(cos, sin, self.cache, start, language.backend)
        return language(x, reading, wanted)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        told = gpu.upload(np.array(ids, dtype=np.int64), self._model.device)  # (T,)
        return self._model.language.embed(told)

    def _rows(self, low: int, high: int) -> tuple[Tensor, Tensor]:
        """Rotation tables (high - low, D) of the new tokens `low` to `high`."""
        rows = slice(low - self._behind, high - self._behind)
        cos, sin = self._tables
        return cos[rows], sin[rows]
