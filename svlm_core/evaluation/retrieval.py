# SPDX-License-Identifier: Apache-2.0
"""ReKV-style retrieval (arXiv 2503.00540): frames that had left come back into the memory.

Every round the keys and values of some evicted frames, those that look most like the frames to
come, are put back between previous text and the rounds. It is an ablation, not a policy: the
paper finds that it disturbs a model that was trained on a fixed format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from svlm_core.rope import lay_out
from svlm_core.snapshot import State
from svlm_core.stream import Stream
from svlm_core.transcript import Role, Segment, Transcript
from svlm_core.view import look


@dataclass(frozen=True, eq=False)
class Block:
    """The frames of one round as the memory held them: planes (L, n, H, D) by name, and what the
    tower made of them, on average (hidden,)."""

    segment: Segment
    planes: dict[str, Tensor]
    looks: Tensor


class Retriever:
    """Keeps what a stream has seen, and brings the `count` most similar evicted rounds back."""

    def __init__(self, stream: Stream, count: int) -> None:
        self._stream, self._count = stream, count
        self._blocks: list[Block] = []
        self._newest = torch.empty(0)  # (hidden,) what the frames of the newest round look like

    @torch.inference_mode()
    def before(self, frames: np.ndarray) -> None:
        """Exchange what was brought back for what suits the `frames` of the round to come."""
        stream, window = self._stream, self._stream.settings.vision_rounds
        looks = self._newest = self._looks(frames)
        if not self._blocks or window is None:
            return
        gone = self._blocks[: -window + 1] if window > 1 else self._blocks
        close = sorted(gone, key=lambda b: -float(cosine_similarity(b.looks, looks, dim=0)))
        chosen = sorted(close[: self._count], key=lambda b: b.segment.round or 0)
        stream.restore(with_blocks(stream.state(), chosen))

    @torch.inference_mode()
    def after(self) -> None:
        """Keep what the round has put into the memory, of whose frames `before` was told."""
        held = self._stream.state().held
        number = max(n for n, s in enumerate(held.transcript.segments) if s.role is Role.VISION)
        low, high = held.transcript.starts[number : number + 2]
        planes = {name: plane[:, low:high].clone() for name, plane in held.filled.items()}
        segment = held.transcript.segments[number]
        self._blocks.append(Block(segment, planes, self._newest))

    def _looks(self, frames: np.ndarray) -> Tensor:
        stream = self._stream
        view = look(frames, stream.model, stream.settings, stream.limits.max_vision_tokens)
        return stream.model.vision(view.patches, view.grid).mean(0)


def with_blocks(state: State, blocks: Sequence[Block]) -> State:
    """A state in which `blocks`, and none that were there before, stand behind previous text.

    They count as frames of the newest round, so no policy evicts them at once.
    """
    held, segments = state.held, state.held.transcript.segments
    place = next(n for n, s in enumerate(segments) if s.role is Role.PREVIOUS_CLOSE) + 1
    end = next(n for n, s in enumerate(segments) if s.role is Role.USER)
    back = [replace(block.segment, round=state.rounds - 1) for block in blocks]
    transcript = Transcript((*segments[:place], *back, *segments[end:]))
    low, high = held.transcript.starts[place], held.transcript.starts[end]
    filled = {
        name: torch.cat([plane[:, :low], *(b.planes[name] for b in blocks), plane[:, high:]], 1)
        for name, plane in held.filled.items()
    }
    count = next(iter(filled.values())).shape[1]
    # Laid anew, as are the keys from there on, as soon as the next round changes the memory.
    laid = lay_out([(count + 1, None)], 0, 0, 0)
    changed = replace(
        held, transcript=transcript, filled=filled, positions=laid, base=0, stale=low
    )
    return replace(state, held=changed)
