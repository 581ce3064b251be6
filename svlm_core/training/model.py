# SPDX-License-Identifier: Apache-2.0
"""The model as it is trained: the modules of inference, read pack by pack.

Weights, layers, rotation and attention are those that captions are made with, so what is learnt
is what will be computed. Only the states that are asked for meet the vocabulary.
Shape legend: T tokens of a pack, M of them asked, V of them seen, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from svlm_core.errors import CheckpointError
from svlm_core.model.attention import attend_apart, sight
from svlm_core.model.checkpoint import Model
from svlm_core.model.language import Layer
from svlm_core.model.vision import Block, patchify
from svlm_core.rope import Rotary
from svlm_core.training.pack import Pack

PIECE = 1024  # states that meet the vocabulary at once: bounds the scores held in memory


@dataclass(frozen=True, eq=False)
class Packed:
    """Samples side by side: each attends to itself alone, and no keys are kept."""

    cos: Tensor
    sin: Tensor
    lengths: tuple[int, ...]
    sights: tuple[Tensor | None, ...]

    def attend(
        self, layer: int, q: Tensor, keys: Tensor, rotated: Tensor, values: Tensor
    ) -> Tensor:
        return attend_apart(q, rotated, values, self.lengths, self.sights)


class Trainee(nn.Module):
    """A loaded checkpoint that learns from packs.

    `freeze_vision` leaves the whole vision tower as it is; `checkpointing` computes each layer
    again in the backward pass rather than keep what it computed.
    """

    _no_split_modules = ('Layer',)  # FSDP2 shards these one by one and all the rest together
    accepts_loss_kwargs = True  # the trainer counts what is asked for over a whole step

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, *, freeze_vision: bool, checkpointing: bool) -> None:
        super().__init__()
        if model.config.bits is not None:
            raise CheckpointError(f'{model.folder} is quantised: train what it was made of')
        self.language, self.vision = model.language, model.vision
        self._config, self._freeze_vision = model.config, freeze_vision
        self.register_buffer('mean', model.mean, persistent=False)
        self.register_buffer('std', model.std, persistent=False)
        if freeze_vision:
            self.vision.requires_grad_(False)
        for layer in self._layers() if checkpointing else ():
            # Within the module's call, so that FSDP2 gathers its weights once for both passes.
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

    def forward(self, pack: Pack, labels: Tensor) -> tuple[Tensor, Tensor]:
        """How wrong all `labels` (M,) are foretold, summed up, and how many are foretold."""
        states = self.states(pack)
        pieces = zip(states.split(PIECE), labels.split(PIECE), strict=True)
        scored = [checkpoint(self._score, *piece, use_reentrant=False) for piece in pieces]
        loss, right = (torch.stack(column).sum() for column in zip(*scored, strict=True))
        return loss, right

    def states(self, pack: Pack) -> Tensor:
        """The last states (M, hidden) at the places asked for, as `LanguageModel.logits` takes."""
        language = self.language
        rotary = Rotary(language.config.rope, pack.ids.device)
        sights = tuple(None if until is None else sight(until) for until in pack.until)
        reading = Packed(*rotary.tables(pack.positions), pack.lengths, sights)
        x = language.embed(pack.ids)  # (T, hidden)
        x = x.index_copy(0, pack.seen, self._look(pack).to(x.dtype))
        for layer in language.layers:
            x = layer(x, reading, len(x))
        return language.norm(x[pack.asked])

    def _score(self, states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.language.logits(states)
        loss = functional.cross_entropy(logits, labels, reduction='sum')
        return loss, (logits.argmax(-1) == labels).sum()

    def _look(self, pack: Pack) -> Tensor:
        """What the vision tower makes of the films: (V, hidden)."""
        config, kind = self._config.vision, self.vision.patch_embed.proj.weight.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._freeze_vision):
            cut = (patchify(film, config, self.mean, self.std, kind) for film in pack.films)
            return torch.cat([self.vision(patches, grid) for patches, grid in cut])

    def _layers(self) -> Iterator[nn.Module]:
        return (module for module in self.modules() if isinstance(module, Layer | Block))
