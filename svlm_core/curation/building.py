# SPDX-License-Identifier: Apache-2.0
"""A benchmark in the format of Inf-Streams-Eval, made of one's own videos and their words.

Videos are cut into segments; those in which enough is said are judged later. The words of whole
videos are there too, because captions begin after what was said before.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from svlm_core.curation.accounts import forget, record
from svlm_core.curation.chunking import words_of
from svlm_core.curation.manifest import CurationError, Manifest
from svlm_core.curation.pipeline import Workplace
from svlm_core.curation.settings import Building
from svlm_core.evaluation.streams.infstreams import CLIPS, WORDS
from svlm_core.timeline import as_line, make_folder, whole, write_whole

STEP = 'build-eval'
FOLDER = 'eval'
COUNTS = 'counts.json'
ALL = 'all'  # categories together


@dataclass(frozen=True)
class Game:
    """A video, with the segments of it that are judged: start, and places among its words."""

    video: str
    title: str
    category: str
    duration: float
    words: Sequence[list[Any]]
    segments: Sequence[tuple[int, int, int]]


def build_eval(place: Workplace, settings: Building) -> list[dict[str, Any]]:
    """Write the benchmark into the folder `eval` of a curation; counts, category by category.

    Videos without a segment in which enough is said are left out. A benchmark takes the place of
    the one before; `build-eval.json` is its record. Raises CurationError.
    """
    if place.shard.count > 1:
        raise CurationError('build-eval takes all videos: merge the shards first')
    names, folder, manifest = place.names(), place.output / FOLDER, place.manifest()
    sources = place.outputs(manifest, settings.stage, names)
    rows = list[dict[str, Any]]()
    make_folder(folder)
    with whole(folder / WORDS) as words, whole(folder / CLIPS) as clips:
        for game in _games(place, manifest, names, settings):
            words.write(_line(game, game.words))
            for start, first, last in game.segments:
                before = ' '.join(word[2] for word in game.words[:first])
                inside = [[max(s, start), e, text] for s, e, text in game.words[first:last]]
                clips.write(_line(game, inside, preasr=before))
            rows.append(_row(game, settings))
        if not rows:  # and what was there before stays
            raise CurationError(
                f'not one of {len(names)} videos has {settings.segment} s with '
                f'{settings.min_words} words'
            )
        forget(place.output, STEP)
    found = [_total(rows, category) for category in (*_categories(rows), ALL)]
    write_whole(folder / COUNTS, json.dumps({'rows': found}, ensure_ascii=False, indent=1) + '\n')
    files = [folder / name for name in (WORDS, CLIPS, COUNTS)]
    record(place.output, STEP, asdict(settings), sources, files, found[-1])
    return found


def _games(
    place: Workplace, manifest: Manifest, names: Sequence[str], settings: Building
) -> Iterator[Game]:
    """The videos in which enough is said, one by one."""
    for name, product in place.products(manifest, settings.stage, names):
        words = words_of(product['sentences'])
        segments = tuple(_segments(words, product['duration'], settings))
        if segments:
            category = product['category'] or PurePosixPath(name).parent.name
            yield Game(name, product['title'], category, product['duration'], words, segments)


def _segments(
    words: Sequence[list[Any]], duration: float, settings: Building
) -> Iterator[tuple[int, int, int]]:
    """Whole segments with enough words; a word belongs to the one in which it ends."""
    ends = [word[1] for word in words]
    last = math.floor(duration + 1e-6) - settings.segment
    for start in range(0, last + 1, settings.segment):
        first, stop = bisect_right(ends, start), bisect_right(ends, start + settings.segment)
        if stop - first >= settings.min_words:
            yield start, first, stop


def _line(game: Game, words: Sequence[list[Any]], **more: str) -> str:
    about = {'video': game.video, 'title': game.title, 'category': game.category}
    return as_line({**about, 'content': [list(word) for word in words], **more})


def _row(game: Game, settings: Building) -> dict[str, Any]:
    return {
        'category': game.category,
        'videos': 1,
        'seconds': game.duration,
        'segments': len(game.segments),
        'segment_seconds': len(game.segments) * settings.segment,
        'words': sum(last - first for _, first, last in game.segments),
    }


def _categories(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({row['category'] for row in rows})


def _total(rows: Sequence[dict[str, Any]], category: str) -> dict[str, Any]:
    """The sums over a category, with the mean length of its videos and segments."""
    of = [row for row in rows if category in (ALL, row['category'])]
    names = ('videos', 'seconds', 'segments', 'segment_seconds', 'words')
    total = {name: sum(row[name] for row in of) for name in names}
    return {
        'category': category,
        **total,
        'seconds_per_video': total['seconds'] / total['videos'],
        'words_per_segment': total['words'] / total['segments'],
    }
