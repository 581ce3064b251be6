# SPDX-License-Identifier: Apache-2.0
"""What a device has to hold for a model and its streams, told before anything is loaded.

Weights and planes are counted to the byte: the same classes that will be built are built here on
PyTorch's meta device, which has shapes and no memory. The work of a round is an estimate from
above; `_Need.work` says what it counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from svlm_core.cache import Cache
from svlm_core.capacity import capacity, tokens_per_role
from svlm_core.card import EMBEDDED
from svlm_core.config import StreamSettings
from svlm_core.errors import DeviceFull
from svlm_core.free import free_bytes
from svlm_core.memory import PIECE
from svlm_core.model.checkpoint import choose_device, choose_dtype, resolve
from svlm_core.model.config import ModelConfig, read_config
from svlm_core.model.weights import blank, weights_of
from svlm_core.prompt import ChatTokenizer, Prompt

META = torch.device('meta')
# Bytes for what is not counted: code and workspaces of a GPU, large frames resized on a CPU.
SPARE = 2**28
FLOAT = 4  # bytes; what is rotated, normalised or drawn from is float32 for a while


@dataclass(frozen=True)
class Budget:
    """Bytes that are needed of a device, part by part, and those that are free; None: unknown.

    `weights` are those of the model, `memory` the planes of all streams, `questions` the second
    planes on which they are asked, `work` what one round takes while it is computed: streams of
    one thread take turns.
    """

    device: str
    weights: int
    memory: int
    questions: int
    work: int
    free: int | None

    @property
    def needed(self) -> int:
        """Bytes of all parts."""
        return self.weights + self.memory + self.questions + self.work

    def __str__(self) -> str:
        free = '' if self.free is None else f', {size(self.free)} free'
        return (
            f'{size(self.needed)} needed on {self.device} (weights {size(self.weights)}, memory '
            f'{size(self.memory)}, questions {size(self.questions)}, work about '
            f'{size(self.work)}){free}'
        )

    def check(self) -> None:
        """Raise DeviceFull, with what to lower, when more is needed than is free."""
        if self.free is None or self.needed <= self.free:
            return
        questions = 'set ask.enabled to false (ask_tokens to 0), ' if self.questions else ''
        raise DeviceFull(
            f'{self}: lower max_vision_tokens or text_window, {questions}take a smaller '
            'checkpoint or dtype, or free the device'
        )


def draw_up(
    source: str | Path | None,
    streams: Sequence[StreamSettings],
    device: str = 'auto',
    dtype: str = 'auto',
) -> Budget:
    """The budget of a checkpoint (None: the embedded model) and the streams opened on it.

    Loads nothing; a name on the Hub is fetched. Raises what `StreamingVLM.from_pretrained` and
    `open` raise for a bad checkpoint, device or setting.
    """
    folder = EMBEDDED if source is None else resolve(source)
    config, tokenizer = read_config(folder), ChatTokenizer(folder)
    place = choose_device(device)
    kind = choose_dtype(dtype, config, place)
    needs = [_need(config, kind, tokenizer, settings) for settings in streams]
    return Budget(
        device=str(place),
        weights=_weights(config, kind),
        memory=sum(need.planes(need.slots) for need in needs),
        questions=sum(need.questions for need in needs),
        work=max((need.work for need in needs), default=0),
        free=free_bytes(place),
    )


def size(count: int) -> str:
    """A number of bytes for a person's eye."""
    return f'{count / 2**30:.1f} GiB' if count >= 2**30 else f'{count / 2**20:.0f} MiB'


@dataclass(frozen=True)
class _Need:
    """One stream: tokens that its memory holds (`slots`), and that one round brings (`new`)."""

    config: ModelConfig
    dtype: torch.dtype
    settings: StreamSettings
    slots: int
    new: int

    def planes(self, slots: int) -> int:
        """Bytes of a memory of so many tokens."""
        return Cache(self.config.text, slots, self.dtype, META, self.settings.lays_anew).bytes

    @property
    def questions(self) -> int:
        """Bytes of the second memory, with room for a question and its answer."""
        asked = self.settings.ask_tokens
        return self.planes(self.slots + asked) if asked else 0

    @property
    def work(self) -> int:
        """Bytes that a round takes beside weights and planes, at most.

        Counted are patches and features, the mask of a prefill against a full memory, the largest
        of the steps that follow each other, with what lives at once in one layer, and `SPARE`.
        """
        text, vision, each = self.config.text, self.config.vision, self.dtype.itemsize
        again = self.settings.policy == 'recompute'  # everything in memory is encoded anew
        tokens = self.settings.max_vision_tokens * math.ceil(self.settings.frames_per_round / 2)
        patches = tokens * vision.merge_size**2
        pixels = vision.in_channels * vision.temporal_patch * vision.patch_size**2
        seen, keys = vision.hidden_size, text.kv_heads * text.head_dim
        turned = (text.heads + text.kv_heads) * text.head_dim
        new = self.slots if again else self.new
        read = min(PIECE, new)
        mask = (text.heads // text.kv_heads + 2) * read * self.slots * each
        steps = (
            patches * pixels * (1 + FLOAT + each),
            patches * _layer(seen, 2 * seen, seen, vision.intermediate_size, each),
            self.slots * (keys * (5 * FLOAT + each) + text.head_dim * 6 * FLOAT),
            read * _layer(text.hidden_size, turned, keys, text.intermediate_size, each),
            6 * FLOAT * text.vocab_size,
        )
        views = (self.settings.vision_rounds or 0) if again else 1
        features = views * (patches * pixels + tokens * text.hidden_size) * each
        return features + new * text.hidden_size * each + mask + max(steps) + SPARE


def _need(
    config: ModelConfig, dtype: torch.dtype, tokenizer: ChatTokenizer, settings: StreamSettings
) -> _Need:
    prompt = Prompt(tokenizer, settings)
    new = sum(tokens_per_role(prompt, settings).values())
    return _Need(config, dtype, settings, capacity(prompt, settings), new)


def _layer(hidden: int, rotated: int, values: int, inner: int, each: int) -> int:
    """Bytes of a token in one layer: its attention or its feed-forward, whichever is more."""
    attention = (2 * hidden + 4 * rotated + 2 * values) * each + 5 * rotated * FLOAT
    return max(attention, (2 * hidden + 3 * inner) * each)


def _weights(config: ModelConfig, dtype: torch.dtype) -> int:
    weights = weights_of(*blank(config, 'matmul'))
    return sum(
        w.numel() * (dtype if w.is_floating_point() else w.dtype).itemsize
        for w in weights.values()
    )
