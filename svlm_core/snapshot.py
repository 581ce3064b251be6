# SPDX-License-Identifier: Apache-2.0
"""The memory of a stream in a file, from which another stream goes on to the bit.

The file is safetensors: numbers, and a JSON header in its metadata. Nothing in it is code. It is
sound, and of this model and these settings, or it is refused before the stream that loads it has
changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from svlm_core import outline as outlines
from svlm_core.capacity import room_for_pinned
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.memory import Held
from svlm_core.model.checkpoint import Model
from svlm_core.model.vision import merged_grid
from svlm_core.outline import Outline
from svlm_core.transcript import Role, Transcript
from svlm_core.view import View

if TYPE_CHECKING:
    from svlm_core.stream import Stream

FORMAT, VERSION = 'svlm memory', 2
LONGEST_HEADER = 2**24  # bytes
SAME = (  # settings that shape what is held: a memory is loaded with those it was saved with
    'policy', 'rope', 'published_quirks', 'vision_window', 'text_rounds', 'text_sink',
    'text_window', 'reset_every', 'fps', 'chunk_seconds',
)  # fmt: skip
ROOM = ('max_new_tokens', 'max_vision_tokens', 'ask_tokens')  # and with no less of these
FLOATS = ('F32', 'BF16', 'F16')  # as safetensors names them
UNREADABLE = (
    SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
)  # fmt: skip

Shapes = dict[str, tuple[tuple[int, ...], tuple[str, ...]]]  # of tensors, and types they may have


@dataclass(frozen=True)
class State:
    """All that a stream must know to go on; `random` are bytes (n,) uint8."""

    held: Held
    views: Mapping[int, View]
    rounds: int
    seconds: float
    query: str
    pins: tuple[str, ...]
    random: Tensor


def save(stream: Stream, path: Path | str) -> None:
    """Write all that a stream knows; the file appears only when it is complete.

    A reply that is still being read is cut. Raises SettingsError before the first round,
    OutputError when the file cannot be written.
    """
    path, state = Path(path), stream.state()
    header = json.dumps(_header(stream, state))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in _tensors(state).items()}
    digest = _digest(header, tensors)
    notes = {'format': FORMAT, 'version': str(VERSION), 'header': header, 'sha256': digest}
    part = path.with_name(f'.{path.name}.part')
    try:
        save_file(tensors, part, notes)
        with part.open('rb') as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (SafetensorError, OSError) as error:
        raise OutputError(f'{path} cannot be written: {_line(error)}') from error
    finally:
        with suppress(OSError):
            part.unlink()


def load(stream: Stream, path: Path | str) -> None:
    """Take over what another stream knew: this one goes on where that one was saved.

    `Stream.seconds` tells at which second. Query and pinned sentences come along; limits and
    sampling are those of the stream that loads. In another dtype the numbers are rounded.
    Raises SourceError when the file is damaged or is no memory, SettingsError when it is one of
    another version, model, kind of device or settings, or has no room here. The stream is then
    as it was.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f'{path} is no file')
    with _reading(path):
        state = _read(stream, path)
    stream.restore(state)


# -- what is written ---------------------------------------------------------------------------


def _header(stream: Stream, state: State) -> dict[str, Any]:
    segments = state.held.transcript.segments
    outline = Outline(
        rows=tuple((s.role, len(s.ids), s.round, s.grid, s.seconds) for s in segments),
        encoded=stream.encoded,
        base=state.held.base,
        rounds=state.rounds,
        seconds=state.seconds,
        query=state.query,
        pins=state.pins,
        views={number: view.grid for number, view in state.views.items()},
    )
    return {
        'model': stream.model.identity,
        'device': stream.model.device.type,
        'settings': {name: getattr(stream.settings, name) for name in (*SAME, *ROOM, 'query')},
        **outlines.written(outline),
    }


