# SPDX-License-Identifier: Apache-2.0
"""The captions of LiveSports-3K: 1,702 events, each captioned after what was said before it.

An event is some ten seconds to minutes long, so it is one stretch in every setting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from svlm_core.curation.formats import EVENT_FILE
from svlm_core.curation.validation import located
from svlm_core.errors import SourceError
from svlm_core.evaluation.duel import Result
from svlm_core.evaluation.judges import ALIGNED
from svlm_core.evaluation.judging import Vote
from svlm_core.evaluation.streams.benchmark import Benchmark, Setting, Stretch, inside
from svlm_core.evaluation.windows import Said, Window, fits
from svlm_core.shapes import Listed, Misfit, Span

FILES = ('LiveSports-3K-CC.json', 'LiveSports-3K-CC.jsonl')
QUERY = (
    'You are an expert commentator of this video. Say live what happens, as a broadcast would, '
    'and go on from what was said before.'
)
TIE, INVALID = 'tie', 'invalid'  # in the place of a winner
_TIMED = Listed(Span(ordered=False), least=1)


def read(folder: Path) -> Benchmark:
    """The benchmark in a folder of official files. Raises SourceError, naming line and field."""
    (path,) = files(folder)
    windows, stretches = list[Window](), dict[str, Stretch]()
    for line, row in located(path):
        fits(row, EVENT_FILE, path, line)
        inside(row['video'], path)
        window = _window(row, path, line)
        if window.subject in stretches:
            raise SourceError(f'{path} line {line}: event_id {window.event} is there twice')
        windows.append(window)
        stretches[window.subject] = Stretch(
            row['video'],
            row['begin'],
            row['end'],
            row['event_title'],
            row['preasr_text'],
            window.video,
            row['event_id'],
        )
    if not windows:
        raise SourceError(f'{path} holds no events')

    def every(setting: Setting) -> list[Stretch]:
        return list(stretches.values())

    return Benchmark('livesports', folder, (path,), tuple(windows), every, _query, ALIGNED)


def files(folder: Path) -> tuple[Path, ...]:
    """The file of the events. Raises SourceError where there is none."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise SourceError(f'{folder} has none of {", ".join(FILES)}')
    return (path,)


def votes(result: Result, a: str, b: str) -> Iterator[dict[str, str]]:
    """The rows of a vote file, as published: who won each event, shown first and shown second.

    The official count takes the votes that bear a name, of two for each row. Where the judge gave
    no vote it is INVALID; officially that is a tie too, which counts the same.
    """
    for score in result.scores:
        yield {
            'video_event_id': score.window.subject,
            'ab_winner': _winner(score.ab.vote, a, b),
            'ba_winner': _winner(score.ba.vote, a, b),
        }


def _winner(vote: Vote, a: str, b: str) -> str:
    return INVALID if vote is None else {1.0: a, 0.0: b}.get(vote, TIE)


def _query(stretch: Stretch) -> str:
    return f'{QUERY}\nThe video is titled: {stretch.title}' if stretch.title else QUERY


def _window(row: Mapping[str, Any], path: Path, line: int) -> Window:
    """An event in whole seconds; its reference has times where the file has them."""
    start, end = row['begin'], row['end']
    if end <= start:
        raise SourceError(f'{path} line {line}: end is {end:g}, not after begin')
    said = tuple(_timed(row, path, line)) or (Said(start, end, row['event_asr_text']),)
    return Window(
        str(row['video_id']),
        row['event_title'],
        math.floor(start),
        math.ceil(end),
        said,
        row.get('class', ''),
        str(row['event_id']),
    )


def _timed(row: Mapping[str, Any], path: Path, line: int) -> list[Said]:
    """What is said in an event with its times, which stand there as a list or as its text."""
    spans = row.get('event_asr', '')
    if not spans:
        return []
    try:
        spans = json.loads(spans) if isinstance(spans, str) else spans
        _TIMED.check(spans, 'event_asr')
    except Misfit as error:
        raise SourceError(f'{path} line {line}: {error}') from error
    except ValueError as error:
        raise SourceError(f'{path} line {line}: event_asr is no JSON: {error}') from error
    return [Said(min(s, e), max(s, e), text) for s, e, text in spans]
