# SPDX-License-Identifier: Apache-2.0
"""A brute-force StreamingVLM: slow, simple, and written from the paper, not from `svlm_core`.

The memory is a plain list of tokens. Each forward walks the whole list, lays every position,
rotates every key and expands every KV head from scratch, in float64; nothing is kept between
forwards but what each token carries. The vision tower is stock transformers. What the engine
says must be what this says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

Array = np.ndarray
Choice = Callable[[Array], int]  # penalised scores (vocabulary,) -> the token that is said

CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(eq=False)
class Entry:
    """One token of the memory.

    `part` is one of system, pinned, opening, said, closing (of previous text), and of a round
    user, time, vision, tail, assistant, reply, end. `cell` is (grid, row, column) of a vision
    token inside its block. `keys` (layers, KV heads, head size) are unrotated; `place` (3,) is
    the position a token was first forwarded at, for native RoPE.
    """

    id: int
    part: str
    round: int = -1
    cell: tuple[int, int, int] | None = None
    feature: Tensor | None = None
    keys: Any = None
    values: Any = None
    place: Array | None = None


@dataclass(frozen=True)
class Heard:
    """What one round did: the ids before it spoke, the ids it said, their logits (said,
    vocabulary) before any penalty, the positions (3, forwarded), and the ids it left."""

    context: list[int]
    said: list[int]
    logits: Array
    positions: Array
    kept: list[int]


class Oracle:
    """One stream. `settings` is read by attribute: any object with the names of StreamSettings."""

    def __init__(self, model: NaiveModel, settings: Any) -> None:
        self.model = model
        self.settings = settings
        self.quirks = settings.published_quirks
        self.memory = self._opening()
        self.round = 0
        self.last_place = np.float32(-1)

    def step(self, frames: Array, start: float, choose: Choice) -> Heard:
        """One round: frames (T, H, W, 3) uint8 from stream second `start` on."""
        reset = self._make_room()
        self.memory += self._prompt(frames, start, ask=self.round == 0 or reset)
        context = self.ids()
        said: list[int] = []
        logits: list[Array] = []
        while len(said) < self.settings.max_new_tokens:
            logits.append(self._forward())
            token = choose(self._penalised(logits[-1], self.ids()))
            said.append(token)
            self._say(token)
            if token in self.model.end_ids:
                break
        positions = self._positions([entry for entry in self.memory if entry.keys is not None])
        if self.memory[-1].part != 'end':
            self._say(self.model.id('<|im_end|>'))
        self.round += 1
        return Heard(context, said, np.stack(logits), positions, self.ids())

    def ids(self) -> list[int]:
        return [entry.id for entry in self.memory]

    # -- the layout of the conversation --------------------------------------------------------

    def _opening(self) -> list[Entry]:
        text, plain, s = self.model.text, self.model.plain, self.settings
        system = text('<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n')
        entries = [Entry(id, 'system') for id in system]
        if s.query and not self.quirks:
            pinned = text('<|im_start|>user\n') + plain(s.query) + text('<|im_end|>\n')
            entries += [Entry(id, 'pinned') for id in pinned]
        entries += [Entry(id, 'opening') for id in text('<|im_start|>previous text\n')]
        said = [Entry(id, 'said') for id in plain(s.previous_text)]
        entries += said if self.quirks else self._trimmed(said)
        return entries + [Entry(id, 'closing') for id in text('<|im_end|>\n')]

    def _prompt(self, frames: Array, start: float, ask: bool) -> list[Entry]:
        text, s, i = self.model.text, self.settings, self.round
        entries = self._line_feed() if self.memory[-1].part == 'end' else []
        entries += [Entry(id, 'user', i) for id in text('<|im_start|>user\n')]
        time = text(f'Time={start:.1f}-{start + s.chunk_seconds:.1f}s')
        entries += [Entry(id, 'time', i) for id in time]
        if s.vision_window != 0:
            entries += [Entry(id, 'vision', i) for id in text('<|vision_start|>')]
            features, cells = self.model.see(frames)
            pad = self.model.id('<|video_pad|>')
            entries += [
                Entry(pad, 'vision', i, cell, feature)
                for cell, feature in zip(cells, features, strict=True)
            ]
            entries += [Entry(id, 'vision', i) for id in text('<|vision_end|>')]
        tail = self.model.plain(s.query) if self.quirks and ask else []
        entries += [Entry(id, 'tail', i) for id in tail + text('<|im_end|>\n')]
        return entries + [Entry(id, 'assistant', i) for id in text('<|im_start|>assistant\n')]

    def _line_feed(self) -> list[Entry]:
        return [Entry(id, 'end', self.round - 1) for id in self.model.text('\n')]

    def _say(self, token: int) -> None:
        end = self.model.id('<|im_end|>')
        if token in self.model.end_ids and not self.quirks:
            token = end  # whatever ended the reply, its turn ends with the marker
        self.memory.append(Entry(token, 'end' if token == end else 'reply', self.round))

    # -- what leaves before a round ------------------------------------------------------------

    def _make_room(self) -> bool:
        """Evict for the round to come; True when the conversation starts again."""
        s, i = self.settings, self.round
        if i == 0 or s.policy == 'full_attention':
            return False
        if s.policy == 'window':
            reset = i % round(s.reset_every / s.chunk_seconds) == 0
            if reset:
                self._evict(vision_from=i, reply_from=i)
                self._forget_keys()
            return reset
        window = None if s.vision_window is None else round(s.vision_window / s.chunk_seconds)
        vision_from = 0 if window is None else i - window + 1
        reply_from = 0 if s.text_rounds is None else i - s.text_rounds + 1
        self._evict(vision_from, reply_from)
        if s.policy == 'recompute':
            self._forget_keys()
        elif s.text_refresh_interval and i % round(s.text_refresh_interval / s.chunk_seconds) == 0:
            self._refresh()
        return False

    def _refresh(self) -> None:
        """Forward the previous text as if nothing but the opening had ever been before it."""
        place = next((n for n, e in enumerate(self.memory) if e.part == 'said'), 0)
        said = [entry for entry in self.memory if entry.part == 'said']
        if not said:
            return
        later, self.memory = self.memory[place + len(said) :], self.memory[: place + len(said)]
        last = self.last_place
        for entry in said:
            entry.keys = entry.values = entry.place = None
        self.last_place = np.float32(place - 1)
        self._forward()
        self.memory, self.last_place = self.memory + later, last

    def _evict(self, vision_from: int, reply_from: int) -> None:
        """Keep the vision of rounds >= vision_from and the replies of rounds >= reply_from."""
        said = [entry for entry in self.memory if entry.part == 'said']
        for r in range(min(reply_from, self.round)):
            said += self._content(r)
        said = self._trimmed(said)
        if not all(map(_known, said)):
            self._forward_the_last_word()

        def stays(entry: Entry) -> bool:
            if entry.round < 0:
                return True
            if entry.part == 'vision':
                return entry.round >= vision_from
            if entry.part in ('user', 'tail'):
                return entry.round >= min(vision_from, reply_from)
            return entry.round >= reply_from

        parts = ('system', 'pinned', 'opening')
        before = [entry for entry in self.memory if entry.part in parts]
        after = [
            entry for entry in self.memory if entry.part not in (*parts, 'said') and stays(entry)
        ]
        for entry in said:
            entry.part, entry.round = 'said', -1
        self.memory = before + said + after

    def _content(self, r: int) -> list[Entry]:
        """The words of the reply of round r, if it is still in its place."""
        words = [entry for entry in self.memory if entry.round == r and entry.part == 'reply']
        if self.quirks or (words and words[-1].id == self.model.terminator):
            return words[:-1]
        return words

    def _trimmed(self, said: list[Entry]) -> list[Entry]:
        sink, window = self.settings.text_sink, self.settings.text_window
        if sink is None or window is None:
            return said
        recent = max(window - 1, 0) if self.quirks else window
        if len(said) <= sink + recent:
            return said
        return said[:sink] + said[len(said) - recent :]

    def _forward_the_last_word(self) -> None:
        """A word that moves before it was ever forwarded gets its keys where it was said.

        It goes with the end and the line feed that the next round would have begun with, so
        that native positions do not depend on it.
        """
        self.memory += self._line_feed()
        self._forward()

    def _forget_keys(self) -> None:
        for entry in self.memory:
            entry.keys = entry.values = entry.place = None
        self.last_place = np.float32(-1)

    # -- one forward ---------------------------------------------------------------------------

    def _forward(self) -> Array:
        """Run every token that has no keys yet; logits (vocabulary,) of the last one."""
        fresh = sum(not _known(entry) for entry in self.memory)
        assert not any(_known(entry) for entry in self.memory[len(self.memory) - fresh :])
        if self.settings.rope == 'native':
            local = self._laid(self.memory[-fresh:]) + (self.last_place + np.float32(1))
            for entry, place in zip(self.memory[-fresh:], local.T, strict=True):
                entry.place = place
            self.last_place = local[0, -1]
        # The published code multiplies position and frequency in float32; exact is float64.
        precision = np.float32 if self.quirks else np.float64
        positions = self._positions(self.memory).astype(precision)
        return self.model.forward(self.memory, fresh, positions)

    def _positions(self, entries: Sequence[Entry]) -> Array:
        """(3, entries) float32: t, h, w of each."""
        if self.settings.rope == 'native':
            return np.stack([entry.place for entry in entries if entry.place is not None], 1)
        return self._laid(entries)

    def _laid(self, entries: Sequence[Entry]) -> Array:
        """(3, entries): text counts on, a grid spreads from the next number of its text run.

        With plain positions every entry has the next number, whatever it is.
        """
        if self.settings.rope == 'plain':
            return np.stack([np.arange(len(entries), dtype=np.float32)] * 3)
        per_grid = np.float32(2 / self.settings.fps * self.model.tokens_per_second)
        start, length, blocks = np.float32(0), np.float32(0), []
        for is_text, run in groupby(entries, lambda entry: entry.cell is None):
            if is_text:
                count = np.arange(len(list(run)), dtype=np.float32)
                blocks.append(np.stack([count + start] * 3))
                length = np.float32(len(count))
            else:
                cells = np.array([entry.cell for entry in run], np.float32).T
                cells[0] *= per_grid
                blocks.append(cells + length + start)
                start = blocks[-1].max() + np.float32(1)
        return np.concatenate(blocks, axis=1)

    def _penalised(self, logits: Array, ids: Iterable[int]) -> Array:
        penalty = self.settings.sampling.repetition_penalty
        scores = logits.copy()
        for id in set(ids):
            scores[id] = scores[id] * penalty if scores[id] < 0 else scores[id] / penalty
        return scores


def _known(entry: Entry) -> bool:
    return entry.keys is not None


class NaiveModel:
    """A Qwen2.5-VL checkpoint folder: its tokenizer, its decoder by hand, its stock tower."""

    def __init__(self, folder: Path) -> None:
        config: Any = Qwen2_5_VLConfig.from_pretrained(folder)
        self.c, eyes = config.text_config, config.vision_config
        self.tokens_per_second = eyes.tokens_per_second
        self.patch, self.merge = eyes.patch_size, eyes.spatial_merge_size
        stored = load_file(folder / 'model.safetensors')
        self.w = {name: tensor.double() for name, tensor in stored.items()}
        self.tower = modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel._from_config(
            eyes, attn_implementation='sdpa'
        )
        self.tower.load_state_dict(
            {
                name.removeprefix('visual.'): tensor
                for name, tensor in stored.items()
                if name.startswith('visual.')
            }
        )
        self.tower.eval()
        self._words = Tokenizer.from_file(str(folder / 'tokenizer.json'))
        self._letters = Tokenizer.from_file(str(folder / 'tokenizer.json'))
        self._letters.encode_special_tokens = True
        ends = json.loads((folder / 'generation_config.json').read_text())['eos_token_id']
        self.end_ids = set(ends if isinstance(ends, list) else [ends])
        (self.terminator,) = self.text(' ...')
        rope = json.loads((folder / 'config.json').read_text())
        self.sections = rope['rope_scaling']['mrope_section']
        size = self.c.hidden_size // self.c.num_attention_heads
        exponents = torch.arange(0, size, 2).float() / size
        self.frequencies = (1 / rope['rope_theta'] ** exponents).numpy()  # (head size / 2,)

    def text(self, text: str) -> list[int]:
        """Ids of text in which special tokens are special."""
        return self._words.encode(text, add_special_tokens=False).ids

    def plain(self, text: str) -> list[int]:
        """Ids of text in which they are only letters."""
        return self._letters.encode(text, add_special_tokens=False).ids

    def id(self, token: str) -> int:
        return self.text(token)[0]

    def see(self, frames: Array) -> tuple[Tensor, list[tuple[int, int, int]]]:
        """Features (tokens, hidden) of frames whose sides are multiples of a merged patch, and
        the (grid, row, column) of each."""
        pixels = (frames.astype(np.float32) / 255 - CLIP_MEAN) / CLIP_DEVIATION
        if len(pixels) % 2:
            pixels = np.concatenate([pixels, pixels[-1:]])
        T = len(pixels) // 2
        H, W = (side // (self.patch * self.merge) for side in frames.shape[1:3])
        cells = list(product(range(T), range(H), range(W)))
        patches = []
        for t, row, column in cells:
            for y, x in product(range(self.merge), repeat=2):
                top = (row * self.merge + y) * self.patch
                left = (column * self.merge + x) * self.patch
                patch = pixels[2 * t : 2 * t + 2, top : top + self.patch, left : left + self.patch]
                patches.append(patch.transpose(3, 0, 1, 2).ravel())  # colour, frame, y, x
        flat = torch.from_numpy(np.stack(patches))
        grid = torch.tensor([[T, H * self.merge, W * self.merge]])
        with torch.inference_mode():
            seen = self.tower(flat, grid_thw=grid)
        features = getattr(seen, 'pooler_output', seen)
        return features.double(), cells

    @torch.inference_mode()
    def forward(self, memory: Sequence[Entry], fresh: int, positions: Array) -> Array:
        """Give the last `fresh` entries their keys and values; logits of the last entry.

        Every earlier entry has them already. positions (3, memory).
        """
        heads, shared = self.c.num_attention_heads, self.c.num_key_value_heads
        layers, size = self.c.num_hidden_layers, self.c.hidden_size // heads
        old = len(memory) - fresh
        cos, sin = self._turn(positions)
        x = torch.stack([self._embed(entry) for entry in memory[old:]])  # (fresh, hidden)
        future = torch.full((fresh, len(memory)), -torch.inf).triu(old + 1)
        keys = torch.empty(len(memory), layers, shared, size, dtype=torch.double)
        values = torch.empty_like(keys)
        if old:
            keys[:old] = torch.stack([entry.keys for entry in memory[:old]])
            values[:old] = torch.stack([entry.values for entry in memory[:old]])
        for n in range(layers):
            a = self._norm(x, f'layers.{n}.input_layernorm')
            q = self._linear(a, f'layers.{n}.self_attn.q_proj').view(fresh, heads, size)
            k = self._linear(a, f'layers.{n}.self_attn.k_proj').view(fresh, shared, size)
            v = self._linear(a, f'layers.{n}.self_attn.v_proj').view(fresh, shared, size)
            keys[old:, n], values[old:, n] = k, v
            q = _rotate(q, cos[old:], sin[old:]).permute(1, 0, 2)  # (heads, fresh, size)
            k = _rotate(keys[:, n], cos, sin).repeat_interleave(heads // shared, 1)
            k = k.permute(1, 2, 0)  # (heads, size, memory)
            v = values[:, n].repeat_interleave(heads // shared, 1)
            v = v.permute(1, 0, 2)  # (heads, memory, size)
            weights = (q @ k / size**0.5 + future).softmax(-1)
            mixed = (weights @ v).permute(1, 0, 2).reshape(fresh, heads * size)
            x = x + self._linear(mixed, f'layers.{n}.self_attn.o_proj')
            a = self._norm(x, f'layers.{n}.post_attention_layernorm')
            gate = self._linear(a, f'layers.{n}.mlp.gate_proj')
            up = self._linear(a, f'layers.{n}.mlp.up_proj')
            x = x + self._linear(gate * gate.sigmoid() * up, f'layers.{n}.mlp.down_proj')
        for entry, k, v in zip(memory[old:], keys[old:], values[old:], strict=True):
            entry.keys, entry.values = k.clone(), v.clone()
        return (self.w['lm_head.weight'] @ self._norm(x[-1], 'norm')).numpy()

    def _embed(self, entry: Entry) -> Tensor:
        if entry.feature is not None:
            return entry.feature
        return self.w['model.embed_tokens.weight'][entry.id]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = ((x * x).mean(-1, keepdim=True) + self.c.rms_norm_eps).sqrt()
        return x / scale * self.w[f'model.{name}.weight']

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f'model.{name}.weight'].T + self.w.get(f'model.{name}.bias', 0)

    def _turn(self, positions: Array) -> tuple[Tensor, Tensor]:
        """cos and sin (memory, 1, head size): each pair of channels listens to t, h or w."""
        axis = np.repeat([0, 1, 2], self.sections)  # (head size / 2,)
        angles = torch.from_numpy(positions[axis].T * self.frequencies).double()
        angles = torch.cat([angles, angles], dim=1)[:, None, :]
        return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (tokens, heads, head size) turned by its position, halves paired."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