def _tensors(state: State) -> dict[str, Tensor]:
    return {
        'ids': torch.tensor(state.held.transcript.ids),
        'slots': torch.from_numpy(state.held.slots),
        'positions': torch.from_numpy(state.held.positions),
        'random': state.random,
        **state.held.filled,
        **{f'patches.{number}': view.patches for number, view in state.views.items()},
    }


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# -- what is read ------------------------------------------------------------------------------


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise SourceError(
            f'{path} is no memory of a stream, or damaged: {_line(error)}'
        ) from error


def _line(error: Exception) -> str:
    """An error in one line; those that say little by themselves with their type."""
    telling = isinstance(error, ValueError | OSError | SafetensorError)
    text = str(error) if telling else f'{type(error).__name__} {error}'
    return ' '.join(text.split())[:200]


def _short(value: Any) -> str:
    return ' '.join(str(value).split())[:40]


def _read(stream: Stream, path: Path) -> State:
    with path.open('rb') as start:
        size = int.from_bytes(start.read(8), 'little')
    if size > LONGEST_HEADER:
        raise ValueError(f'its header claims {size} bytes')
    with safe_open(path, framework='pt') as file:
        notes = file.metadata() or {}
        if notes.get('format') != FORMAT:
            raise ValueError(f'its format is {notes.get("format")}')
        if notes['version'] != str(VERSION):
            raise SettingsError(
                f'{path} has version {_short(notes["version"])} of the format, and this svlm '
                f'reads version {VERSION}: load it with the svlm that saved it'
            )
        header = json.loads(notes['header'])
        _check_origin(header, stream, path)
        outline = outlines.read(header)
        _check_room(outline, stream, path)
        tensors = _read_tensors(file, _shapes(outline, stream))
    if _digest(notes['header'], tensors) != notes['sha256']:
        raise ValueError('its content does not have its checksum')
    return _state(outline, tensors, stream, path)


def _check_origin(header: Mapping[str, Any], stream: Stream, path: Path) -> None:
    """Raise SettingsError for the memory of another model, kind of device or settings."""
    model, saved = stream.model, header['settings']
    if header['model'] != model.identity:
        raise SettingsError(f'{path} is the memory of another model than {model.folder}')
    if header['device'] != model.device.type:
        raise SettingsError(
            f'{path} holds random numbers of {_short(header["device"])}, and the model is on '
            f'{model.device.type}: load it where it was saved'
        )
    asked = ('query',) if stream.settings.published_quirks else ()  # it may be asked again
    for name in (*SAME, *asked, *ROOM):
        theirs, ours = saved[name], getattr(stream.settings, name)
        if theirs != ours and (name not in ROOM or theirs > ours):
            raise SettingsError(
                f'{path} was saved with {name}={_short(theirs)}, and this stream has '
                f'{_short(ours)}: open it with the settings of the other'
            )


def _check_room(outline: Outline, stream: Stream, path: Path) -> None:
    if outline.size > stream.capacity:
        raise SettingsError(
            f'{path} holds {outline.size} tokens, and this stream has room for '
            f'{stream.capacity}: open it with a larger capacity'
        )
    room = room_for_pinned(stream.prompt, stream.settings)
    pinned = sum(row[1] for row in outline.rows if row[0] is Role.PINNED)
    if pinned > room:
        raise SettingsError(
            f'{path} holds {pinned} tokens of query and pinned sentences, and this stream has '
            f'room for {room}: open it with more query_tokens'
        )


def _shapes(outline: Outline, stream: Stream) -> Shapes:
    text, vision = stream.model.config.text, stream.model.config.vision
    planes = (text.layers, outline.encoded, text.kv_heads, text.head_dim)
    random = torch.Generator(stream.model.device).get_state().shape
    shapes: Shapes = {
        'ids': ((outline.size,), ('I64',)),
        'slots': ((outline.encoded,), ('I64',)),
        'positions': ((3, outline.encoded + 1 - outline.base), ('F32',)),
        'random': (tuple(random), ('U8',)),
        'keys': (planes, FLOATS),
        'values': (planes, FLOATS),
    }
    if stream.settings.lays_anew:
        shapes['unrotated'] = (planes, FLOATS)
    pixels = vision.in_channels * vision.temporal_patch * vision.patch_size**2
    for number, grid in outline.views.items():
        shapes[f'patches.{number}'] = ((prod(grid), pixels), FLOATS)
    return shapes


