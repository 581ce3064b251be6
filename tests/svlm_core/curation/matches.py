# SPDX-License-Identifier: Apache-2.0
"""Small matches: videos with a tone, what a recogniser heard in them, and a model that cleans."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 8000


def film(path: Path, seconds: float, sound: float | None = None, fps: int = 2) -> Path:
    """A video of grey pictures with `sound` seconds of a tone; None: as long as the pictures."""
    sound = seconds if sound is None else sound
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        video = container.add_stream('mpeg4', rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
        tone = container.add_stream('aac', rate=RATE, layout='mono') if sound else None
        for number in range(round(seconds * fps)):
            picture = np.full((48, 64, 3), number % 200, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(video.encode())
        if tone is not None:
            wave = np.sin(np.arange(round(sound * RATE)) * 440 * 2 * np.pi / RATE)
            for start in range(0, len(wave), 1024):
                piece = wave[None, start : start + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(piece, format='fltp', layout='mono')
                frame.sample_rate, frame.pts = RATE, start
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path


def sentence(start: float) -> str:
    """What is said from `start` on, in ten words; every sixth sentence praises a sponsor."""
    number = int(start)
    if number % 24 == 12:
        return f'This match at {number} is brought to you by Cola.'
    name = 'Jonson' if number % 8 == 0 else 'Smith'
    return f'At {number} {name} runs down the left and shoots high.'


def heard(seconds: int, quiet: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """What whisperX makes of a match: a sentence of ten words every four seconds."""
    segments = []
    for start in range(0, seconds - 3, 4):
        if quiet[0] <= start < quiet[1]:
            continue
        words = [
            {'word': word, 'start': start + 0.38 * n, 'end': start + 0.38 * n + 0.3, 'score': 0.9}
            for n, word in enumerate(sentence(start).split())
        ]
        text = f' {sentence(start)}'
        segments.append({'start': start, 'end': start + 3.8, 'text': text, 'words': words})
    return {'segments': segments, 'language': 'en'}


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def editor(request: dict[str, Any]) -> str:
    """A model that reads transcripts: no sponsors, Johnson has an h, and a sponsor is not live."""
    told = request['messages'][1]['content']
    if 'Sentences:' in told:
        lines = re.findall(r'^(\d+): (.*)$', told.partition('Sentences:')[2], re.M)
        live = [{'sentence': int(n), 'live': 'bored' not in text} for n, text in lines]
        return json.dumps({'sentences': live})
    rows = []
    for number, text in re.findall(r'^(\d+) \[.*?s\] (.*)$', told, re.M):
        decision = 'delete' if 'Cola' in text else 'edit' if 'Jonson' in text else 'keep'
        edited = text.replace('Jonson', 'Johnson') if decision == 'edit' else ''
        rows.append({'sentence': int(number), 'decision': decision, 'text': edited})
    return json.dumps({'decisions': rows})


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a curation but the replies of models, by name."""
    files = (path for path in folder.rglob('*') if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: p.read_bytes() for name, p in names.items() if not name.startswith('replies')}
