# SPDX-License-Identifier: Apache-2.0
"""The items of the paper as data: what each shows, and how every row of it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from svlm_core.evaluation.paper.published import EVENTS, EXAMS, GAMES, PUBLISHED, Values
from svlm_core.evaluation.streams.benchmark import Setting

INF, LIVE = 'inf-streams', 'livesports'
EXAM_NAMES = (
    'mvbench',
    'videomme',
    'longvideobench',
    'ovobench',
)  # as EXAMS
JUDGES = {INF: 'gpt-5', LIVE: 'gpt-4o-mini'}  # of the paper
CHUNK = 100  # seconds of a chunk, as published
RETRIEVED = 4  # rounds; nothing is published


@dataclass(frozen=True)
class Contestant:
    """Who captions a benchmark for a row, or a column.

    `model` is a name of GETS. In setting chunks it begins anew every `chunk` seconds; in setting
    windows it is behind an endpoint, and is shown each window at once.
    `previous` says whether it is told what was said before; `settings` lie over the published
    ones, `retrieved` rounds are brought back. Captions by the name `captions` may stand for it.
    """

    model: str
    setting: Setting = 'endless'
    chunk: int = CHUNK
    previous: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    retrieved: int = 0
    captions: str = ''


@dataclass(frozen=True)
class Item:
    """A table or figure: its rows by label. `category` of Inf-Streams-Eval alone is judged."""

    name: str
    title: str
    rows: Mapping[str, Contestant]
    category: str = ''
    note: str = ''

    @property
    def published(self) -> Values:
        return PUBLISHED[self.name]


def _text(sink: float, window: float) -> dict[str, Any]:
    return {'text_sink': _limit(sink), 'text_window': _limit(window)}


def _limit(tokens: float) -> int | None:
    return None if tokens == inf else int(tokens)


OURS = Contestant('streamingvlm')
QWEN = Contestant('qwen', 'chunks')
_FULL = {'policy': 'full_attention'}


def _livecc(chunk: int | None) -> Contestant:
    """LiveCC forgets nothing, and is not told what was said before."""
    if chunk is None:
        return Contestant('livecc', previous=False, settings=_FULL, captions='livecc-endless')
    named = 'livecc-chunks' if chunk == CHUNK else ''
    return Contestant('livecc', 'chunks', chunk, False, _FULL, captions=named)


def _sink(tokens: int) -> Contestant:
    return Contestant(f'sink-{tokens}', settings=_text(tokens, 512))


_POLICIES = (
    Contestant('streamingvlm', settings=_FULL),
    Contestant('streamingvlm', settings={'policy': 'window', 'reset_every': CHUNK, **_text(0, 0)}),
    Contestant('streamingvlm', settings={'policy': 'recompute'}),
    OURS,
)
_LIMITS = ((512, 0), (0, 512), (256, 256), (1024, 1024))
_CHUNKS = (25, 50, 100, 500, None)


def _rows(name: str, *contestants: Contestant) -> dict[str, Contestant]:
    return dict(zip(PUBLISHED[name], contestants, strict=True))


def _item(name: str, title: str, *contestants: Contestant, **more: str) -> Item:
    return Item(name, title, _rows(name, *contestants), **more)


ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        _item('table-1', 'Captioning: win rates', QWEN, _livecc(CHUNK), _livecc(None), OURS),
        _item(
            'table-2', 'Retrieval of evicted rounds (ReKV): win rates',
            Contestant('qwen', retrieved=RETRIEVED),
            Contestant('streamingvlm', retrieved=RETRIEVED), OURS,
            note=f'Here {RETRIEVED} rounds of a second are brought back in each layer. The paper '
            'does not say how much it brings back; the default of ReKV is 64 blocks of a frame.',
        ),
        _item('table-3', 'Questions about videos: accuracy', Contestant('qwen'), OURS),
        _item(
            'table-4', 'Positions: win rates',
            Contestant('streamingvlm', 'chunks', settings={'rope': 'native'}),
            Contestant('streamingvlm', settings={'rope': 'native'}),
            OURS,
        ),
        _item(
            'table-5-left', 'Text sink and window: win rates',
            *(Contestant('streamingvlm', settings=_text(*pair)) for pair in _LIMITS),
            Contestant('unlimited', settings=_text(inf, inf)),
            Contestant('streamingvlm', settings=_text(512, 512)),
            category='basketball',
        ),
        _item(
            'table-5-right', 'Vision window: win rates',
            *(Contestant('streamingvlm', settings={'vision_window': v})
              for v in (0, 1, 4, 8, 16, 32)),
        ),
        _item(
            'table-6', 'Data of training: win rates and accuracy',
            QWEN, Contestant('sft-live-whisperx'), Contestant('sft-inf-streams'),
            Contestant('annealed'),
            note='The paper has 44.21 for Gemini in Table 1.',
        ),
        _item(
            'table-7', 'Chunks of training: win rates and accuracy',
            Contestant('not-overlapped'), Contestant('overlapped'),
            note='The column of LiveCC is the same in both rows of the paper.',
        ),
        _item(
            'table-8', 'Text sink of training and inference: win rates',
            *(_sink(tokens) for tokens in (64, 128, 256, 512, 1024)), category='basketball',
            note='The paper does not name the subset; its row 512 is that of Table 5.',
        ),
        _item('fig-1', 'Policies: win rates', *_POLICIES),
        _item(
            'fig-6', 'Length of chunks: win rates',
            *(Contestant('streamingvlm', 'chunks', c) if c else OURS for c in _CHUNKS),
            *(_livecc(c) for c in _CHUNKS),
        ),
        _item(
            'fig-7', 'Policies: milliseconds a token over a stream', *_POLICIES,
            note='Published values are read off the plot; (a) is out of memory after 225 s there.',
        ),
        _item(
            'fig-8', 'Policies: win rates over a video', *_POLICIES,
            note='Which of the last two rows of the paper is which was read off the figure.',
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """Captions that others are compared with: the benchmark, and the name in --captions.

    Where they are not given, `maker` makes them, if there is one. `stand_in` says of the embedded
    model what it does instead.
    """

    benchmark: str
    captions: str
    stand_in: Contestant
    maker: Contestant | None = None


_MINI = Contestant('gpt-4o-mini', 'windows', previous=False)
_NO_TEXT = {'policy': 'window', 'reset_every': CHUNK, **_text(0, 0)}
COLUMNS: dict[str, Column] = {
    **dict(zip(GAMES, (
        Column(INF, 'gpt-4o-mini', Contestant('', 'chunks', CHUNK, False, _NO_TEXT), _MINI),
        Column(
            INF, 'livecc-chunks', Contestant('', 'chunks', CHUNK, False, _FULL), _livecc(CHUNK)
        ),
        Column(INF, 'livecc-endless', Contestant('', previous=False, settings=_FULL),
               _livecc(None)),
    ), strict=True)),
    **dict(zip(EVENTS, (
        Column(LIVE, 'llava', Contestant('', settings={'vision_window': 1})),
        Column(LIVE, 'gpt-4o', Contestant('', previous=False, settings=_text(0, 0))),
        Column(LIVE, 'gemini', Contestant('', settings={'vision_window': 0})),
        Column(LIVE, 'livecc-events', Contestant('', previous=False, settings=_FULL),
               _livecc(None)),
    ), strict=True)),
}  # fmt: skip
EXAMS_BY_COLUMN = dict(zip(EXAMS, EXAM_NAMES, strict=True))
