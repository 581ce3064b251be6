# SPDX-License-Identifier: Apache-2.0
"""What a video file holds, and whether it can be used: it must open, last and speak.

Packets are counted, not decoded: a film of two hours takes as long as reading it from the disk.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from svlm_core.curation.pipeline import Product, Stage, fingerprint
from svlm_core.curation.settings import Probing
from svlm_core.errors import SourceError
from svlm_core.video.sources import VideoFile


@dataclass(frozen=True)
class Facts:
    """What a video is; durations are in seconds."""

    title: str
    category: str
    duration: float
    audio: float
    width: int
    height: int
    fps: float
    video_codec: str
    audio_codec: str


def probing(videos: Path, settings: Probing) -> Stage:
    """The first stage."""

    def make(name: str, _: Any) -> Product:
        return probe(videos / name, settings)

    def also(name: str) -> str:
        about = _sidecar(videos / name)
        return fingerprint(videos / name) + (fingerprint(about) if about.is_file() else '')

    return Stage('probe', '', asdict(settings), make, also)


def probe(video: Path, settings: Probing) -> Product:
    """Look into a video."""
    try:
        facts, announced = _look(video)
    except SourceError as error:
        reason = str(error).replace(str(video), video.name)
        return Product(None, {'left_out': 1}, reason)
    reason = _objection(facts, announced, settings)
    counts = {'left_out': 1.0} if reason else {'passed': 1.0, 'seconds': round(facts.duration, 3)}
    return Product(asdict(facts), counts, reason)


def _objection(facts: Facts, announced: float | None, settings: Probing) -> str:
    """Why a video is of no use; empty where it is."""

    def differ(a: float, b: float) -> bool:
        return abs(a - b) > max(1.0, settings.tolerance * max(a, b))

    if announced is not None and differ(announced, facts.duration):
        return f'it announces {announced:.1f} s and holds {facts.duration:.1f} s'
    if not facts.audio:
        return 'it has no sound'
    if differ(facts.audio, facts.duration):
        return f'it has {facts.audio:.1f} s of sound for {facts.duration:.1f} s of pictures'
    if facts.duration < settings.min_seconds:
        return f'it lasts {facts.duration:.1f} s, less than {settings.min_seconds:g} s'
    return ''


def _look(video: Path) -> tuple[Facts, float | None]:
    """The facts of a video, and the duration that it announces. Raises SourceError."""
    if not video.stat().st_size:
        raise SourceError(f'{video} is empty (0 bytes)')
    with VideoFile(video) as opened:  # one frame is decoded
        announced = opened.duration
    try:
        with av.open(f'file:{video}', metadata_errors='ignore') as container:
            picture = container.streams.best('video')
            sound = container.streams.best('audio')
            assert isinstance(picture, av.VideoStream)  # or VideoFile would not have opened
            lengths = _lengths(container)
            title, category = _about(video)
            return Facts(
                title=title,
                category=category,
                duration=lengths.get(picture.index, 0.0),
                audio=0.0 if sound is None else lengths.get(sound.index, 0.0),
                width=picture.width,
                height=picture.height,
                fps=round(float(picture.average_rate or picture.guessed_rate or 0), 3),
                video_codec=picture.codec_context.name,
                audio_codec='' if sound is None else sound.codec_context.name,
            ), announced
    except av.FFmpegError as error:
        raise SourceError(f'{video} cannot be read to its end: {error.strerror}') from error


def _lengths(container: Any) -> dict[int, float]:
    """Seconds from the first packet of each stream to the end of its last one."""
    first, last = dict[int, float](), dict[int, float]()
    for packet in container.demux():
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size:
            continue
        number = packet.stream.index
        start = float(stamp * packet.time_base)
        end = start + float((packet.duration or 0) * packet.time_base)
        first[number] = min(start, first.get(number, start))
        last[number] = max(end, last.get(number, end))
    return {number: round(last[number] - first[number], 3) for number in last}


def _about(video: Path) -> tuple[str, str]:
    """Title and category, from the .info.json that downloaders leave; else the file's name."""
    about = _sidecar(video)
    try:
        content = json.loads(about.read_bytes())
        title, categories = content.get('title'), content.get('categories')
    except FileNotFoundError:
        return video.stem.replace('_', ' '), ''
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f'{about.name} cannot be read: {error}') from error
    category = categories[0] if isinstance(categories, list) and categories else ''
    return str(title or video.stem), str(category)


def _sidecar(video: Path) -> Path:
    return video.with_suffix('.info.json')
