# SPDX-License-Identifier: Apache-2.0
"""Small benchmarks of commentary, written by hand to the official schema, with videos to watch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np

CLUBS = {'basketball/a.mp4': 'Lions vs Bears', 'soccer/b.mp4': 'Reds vs Blues'}


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def film(path: Path, seconds: int, shade: int = 20, kind: str = 'mp4') -> Path:
    """A video of two frames a second, each grey a little lighter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w', format=kind) as container:
        stream = container.add_stream('mpeg4', rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for number in range(2 * seconds):
            picture = np.full((48, 64, 3), shade + 4 * number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def words(start: int, end: int) -> list[list[Any]]:
    """Two words that end in every second: `w3 x3` in the one up to second 3."""
    return [
        [second - 0.5 * (2 - n), second - 0.5 * (1 - n), f'{letter}{second}']
        for second in range(start + 1, end + 1)
        for n, letter in enumerate('wx')
    ]


def inf_streams(folder: Path, seconds: int = 20) -> Path:
    """Two games of so many seconds, as published: words of all, and windows of 5 s from 10 on."""
    games = [
        {'video': video, 'title': title, 'content': words(0, seconds)}
        for video, title in CLUBS.items()
    ]
    lines(folder / 'eval_all_metadata.jsonl', *games)
    clips = [
        {
            'video': game['video'],
            'title': game['title'],
            'content': words(start, start + 5),
            'preasr': ' '.join(word for _, _, word in words(0, start)),
        }
        for game in games
        for start in range(10, seconds, 5)
    ]
    lines(folder / 'score_all_clips.jsonl', *clips)
    for number, video in enumerate(CLUBS):
        film(folder / video, seconds, shade=20 + 10 * number)
    return folder


def event(number: int, begin: float, end: float, **more: Any) -> dict[str, Any]:
    """An event of LiveSports-3K with all fields of the official file."""
    timed = [[begin, end - 1, f'He runs {number}.'], [end - 1, end, 'He scores!']]
    return {
        'video_id': 'LEsNb',
        'url': 'https://www.youtube.com/watch?v=LEsNb',
        'event_id': number,
        'begin': begin,
        'end': end,
        'event_type': 1,
        'video': 'LEsNb.mp4',
        'class': 'Cricket',
        'event_title': f'Event {number}',
        'event_asr': json.dumps(timed),
        'event_asr_text': f'He runs {number}. He scores!',
        'preasr': '[[0.0, 1.0, "Welcome."]]',
        'preasr_text': 'Welcome.',
        **more,
    }


def live_sports(folder: Path) -> Path:
    """Three events of two videos, as the Hub has them."""
    rows = [
        event(1, 2.5, 6.0),
        event(2, 8.0, 11.2),
        event(7, 1.0, 5.0, video_id='ZZ', video='ZZ.mp4', preasr='', preasr_text='',
              **{'class': 'Golf'}),
    ]  # fmt: skip
    path = folder / 'LiveSports-3K-CC.json'
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1))
    film(folder / 'LEsNb.mp4', 12)
    film(folder / 'ZZ.mp4', 6)
    return folder
