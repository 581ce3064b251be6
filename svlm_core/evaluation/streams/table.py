# SPDX-License-Identifier: Apache-2.0
"""The win rates of some captions against others, as the paper has them: over all, and by category.

Every vote of every pair is kept in `scores/A against B.jsonl`, the table in `results.json`. Those
of LiveSports-3K are also in `votes/A against B.jsonl`, as they are published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from svlm_core.errors import SettingsError, SourceError
from svlm_core.evaluation.bootstrap import Interval
from svlm_core.evaluation.duel import Result, duel
from svlm_core.evaluation.identity import RUN, Identity, account, file_hash
from svlm_core.evaluation.judging import Judge
from svlm_core.evaluation.streams import livesports
from svlm_core.evaluation.streams.benchmark import Benchmark
from svlm_core.evaluation.windows import CAPTIONS, Captions, Window, read_captions, row_files
from svlm_core.timeline import make_folder, write_lines, write_whole

RESULTS = 'results.json'
ALL = 'all'  # categories together

Moved = Callable[[int, str], None]  # how many windows are judged, and of which pair
SEEN = ('mode', 'policy', 'frames', 'pixels', 'positions', 'model', 'settings')


@dataclass(frozen=True)
class Side:
    """Captions by the name that the table has for them.

    `content` is what they are, by name and hash; `made` how they came about, if svlm made them.
    """

    name: str
    content: str
    captions: Mapping[str, Captions]
    made: Mapping[str, Any]


def read_side(named: str, benchmark: Benchmark) -> Side:
    """The captions of `NAME=PATH`: a file of any known format, or a folder.

    Raises SettingsError for another spelling, SourceError for what cannot be read.
    """
    name, mark, place = named.partition('=')
    if not (name.strip() and mark and place) or '/' in name:
        raise SettingsError(f'{named!r}: give captions as NAME=PATH, without / in the name')
    if name in (livesports.TIE, livesports.INVALID):
        raise SettingsError(f'{named!r}: {name} stands for no winner, give captions another name')
    path = Path(place)
    if (path / RUN).is_file() and not (path / CAPTIONS).is_file():
        raise SourceError(f'{path} is not finished: run `svlm streams` into it again')
    captions = read_captions(path, [window.video for window in benchmark.windows])
    return Side(name, f'{path.name} {file_hash(row_files(path))}', captions, _made(path / RUN))


def rows(
    benchmark: Benchmark,
    ours: Sequence[Side],
    theirs: Sequence[Side],
    judge: Judge,
    shared: Mapping[str, Any],
    output: Path,
    workers: int = 1,
    moved: Moved = lambda done, pair: None,
) -> list[dict[str, Any]]:
    """Judge every one of ours against every one of theirs; the rows of the table.

    `shared` are fields of the Identity that all rows have: data, judge, seed. Raises SourceError
    for a pair without a window that both were shown, and what the judge raises.
    """
    found = list[dict[str, Any]]()
    for a, b in [(a, b) for a in ours for b in theirs if a.name != b.name]:
        pair = f'{a.name} against {b.name}'
        try:
            told = partial(_told, moved, pair)
            result = duel(benchmark.windows, a.captions, b.captions, judge, workers, told)
        except SourceError as error:
            raise SourceError(f'{pair}: {error}') from error
        identity = _identity(a, shared)
        judge_name, run = shared['judge'], identity.digest
        scores = (score.to_json(judge_name, run) for score in result.scores)
        write_lines(make_folder(output / 'scores') / f'{pair}.jsonl', scores)
        if benchmark.name == 'livesports':
            votes = livesports.votes(result, a.name, b.name)
            write_lines(make_folder(output / 'votes') / f'{pair}.jsonl', votes)
        for category, part in _parts(result):
            found.append(
                {
                    'benchmark': benchmark.name,
                    'a': a.name,
                    'b': b.name,
                    'category': category,
                    **_counted(part, identity.seed),
                    **identity.row(),
                    'captions': {'a': a.content, 'b': b.content},
                    'against': b.made,
                }
            )
    write_whole(output / RESULTS, json.dumps({'rows': found}, ensure_ascii=False, indent=1) + '\n')
    return found


def _told(moved: Moved, pair: str, done: int) -> None:
    moved(done, pair)


def _counted(result: Result, seed: int) -> dict[str, Any]:
    """Win rates in percent.

    `win_rate` is the share of valid votes, a draw being half. `official` is what LiveSports-3K
    counts: votes won of all that were asked, so that draws and invalid votes are not won.
    """
    (rate, interval), (won, of_won) = result.rate(seed), result.won(seed)
    votes = [vote for score in result.scores for vote in score.votes]
    return {
        'win_rate': _percent(rate),
        'interval': _percents(interval),
        'official': _percent(won),
        'official_interval': _percents(of_won),
        'videos': len({score.window.video for score in result.scores}),
        'windows': len(result.scores),
        'votes': len(votes),
        'draws': sum(vote not in (0, 1) for vote in votes),
        'invalid': sum(score.invalid for score in result.scores),
        'not_shown': [_place(window) for window in result.not_shown],
        'judge_reported': result.reported(),
    }


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else 100 * share


def _percents(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval[0]) else [100 * limit for limit in interval]


def _parts(result: Result) -> Iterator[tuple[str, Result]]:
    """All windows, then those of each category, where there are any."""
    yield ALL, result
    every = [*(score.window for score in result.scores), *result.not_shown]
    for category in sorted({window.category for window in every} - {''}):
        yield (
            category,
            Result(
                tuple(s for s in result.scores if s.window.category == category),
                tuple(w for w in result.not_shown if w.category == category),
            ),
        )


def _place(window: Window) -> dict[str, Any]:
    place = {'video': window.video, 'start': window.start, 'end': window.end}
    return place | ({'event': window.event} if window.event else {})


def _identity(side: Side, shared: Mapping[str, Any]) -> Identity:
    """How a row came about; of captions from elsewhere nobody knows how they were made."""
    unknown = 'not known'
    imported = {
        'mode': 'imported',
        'policy': None,
        'frames': unknown,
        'pixels': unknown,
        'positions': unknown,
        'model': {'name': side.name},
        'settings': {},
    }
    seen = {name: side.made[name] for name in SEEN} if side.made else imported
    return Identity(**seen, **shared)


def _made(path: Path) -> dict[str, Any]:
    """The identity in a folder; empty where it holds none."""
    content = account(path)
    whole = isinstance(content, dict) and {field.name for field in fields(Identity)} <= set(
        content
    )
    return content if whole else {}
