# SPDX-License-Identifier: Apache-2.0
"""What stands in where there is nothing else: synthetic worlds as official files, small limits.

The embedded svlm-tiny learnt limits of 64 and 128 tokens where the paper has 512 and 512, and its
worlds last minutes; whatever the paper has in tokens or in seconds of a chunk is scaled to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svlm_core.errors import OutputError
from svlm_core.evaluation.paper.items import CHUNK, INF, LIVE, Contestant
from svlm_core.evaluation.plan import world
from svlm_core.evaluation.streams.infstreams import CLIPS, WORDS
from svlm_core.evaluation.streams.livesports import FILES
from svlm_core.synthetic.script import SKILLS
from svlm_core.synthetic.story import Story
from svlm_core.synthetic.video import render_video
from svlm_core.timeline import write_lines

SINK, WINDOW = 8, 4  # published tokens for each of svlm-tiny's
WINDOWS = 5  # of a world that are judged, as many as figure 8 has parts
SIDE, FPS = 112, 4
MADE = 'made.json'


@dataclass(frozen=True)
class Size:
    """How many worlds there are, and seconds of each; a chunk is a sixth of a world."""

    streams: int
    seconds: int

    @property
    def chunk(self) -> int:
        return self.seconds // (WINDOWS + 1)


def scaled(contestant: Contestant, size: Size) -> Contestant:
    """A contestant with the limits of svlm-tiny in place of the published ones."""
    settings = dict(contestant.settings)
    for name, part in (('text_sink', SINK), ('text_window', WINDOW)):
        if settings.get(name) is not None:
            settings[name] //= part
    if 'reset_every' in settings:
        settings['reset_every'] = size.chunk
    chunk = max(1, contestant.chunk * size.chunk // CHUNK)
    return replace(contestant, settings=settings, chunk=chunk)


def make(folder: Path, size: Size, seed: int) -> dict[str, Path]:
    """Worlds as videos with both benchmarks about them; their folders. What is there is kept.

    Raises OutputError.
    """
    places = {INF: folder / INF, LIVE: folder / LIVE}
    if (folder / MADE).is_file():
        return places
    try:
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
        seeds = [world(seed, number) for number in range(size.streams)]
        for one in seeds:
            for place in places.values():
                path = place / f'world-{one}.mp4'
                render_video(path, size.seconds, FPS, seed=one, height=SIDE, width=SIDE)
    except OSError as error:
        raise OutputError(f'{folder} cannot be made: {error.strerror}') from error
    told = {one: _told(one, size.seconds) for one in seeds}
    write_lines(places[INF] / WORDS, [_game(one, of) for one, of in told.items()])
    clips = [c for one, of in told.items() for c in _clips(one, of, size)]
    write_lines(places[INF] / CLIPS, clips)
    events = [e for one, of in told.items() for e in _events(one, of, size)]
    write_lines(places[LIVE] / FILES[1], events)
    write_lines(folder / MADE, [{'worlds': seeds, 'seconds': size.seconds, 'skills': len(SKILLS)}])
    return places


Words = Sequence[tuple[float, float, str]]


def _told(seed: int, seconds: int) -> Words:
    """The true captions of a world, each of its second."""
    story = Story(seed)
    every = ((second, story.second(second).caption) for second in range(seconds))
    return [(float(second), second + 1.0, text) for second, text in every if text]


def _within(told: Words, start: int, end: int) -> Words:
    return [item for item in told if start <= item[0] < end]


def _game(seed: int, told: Words) -> dict[str, Any]:
    return {'video': f'world-{seed}.mp4', 'title': f'World {seed}', 'content': told}


def _clips(seed: int, told: Words, size: Size) -> list[dict[str, Any]]:
    """Windows of the length of a chunk, from the second chunk on."""
    spans = [(n * size.chunk, (n + 1) * size.chunk) for n in range(1, WINDOWS + 1)]
    return [
        {**_game(seed, inside), 'preasr': _joined(_within(told, 0, start))}
        for start, end in spans
        if (inside := _within(told, start, end))
    ]


def _events(seed: int, told: Words, size: Size) -> list[dict[str, Any]]:
    """Two events of half a chunk."""
    length = max(size.chunk // 2, 1)
    spans = [(start, start + length) for start in (size.chunk, size.seconds // 2)]
    return [
        {
            'video': f'world-{seed}.mp4',
            'video_id': f'world-{seed}',
            'event_id': number,
            'begin': start,
            'end': end,
            'event_title': '',
            'preasr_text': _joined(_within(told, 0, start)),
            'event_asr_text': _joined(inside),
            'event_asr': inside,
        }
        for number, (start, end) in enumerate(spans)
        if (inside := _within(told, start, end))
    ]


def _joined(told: Words) -> str:
    return ' '.join(text for _, _, text in told)
