# SPDX-License-Identifier: Apache-2.0
"""Memories that are damaged, or made to do harm: each is refused in one line, and no stream that
takes one for sound falls over it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from streams import noise, small, state, watch
from svlm_core import Stream, StreamingVLM
from svlm_core.errors import MemoryFull, SettingsError, SourceError
from svlm_core.snapshot import _digest, load, save

KINDS = [{}, {'rope': 'native', 'text_rounds': 1}, {'policy': 'recompute'}, {'policy': 'window'}]
often = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def stream_of(engine: StreamingVLM, kind: int = 0) -> Stream:
    return engine.open(small(**KINDS[kind], ask_tokens=48))


@pytest.fixture(scope='module')
def files(engine, tmp_path_factory) -> list[Path]:
    """The memories of streams of all kinds, each with an exchange and a pinned sentence."""
    folder, made = tmp_path_factory.mktemp('saved'), []
    for kind in range(len(KINDS)):
        stream = stream_of(engine, kind)
        watch(stream, range(5))
        stream.pin('mind the red ball')
        stream.keep(stream.fork().ask('what moves'))
        save(stream, folder / f'{kind}.memory')
        made.append(folder / f'{kind}.memory')
    return made


@pytest.fixture(scope='module')
def victims(engine) -> list[Stream]:
    """Streams that are made to load what must not be loaded."""
    streams = [stream_of(engine, kind) for kind in range(len(KINDS))]
    for stream in streams:
        watch(stream, range(2))
    return streams


def refused(stream: Stream, path: Path) -> str:
    """The line with which a stream refuses a file, and stays as it was."""
    before = state(stream), stream.pins, stream.seconds
    with pytest.raises((SourceError, SettingsError)) as caught:
        load(stream, path)
    assert (state(stream), stream.pins, stream.seconds) == before
    line = str(caught.value)
    assert '\n' not in line
    assert len(line) < 400 + len(str(path))
    return line


# -- damage -----------------------------------------------------------------------------------


@given(part=st.floats(0, 1, exclude_max=True))
@often
def test_a_file_that_was_cut_off_is_refused(files, victims, tmp_path, part):
    whole, cut = files[0].read_bytes(), tmp_path / 'cut.memory'
    cut.write_bytes(whole[: int(part * len(whole))])
    refused(victims[0], cut)


@given(data=st.data(), bit=st.integers(0, 7))
@often
def test_a_flipped_bit_is_refused_wherever_it_is(files, victims, tmp_path, data, bit):
    content = bytearray(files[0].read_bytes())
    header = 8 + int.from_bytes(content[:8], 'little')
    places = st.integers(0, header - 1) | st.integers(header, len(content) - 1)
    content[data.draw(places)] ^= 1 << bit
    spoiled = tmp_path / 'spoiled.memory'
    spoiled.write_bytes(content)
    refused(victims[0], spoiled)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{}',
        b'\xff' * 4096,
        (2**40).to_bytes(8, 'little') + b'{}',
        (2**24 + 1).to_bytes(8, 'little') + b' ' * (2**24 + 1),
        (2).to_bytes(8, 'little') + b'{}',
        b'PK\x03\x04 an archive of pickles',
    ],
    ids=lambda content: f'{content[:9]!r}',
)
def test_what_is_no_memory_is_refused(victims, tmp_path, content):
    other = tmp_path / 'other.memory'
    other.write_bytes(content)
    assert 'no memory of a stream, or damaged' in refused(victims[0], other)


def test_the_weights_of_a_model_are_no_memory(golden, victims):
    refused(victims[0], golden / 'checkpoint' / 'model.safetensors')


# -- forgery ----------------------------------------------------------------------------------

Change = Callable[[dict[str, Any], dict[str, Tensor]], object]


def forged(path: Path, target: Path, change: Change, **notes: str) -> Path:
    """A copy of a memory with its header and its numbers changed, and a checksum that fits."""
    with safe_open(path, framework='pt') as file:
        header = json.loads(file.metadata()['header'])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        before = file.metadata()
    change(header, tensors)
    text = notes.get('header') or json.dumps(header)
    sum_of_both = {'header': text, 'sha256': _digest(text, tensors)}
    save_file(tensors, target, {**before, **sum_of_both, **notes})
    return target


def test_an_untouched_copy_is_loaded(engine, files, tmp_path):
    for kind, path in enumerate(files):
        load(stream_of(engine, kind), forged(path, tmp_path / 'copy', lambda header, _: None))


@pytest.mark.parametrize(
    ('notes', 'complaint'),
    [
        ({'version': '1'}, 'has version 1 of the format, and this svlm reads version 2'),
        ({'version': '9' * 99}, 'has version 9{40} of'),
        ({'format': 'pt'}, 'its format is pt'),
        ({'header': '[' * 100_000}, 'no memory of a stream'),
        ({'header': '9' * 100_000}, 'no memory of a stream'),
        ({'header': '[]'}, 'no memory of a stream'),
        ({'header': '{}'}, 'no memory of a stream'),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_other_versions_and_other_formats_are_refused(files, victims, tmp_path, notes, complaint):
    path = forged(files[0], tmp_path / 'forged', lambda header, tensors: None, **notes)
    line = refused(victims[0], path)
    assert re.search(complaint, line)


def row(header: dict[str, Any], role: str, last: bool = False) -> list[Any]:
    rows = [r for r in header['rows'] if r[0] == role]
    return rows[-1 if last else 0]


def grow(header: dict[str, Any], count: int) -> None:
    row(header, 'SYSTEM')[1] += count


LIES: dict[str, Change] = {
    'another device': lambda h, t: h.update(device='tpu'),
    'a device of two lines': lambda h, t: h.update(device='t\npu'),
    'a policy of two lines': lambda h, t: h['settings'].update(policy='stream\ning'),
    'a limit that is no number': lambda h, t: h['settings'].update(max_new_tokens=[]),
    'a memory larger than all memories': lambda h, t: grow(h, 10**12),
    'keys of no token': lambda h, t: h.update(encoded=0),
    'more keys than tokens': lambda h, t: h.update(encoded=10**9),
    'positions that begin behind their end': lambda h, t: h.update(base=10**9),
    'frames without keys': lambda h, t: h.update(encoded=40) or [
        t.update({n: t[n][:, :40].contiguous()}) for n in ('keys', 'values', 'unrotated')
    ] or t.update(positions=t['positions'][:, :41].contiguous(), slots=torch.arange(40)),
    'no rounds': lambda h, t: h.update(rounds=0),
    'other rounds': lambda h, t: h.update(rounds=7),
    'a segment of a role that is none': lambda h, t: row(h, 'USER').__setitem__(0, 'BOSS'),
    'a frame without its grid': lambda h, t: row(h, 'VISION').__setitem__(3, None),
    'a frame with a grid of its own': lambda h, t: row(h, 'VISION').__setitem__(3, [7, 9, 1]),
    'a grid of nothing': lambda h, t: row(h, 'VISION').__setitem__(3, [0, 0, 0]),
    'a grid without end': lambda h, t: row(h, 'VISION').__setitem__(3, [2**40] * 3),
    'a frame at no time': lambda h, t: row(h, 'VISION').__setitem__(4, [float('nan'), 1]),
    'a time that overflows': lambda h, t: h.update(seconds=10**400),
    'text with a grid': lambda h, t: row(h, 'REPLY').__setitem__(3, [1, 1, 1]),
    'rounds in no order': lambda h, t: h['rows'].sort(key=lambda r: -(r[2] or 0)),
    'no system line': lambda h, t: h['rows'].pop(0),
    'no end of previous text': lambda h, t: row(h, 'PREVIOUS_CLOSE').__setitem__(0, 'PREVIOUS'),
    'an answer without a question': lambda h, t: row(h, 'QUESTION').__setitem__(0, 'TAIL'),
    'a reply without its end': lambda h, t: t['ids'][-row(h, 'REPLY', True)[1]:].fill_(9),
    'tokens that the model lacks': lambda h, t: t['ids'][3:4].fill_(512),
    'tokens below all others': lambda h, t: t['ids'][3:4].fill_(-1),
    'a query that is not in memory': lambda h, t: h.update(query='obey me'),
    'a pinned sentence that is not in memory': lambda h, t: h['pins'].append('obey me'),
    'a pinned sentence of two lines': lambda h, t: h.update(pins=['obey\nme']),
    'a query that is no text': lambda h, t: h.update(query=7),
    'half a character': lambda h, t: h.update(query='\ud800'),
    'keys that are no numbers': lambda h, t: t['keys'][0, 0].fill_(torch.nan),
    'values without end': lambda h, t: t['values'][0, 0].fill_(torch.inf),
    'positions that are no numbers': lambda h, t: t['positions'].fill_(torch.nan),
    'a position without end': lambda h, t: t['positions'][0, 0].fill_(torch.inf),
    'two tokens in one slot': lambda h, t: t['slots'][1].copy_(t['slots'][0]),
    'a token in no slot': lambda h, t: t['slots'][0].fill_(10**6),
    'a token in a slot below all': lambda h, t: t['slots'][0].fill_(-1),
    'positions that begin later': lambda h, t: h.update(base=1) or t.update(
        positions=t['positions'][:, 1:].contiguous()
    ),
    'whole numbers for keys': lambda h, t: t.update(keys=t['keys'].int()),
    'planes of another shape': lambda h, t: t.update(keys=t['keys'].flatten()),
    'a plane too few': lambda h, t: t.pop('unrotated'),
    'a tensor too many': lambda h, t: t.update(more=torch.zeros(3)),
    'frames that nobody will encode': lambda h, t: h.update(views=[[4, [1, 2, 2]]]) or t.update(
        {'patches.4': torch.zeros(4, 1176)}
    ),
    'random numbers of another generator': lambda h, t: t.update(random=t['random'][:16].clone()),
    'random numbers in no state': lambda h, t: t['random'].fill_(255),
}  # fmt: skip


@pytest.mark.parametrize('lie', LIES)
def test_a_lie_with_a_fitting_checksum_is_refused(files, victims, tmp_path, lie):
    refused(victims[0], forged(files[0], tmp_path / 'forged', LIES[lie]))


VIEWS: dict[str, Change] = {
    'none of the frames': lambda h, t: h.update(views=[]) or [
        t.pop(name) for name in list(t) if name.startswith('patches')
    ],
    'a frame less': lambda h, t: t.pop(f'patches.{h["views"].pop()[0]}'),
    'patches of another grid': lambda h, t: h['views'][-1].__setitem__(1, [1, 1, 4]),
    'patches that are no numbers': lambda h, t: t['patches.4'].fill_(torch.nan),
}  # fmt: skip


@pytest.mark.parametrize('lie', VIEWS)
def test_frames_to_encode_again_are_those_in_memory(files, victims, tmp_path, lie):
    refused(victims[2], forged(files[2], tmp_path / 'forged', VIEWS[lie]))


junk = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        2,
        3,
        2**53,
        2**70,
        1.5,
        float('nan'),
        float('inf'),
        '',
        'REPLY',
        [],
        {},
    ]
)


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths to everything in a header."""
    inside = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    return [path, *(leaf for key, part in inside for leaf in leaves(part, (*path, key)))]


@given(data=st.data(), kind=st.integers(0, len(KINDS) - 1))
@often
def test_junk_anywhere_in_a_header_is_refused_or_does_no_harm(engine, files, tmp_path, data, kind):
    def change(header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        before = copy.deepcopy(header)
        *way, last = data.draw(st.sampled_from(leaves(before)[1:]))
        inner = header
        for key in way:
            inner = inner[key]
        inner[last] = data.draw(junk)

    stream, path = stream_of(engine, kind), forged(files[kind], tmp_path / 'forged', change)
    try:
        load(stream, path)
    except (SourceError, SettingsError):
        refused(stream, path)
        return
    try:
        for number in range(5, 10):
            stream.step(noise(number), stream.seconds)
            stream.fork().ask('what now')
    except MemoryFull:
        stream.reset()
        watch(stream, range(2))
