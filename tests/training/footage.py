# SPDX-License-Identifier: Apache-2.0
"""Small videos and rows of words about them, for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np


def film(path: Path, seconds: int, fps: int = 10) -> Path:
    """A video each second of which has a brightness of its own: 10 for the first, 20, ..."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '10'})
        stream.width, stream.height, stream.pix_fmt = 112, 112, 'yuv420p'
        for index in range(seconds * fps):
            picture = np.full((112, 112, 3), 10 + 10 * (index // fps), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def row(video: str = 'a.mp4', start: Any = 2.0, end: Any = 8.0, **changes: Any) -> list:
    """A row as LiveCC has it; `changes` of previous, text, words."""
    words = [[2.1, 2.4, 'Kick'], [2.5, 2.9, 'off.'], [3.0, 4.0, 'Wait.'], [6.2, 7.1, 'Saved!']]
    asked = {'type': 'text', 'text': changes.get('text', ''), 'title': 'A vs B'}
    if 'previous' in changes:
        asked['previous'] = changes['previous']
    stream = {'type': 'text_stream', 'text_stream': changes.get('words', words)}
    shown = {'type': 'video', 'video': video, 'video_start': start, 'video_end': end}
    return [
        {'role': 'user', 'content': [shown, asked]},
        {'role': 'assistant', 'content': [stream]},
    ]


def write_rows(path: Path, rows: list, index: str = '') -> Path:
    """A JSON Lines file; `index` of its lines is 'beside' it, 'inside' it or left out."""
    lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
    offsets = [sum(len(line.encode()) + 1 for line in lines[:n]) for n in range(len(lines))]
    inside = [json.dumps(offsets)] if index == 'inside' else []
    path.write_text('\n'.join([*lines, *inside]) + '\n')
    if index == 'beside':
        name = path.stem.removesuffix('_with_seeks') + '_seeks.jsonl'
        path.with_name(name).write_text(json.dumps(offsets))
    return path