def _read_tensors(file: Any, shapes: Shapes) -> dict[str, Tensor]:
    """The tensors of a file, once all are known to have the shapes and types that they must."""
    if set(file.keys()) != set(shapes):
        raise ValueError('it does not hold what its header says')
    for name, (shape, types) in shapes.items():
        part = file.get_slice(name)
        if tuple(part.get_shape()) != shape or part.get_dtype() not in types:
            raise ValueError(f'{name} has not the shape or the type that its header says')
    # Copies: what is checked is what is used, whatever becomes of the file.
    return {name: file.get_tensor(name).clone() for name in shapes}


def _state(outline: Outline, tensors: Mapping[str, Tensor], stream: Stream, path: Path) -> State:
    """What the numbers mean, as far as they can be what a stream has saved."""
    model, ids = stream.model, tensors['ids']
    if ids.min() < 0 or ids.max() >= model.config.text.vocab_size:
        raise ValueError('it holds tokens that the model does not have')
    transcript = outlines.transcript(outline, ids.tolist(), stream.prompt.tokenizer.turn_end)
    _check_pinned(outline, transcript, stream)
    positions, slots = tensors['positions'], tensors['slots'].numpy()
    laid = positions[:, -1] if stream.settings.lays_anew else positions
    if positions.isinf().any() or not laid.isfinite().all():
        raise ValueError('its positions are none')
    if stream.settings.lays_anew and outline.base:
        raise ValueError('its positions do not begin with its first token')
    if not np.array_equal(np.sort(slots), np.arange(outline.encoded)):
        raise ValueError('its tokens do not stand each in a slot')
    planes = {
        name: _converted(tensors[name], model, path)
        for name in ('keys', 'values', 'unrotated')
        if name in tensors
    }
    return State(
        held=Held(transcript, planes, slots, positions.numpy(), outline.base),
        views=_views(outline, transcript, tensors, stream, path),
        rounds=outline.rounds,
        seconds=outline.seconds,
        query=outline.query,
        pins=outline.pins,
        random=_random(tensors['random'], model),
    )


def _check_pinned(outline: Outline, transcript: Transcript, stream: Stream) -> None:
    pinned = [s for s in transcript.segments if s.role is Role.PINNED]
    unknown = stream.settings.published_quirks and outline.pins
    if unknown or pinned != stream.prompt.pinned(outline.query, outline.pins):
        raise ValueError('its query and pinned sentences are not those in its memory')


def _views(
    outline: Outline,
    transcript: Transcript,
    tensors: Mapping[str, Tensor],
    stream: Stream,
    path: Path,
) -> dict[int, View]:
    """The frames that policy recompute will encode again: all of them, and of no other policy."""
    model, merge = stream.model, stream.model.config.vision.merge_size
    frames = {s.round: s.grid for s in transcript.segments if s.role is Role.VISION}
    if stream.settings.policy != 'recompute':
        frames = {}
    views = {
        number: View(
            _converted(tensors[f'patches.{number}'], model, path).to(model.device),
            grid,
            merged_grid(grid, model.config.vision),
        )
        for number, grid in outline.views.items()
    }
    whole = all(h % merge == w % merge == 0 for _, h, w in outline.views.values())
    if not whole or frames != {number: view.merged for number, view in views.items()}:
        raise ValueError('its frames are not those in its memory')
    return views


def _converted(tensor: Tensor, model: Model, path: Path) -> Tensor:
    converted = tensor.to(model.dtype)
    if not tensor.isfinite().all():
        raise ValueError('it holds numbers that are none')
    if not converted.isfinite().all():
        raise SettingsError(
            f'{path} holds numbers of {tensor.dtype} that are too large for {model.dtype}: load '
            'the model with the dtype that it was saved with'
        )
    return converted


def _random(state: Tensor, model: Model) -> Tensor:
    try:
        torch.Generator(model.device).set_state(state)
    except RuntimeError as error:
        raise ValueError('its random numbers are in no state that there is') from error
    return state
