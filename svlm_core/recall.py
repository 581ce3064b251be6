# SPDX-License-Identifier: Apache-2.0
"""A memory that brings evicted rounds back: ReKV (arXiv 2503.00540) ported to M-RoPE.

What leaves together with the frames of a round is kept as a block of keys and values. When the
next round is read, each layer takes the blocks whose mean key has the largest dot product with
the mean query of the new tokens, and attends over them as if they stood, in their order, between
previous text and the rounds in place. Blocks are sought anew in every round.

It is an ablation: the blocks grow with the stream. The paper finds that it disturbs a model that
was trained on a fixed format.
Shape legend: L layers, T new tokens, n tokens of a block, Hq and Hk heads, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError
from svlm_core.memory import Held, Memory
from svlm_core.model.attention import attend
from svlm_core.model.checkpoint import Model
from svlm_core.policies import check_recall
from svlm_core.rope import rotate
from svlm_core.transcript import Plan, Role, Segment, Transcript


@dataclass(frozen=True, eq=False)
class Block:
    """What of a round has left: `keys` before rotation and `values`, each (L, n, Hk, D).

    `positions` (3, n) are as if it stood at 0, and the next token would stand at `extent`.
    """

    keys: Tensor
    values: Tensor
    positions: np.ndarray
    extent: float


@dataclass(frozen=True, eq=False)
class Head:
    """What a layer attends over before the rounds in place: rotated keys, values (S, Hk, D)."""

    keys: Tensor
    values: Tensor


class RecallingMemory(Memory):
    """A memory with policy streaming that brings up to `count` evicted rounds back.

    Raises SettingsError for settings under which nothing could be brought back.
    """

    def __init__(
        self,
        model: Model,
        settings: StreamSettings,
        capacity: int,
        longest_reply: int,
        count: int,
    ) -> None:
        check_recall(settings)
        super().__init__(model, settings, capacity, longest_reply)
        self._count = count
        # Replies that go on as previous text have not left.
        self._with_replies = settings.text_sink == settings.text_window == 0
        self._blocks: list[Block] = []
        self._means = torch.empty(0)  # (blocks, L, Hk, D) of their keys
        self._heads: dict[int, Head] = {}  # by layer, as long as positions stay

    @property
    def recalled(self) -> int:
        """Tokens that are back, in the layer that has most of them."""
        local = self.transcript.before_rounds
        return max((len(head.keys) - local for head in self._heads.values()), default=0)

    @property
    def held(self) -> Held:
        raise SettingsError(
            'a stream that brings evicted rounds back cannot be saved, forked or asked'
        )

    def clear(self) -> None:
        super().clear()
        self._blocks.clear()
        self._heads.clear()

    @torch.inference_mode()
    def change(self, before: Transcript, plan: Plan, after: Transcript) -> None:
        self._keep(before, plan)
        super().change(before, plan, after)

    def _keep(self, before: Transcript, plan: Plan) -> None:
        """Make blocks of what the plan is about to drop."""
        kept = {piece.source for piece in plan.pieces}
        left = [
            number
            for number, segment in enumerate(before.segments)
            if segment.round is not None
            and number not in kept
            and (segment.role is not Role.REPLY or self._with_replies)
        ]
        segments = before.segments
        found = []
        for _, numbers in groupby(left, lambda number: segments[number].round):
            some = [*numbers]
            if any(segments[number].role is Role.VISION for number in some):
                found.append(some)
        if not found:
            return
        if before.starts[found[-1][-1] + 1] > self.cache.length:
            self._encode_tail(before)
        self._blocks += [self._block(before, numbers) for numbers in found]
        self._means = torch.stack([block.keys.mean(1) for block in self._blocks])

    def _block(self, before: Transcript, numbers: Sequence[int]) -> Block:
        spans = [range(*before.starts[number : number + 2]) for number in numbers]
        slots = torch.tensor([slot for span in spans for slot in span], device=self._model.device)
        assert self.cache.unrotated is not None  # positions are laid anew
        laid = self._laid_alone([before.segments[number] for number in numbers])
        return Block(
            keys=self.cache.unrotated.index_select(1, slots),
            values=self.cache.values.index_select(1, slots),
            positions=laid[:, :-1],
            extent=float(laid[0, -1]),
        )

    def _laid_alone(self, segments: Sequence[Segment]) -> np.ndarray:
        """Positions (3, n + 1) of segments that stand at 0, and of the token after them."""
        runs = [run for segment in segments for run in segment.runs()]
        return self._laid_out([*runs, (1, None)], 0)

    def _lay(self, upcoming: float) -> None:
        super()._lay(upcoming)
        self.cache.settle(self.cache.length)  # blocks and heads are cut out by slots
        self._heads = {}

    def _forward(self, x: Tensor, wanted: int = 1) -> Tensor:
        if not self._blocks:
            return super()._forward(x, wanted)
        start, end = self.cache.length, self.cache.length + len(x)
        cos, sin = self._rows(start, end)
        language = self._model.language
        reading = _Recollection(cos, sin, self, start, language.backend)
        # To choose, the last layer too needs the queries of all tokens.
        asked = wanted if self._heads else len(x)
        states = language(x, reading, asked)[-wanted:]
        self.cache.length = end
        return states

    @torch.inference_mode()
    def encode(self, features: Mapping[int, Tensor], reply: Sequence[int] = ()) -> Tensor:
        states = super().encode(features)
        if not reply:
            return states
        # What is brought back is chosen by the prompt alone, so the reply is read after it.
        return torch.cat([states, self._forward(self._embed(reply), len(reply))])

    @torch.inference_mode()
    def say(self, token: Tensor) -> Tensor:
        """As `Memory.say`, without fixed buffers: what is back in a layer is no part of them."""
        language, length = self._model.language, self.cache.length
        states = self._forward(language.embed(token))  # (1, hidden)
        self.cache.length = length
        return language.logits(states[0])

    def attended(self, layer: int, start: int, query: _Query) -> tuple[Tensor, Tensor]:
        """Keys and values (S, Hk, D) that new tokens of a layer attend over, themselves last."""
        keys, values = self.cache.extend(layer, start, query.keys, query.rotated, query.values)
        local = self.transcript.before_rounds
        if layer not in self._heads:
            self._heads[layer] = self._head(layer, local, self._chosen(layer, query.mean))
        head = self._heads[layer]
        return torch.cat([head.keys, keys[local:]]), torch.cat([head.values, values[local:]])

    def _chosen(self, layer: int, query: Tensor) -> list[Block]:
        """The blocks of a layer that suit a mean query (Hk, D) best, in the order of time."""
        scores = (self._means[:, layer].float() * query).sum((1, 2))  # (blocks,)
        best = scores.topk(min(self._count, len(self._blocks))).indices.sort().values
        return [self._blocks[number] for number in best.tolist()]

    def _head(self, layer: int, local: int, blocks: Sequence[Block]) -> Head:
        """What stands before the rounds in place, which stay where they are laid.

        The rotation knows distances alone, so blocks of any size fit in: they end where the
        rounds begin, and what is before them moves back by their extent.
        """
        assert self.cache.unrotated is not None
        back = sum(block.extent for block in blocks)
        places, at = [self._laid[:, :local] - back], float(self._laid[0, local]) - back
        for block in blocks:
            places.append(block.positions + at)
            at += block.extent
        cos, sin = self._rotary.tables(torch.from_numpy(np.concatenate(places, axis=1)))
        unrotated = [self.cache.unrotated[layer, :local], *(b.keys[layer] for b in blocks)]
        values = [self.cache.values[layer, :local], *(b.values[layer] for b in blocks)]
        return Head(rotate(torch.cat(unrotated), cos, sin), torch.cat(values))


@dataclass(frozen=True)
class _Query:
    """New tokens of a layer: keys, rotated and not, and values (T, Hk, D); their mean query,
    before rotation and summed over the heads that share a key (Hk, D)."""

    keys: Tensor
    rotated: Tensor
    values: Tensor
    mean: Tensor


@dataclass(frozen=True)
class _Recollection:
    """New tokens, read into a memory from slot `start` on: they attend over what is back too."""

    cos: Tensor
    sin: Tensor
    memory: RecallingMemory
    start: int
    backend: str

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> Tensor:
        Hk = keys.shape[1]
        plain = rotate(q.float(), self.cos[-len(q) :], -self.sin[-len(q) :])  # (T, Hq, D)
        mean = plain.mean(0).unflatten(0, (Hk, -1)).sum(1)  # (Hk, D)
        k, v = self.memory.attended(layer, self.start, _Query(keys, rotated, values, mean))
        return attend(q, k, v, self.backend)
