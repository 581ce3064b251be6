# SPDX-License-Identifier: Apache-2.0
"""Inf-Streams-Eval: whole games with the words of their commentators.

Captions begin at second 1000, as published; what was said until then is previous text. Judged are
the windows of `score_all_clips.jsonl`, or where there is no such file segments of the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from svlm_core.errors import SourceError
from svlm_core.evaluation.judges import TASK
from svlm_core.evaluation.streams.benchmark import Benchmark, Setting, Stretch, inside
from svlm_core.evaluation.windows import Reference, Window, read_references, read_windows

WORDS = 'eval_all_metadata.jsonl'
CLIPS = 'score_all_clips.jsonl'
BEGIN, SEGMENT, MIN_WORDS = 1000, 100, 200  # as published

QUERY = (
    'You are the live commentator of this match. Call what happens as it happens, at the pace of '
    'a broadcast, and go on from what was said before. Say only what can be seen.'
)


def read(folder: Path, begin: int = BEGIN, segment: int = SEGMENT) -> Benchmark:
    """The benchmark in a folder of official files; `begin` and `segment` are in seconds.

    Windows in which something is said by `begin` are no part of it; a word that is being said
    then belongs to the window in which it ends. Raises SourceError, naming file, line and field.
    """
    official = files(folder)
    words, last = official[0], official[-1]
    games = {game.video: game for game in read_references(words)}
    every = read_windows(last, segment, MIN_WORDS)
    for video in games:
        inside(video, words)
    for window in every:
        if window.video not in games:
            raise SourceError(f'{last}: {words.name} has no words of {window.video}')
    windows = tuple(
        replace(window, start=max(window.start, begin))
        for window in every
        if window.said[0].end > begin < window.end
    )
    if not windows:
        raise SourceError(f'{last} has no window from {begin} s on: give an earlier --begin')

    def stretches(setting: Setting) -> list[Stretch]:
        return [
            Stretch(video, start, end, games[video].title, said_before(games[video], start))
            for video, of in _by_video(windows).items()
            for start, end in _spans(of, setting, begin, segment)
        ]

    return Benchmark(
        'inf-streams', folder, official, windows, stretches, lambda stretch: QUERY, TASK
    )


def files(folder: Path) -> tuple[Path, ...]:
    """The words of all games, and the windows where they are given."""
    words, clips = folder / WORDS, folder / CLIPS
    return (words, clips) if clips.is_file() else (words,)


def said_before(game: Reference, second: float) -> str:
    """All that the reference has said by then."""
    return ' '.join(item.text.strip() for item in game.said if item.end <= second)


def _spans(
    windows: Sequence[Window], setting: Setting, begin: int, segment: int
) -> list[tuple[int, int]]:
    """What is captioned of a video: nothing behind the last window, and no chunk without one."""
    last = max(window.end for window in windows)
    if setting == 'endless':
        return [(begin, last)]
    if setting == 'windows':
        return [(window.start, window.end) for window in windows]
    chunks = [(start, min(start + segment, last)) for start in range(begin, last, segment)]
    return [
        (start, end)
        for start, end in chunks
        if any(window.start < end and start < window.end for window in windows)
    ]


def _by_video(windows: Sequence[Window]) -> Mapping[str, list[Window]]:
    found: dict[str, list[Window]] = {}
    for window in windows:
        found.setdefault(window.video, []).append(window)
    return found
