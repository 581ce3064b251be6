# SPDX-License-Identifier: Apache-2.0
"""Replays a golden trace of the published system and counts every difference.

The replay runs free: it reads frames and settings, speaks for itself, and only then compares.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from svlm_core.capacity import whole_stream
from svlm_core.caption import Token
from svlm_core.config import Sampling, StreamSettings, preset
from svlm_core.engine import StreamingVLM
from svlm_core.errors import SettingsError, SourceError
from svlm_core.prompt import Prompt
from svlm_core.stream import Stream

LOGIT_TOLERANCE = 2e-4
CELL = 28  # pixels per side of a vision token in Qwen2.5-VL
UNREADABLE = (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Second:
    """What was computed in one second, by either side.

    `context` all retained ids with this second's prompt; `logits` (tokens, vocabulary) before
    any penalty; `positions` (3, tokens) of every retained token, None with native RoPE;
    `lengths` of the cache before the prefill and after the last forward.
    """

    context: tuple[int, ...]
    generated: tuple[int, ...]
    text: str
    logits: np.ndarray
    positions: np.ndarray | None
    lengths: tuple[int, int]


@dataclass(frozen=True)
class Report:
    """The differences of one case, over all its seconds."""

    case: str
    chunks: int
    context_mismatches: int
    token_mismatches: int
    text_mismatches: int
    length_mismatches: int
    position_max_diff: float | None
    logit_max_diff: float | None
    complete: bool  # every second was replayed, and every recorded number had its counterpart

    @property
    def exact(self) -> bool:
        """Whether every second was replayed and ids, positions and logits agree."""
        return (
            self.complete
            and self.context_mismatches == self.token_mismatches == 0
            and not self.position_max_diff
            and self.logit_max_diff is not None
            and self.logit_max_diff <= LOGIT_TOLERANCE
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


class Case:
    """A folder with `case.json` and `trace.npz`.

    Raises SourceError when a file is missing, damaged or incomplete, SettingsError for settings
    that this format does not have.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._folder = folder
        with self._reading():
            case = json.loads((folder / 'case.json').read_text(encoding='utf-8'))
            self._trace: Mapping[str, np.ndarray] = np.load(
                folder / 'trace.npz', allow_pickle=False
            )
            self.frames = self._trace['frames'].transpose(0, 1, 3, 4, 2)  # (s, T, H, W, 3)
            self._chunks = list(case['chunks'])
            given = case['settings']
            self._clock = float(given['start_time']), float(given['chunk_seconds'])
            self.settings = case_settings(given, *self.frames.shape[2:4])

    def __len__(self) -> int:
        return len(self._chunks)

    def start(self, number: int) -> float:
        """When a second begins, in seconds of stream, by the settings alone."""
        first, length = self._clock
        return first + number * length

    def recorded(self, number: int) -> Second:
        """What the published system computed in second `number`. Raises SourceError."""
        with self._reading():
            chunk, native = self._chunks[number], self.settings.rope == 'native'
            return Second(
                context=tuple(self._trace[f'context_ids_{number}'].tolist()),
                generated=tuple(chunk['generated']),
                text=chunk['text'],
                logits=self._table(f'logits_{number}'),
                positions=None if native else self._table(f'positions_{number}'),
                lengths=(chunk['kv_before'], chunk['kv_after']),
            )

    def _table(self, name: str) -> np.ndarray:
        table = self._trace[name].astype(np.float64)
        if table.ndim != 2:
            raise ValueError(f'{name} has the shape {table.shape}')
        return table

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            reason = f'{type(error).__name__}: {error}'
            raise SourceError(f'{self._folder} is not a golden case: {reason}') from error


def case_settings(given: Mapping[str, Any], height: int, width: int) -> StreamSettings:
    """Settings of the golden format as ours: preset `reference`.

    Frames are of `height` x `width` pixels, and are taken as they are.
    """
    if given['sampling'] != 'greedy':
        raise SettingsError(f'sampling={given["sampling"]!r}: golden cases are greedy')
    seconds = given['chunk_seconds']
    rounds = given['vision_window']
    return preset(
        'reference',
        policy=given['policy'],
        rope=given['rope'],
        vision_window=None if rounds is None else rounds * seconds,  # published in rounds
        text_rounds=given['text_rounds'],
        text_sink=given['text_sink'],
        text_window=given['text_window'],
        chunk_seconds=seconds,
        fps=given['fps'],
        max_new_tokens=given['max_new_tokens'],
        previous_text=given['previous_text'],
        query=given['query'],
        min_vision_tokens=1,
        max_vision_tokens=-(-height // CELL) * -(-width // CELL),
        sampling=Sampling(temperature=0, repetition_penalty=given['repetition_penalty']),
    )


def replay(case: Case, engine: StreamingVLM) -> Iterator[Second]:
    """What our engine computes, second by second, from the frames and settings alone."""
    # A case may ask for windows that it is far too short to fill.
    room = whole_stream(Prompt(engine.tokenizer, case.settings), case.settings, len(case.frames))
    stream = engine.open(replace(case.settings, capacity=room))
    for number, frames in enumerate(case.frames):
        yield replay_second(stream, frames, case.start(number))


def replay_second(stream: Stream, frames: np.ndarray, start: float) -> Second:
    """One round of the engine, with all that a golden trace records of it."""
    tokens: list[Token] = []
    for token in stream.tokens(frames, start):
        if not tokens:
            context = stream.transcript.ids
        tokens.append(token)
    assert stream.last is not None
    native = stream.settings.rope == 'native'
    return Second(
        context=context,
        generated=stream.last.ids,
        text=stream.last.text,
        logits=np.stack([t.logits.float().cpu().numpy() for t in tokens]),
        positions=None if native else stream.positions.copy(),
        lengths=(stream.reused, stream.encoded),
    )


def compare(case: Case, engine: StreamingVLM) -> Report:
    """Replay a case and hold it against its trace."""
    ours = list(replay(case, engine))
    theirs = [case.recorded(number) for number in range(min(len(case), len(ours)))]
    pairs = list(zip(ours, theirs, strict=False))
    positions = [_distance(a.positions, b.positions) for a, b in pairs if b.positions is not None]
    logits = [_distance(a.logits, b.logits) for a, b in pairs]
    return Report(
        case=case.name,
        chunks=len(ours),
        context_mismatches=sum(a.context != b.context for a, b in pairs),
        token_mismatches=sum(a.generated != b.generated for a, b in pairs),
        text_mismatches=sum(a.text != b.text for a, b in pairs),
        length_mismatches=sum(a.lengths != b.lengths for a, b in pairs),
        position_max_diff=max(positions) if positions else None,
        logit_max_diff=max(logits) if logits else None,
        complete=len(ours) == len(case) > 0 and all(_same_sizes(a, b) for a, b in pairs),
    )


def _distance(ours: np.ndarray | None, theirs: np.ndarray) -> float:
    """The largest difference where both have a value."""
    assert ours is not None  # only native RoPE has none, on either side
    shared = tuple(slice(min(a, b)) for a, b in zip(ours.shape, theirs.shape, strict=True))
    # JSON has neither NaN nor infinity: both become the largest number there is.
    apart = np.nan_to_num(np.abs(ours[shared] - theirs[shared]), nan=np.finfo(np.float64).max)
    return float(apart.max(initial=0))


def _same_sizes(ours: Second, theirs: Second) -> bool:
    """Whether every number of the one has its counterpart in the other."""
    tables = ((ours.logits, theirs.logits), (ours.positions, theirs.positions))
    return all(getattr(a, 'shape', None) == getattr(b, 'shape', None) for a, b in tables)
