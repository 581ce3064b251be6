# SPDX-License-Identifier: Apache-2.0
"""What is judged: windows of videos, with what a reference and two caption files say in them.

References are clips as Inf-Streams-Eval publishes them, one window a row, or the words of whole
videos, which are cut. Captions are answers of Inf-Streams-Eval, predictions of LiveSports-3K, or
the records that svlm writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from svlm_core.curation.formats import ANSWER_FILE, PREDICTION_FILE
from svlm_core.curation.validation import located
from svlm_core.errors import OutputError, SourceError
from svlm_core.evaluation.judging import Bout
from svlm_core.records import Record
from svlm_core.shapes import Listed, Misfit, Shape, Span, Table, Text

CAPTIONS = 'captions.jsonl'  # all that were made in a run

_REFERENCE = Table(
    {'video': Text(filled=True), 'content': Listed(Span(ordered=False))},
    {'title': Text(), 'category': Text(), 'preasr': Text()},
)


@dataclass(frozen=True)
class Said:
    """Words that were said from `start` to `end`, in seconds of the video."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Reference:
    """A row of a reference file: what is said in a video, or in one window of it.

    `before` is what was said before the window; None where the row is of a whole video.
    """

    video: str
    title: str
    category: str
    said: tuple[Said, ...]
    before: str | None


@dataclass(frozen=True)
class Window:
    """Seconds `start` to `end` of a video, and what a reference says in them.

    `category` is the sport, or what else a table has a line for. `event` is the number that
    LiveSports-3K gives to the window; captions are then of single events.
    """

    video: str
    title: str
    start: int
    end: int
    said: tuple[Said, ...]
    category: str = ''
    event: str = ''

    @property
    def subject(self) -> str:
        """What captions of it are found by: the video, or the event."""
        return f'{self.video}_{self.event}' if self.event else self.video


@dataclass(frozen=True)
class Captions:
    """What a model said of a video, and the spans of it, in order, that it was shown."""

    shown: tuple[tuple[float, float], ...]
    said: tuple[Said, ...]

    def covers(self, window: Window) -> bool:
        """Whether the model was shown all of a window, in one piece or in several."""
        reached: float = window.start
        for start, end in self.shown:
            if start <= reached:
                reached = max(reached, end)
        return reached >= window.end


def read_references(path: Path) -> Iterator[Reference]:
    """The rows of a reference file; words that end before they start are turned round.

    A row without a category has the folder that its video lies in. Raises SourceError, naming
    line and field, where a row is not as it should be.
    """
    for line, row in located(path):
        fits(row, _REFERENCE, path, line)
        yield Reference(
            row['video'],
            row.get('title', ''),
            row.get('category') or PurePosixPath(row['video']).parent.name,
            tuple(Said(min(s, e), max(s, e), text) for s, e, text in row['content']),
            row.get('preasr'),
        )


def read_windows(path: Path, seconds: int, min_words: int) -> list[Window]:
    """The windows of a reference file, in order.

    Words of whole videos are cut into windows of `seconds`; those with fewer than `min_words` are
    left out. Raises SourceError, naming line and field, where the file is not as it should be.
    """
    windows = list[Window]()
    for row in read_references(path):
        if row.before is None:
            windows += _cut(row, seconds, min_words)
        elif row.said:
            start = int(row.said[0].start)
            end = max(int(row.said[-1].end), start + 1)  # words within one second make it a window
            windows.append(Window(row.video, row.title, start, end, row.said, row.category))
    if not windows:
        raise SourceError(f'{path} holds no window with words')
    return windows


def read_captions(path: Path, videos: Iterable[str]) -> dict[str, Captions]:
    """What a model said, by video or event, from a file or all .jsonl files of a folder.

    Records of svlm tell of one video, the one of `videos` that has the file's name; a file that
    was given by itself, else, of the only one. Those in a folder that tell of others are passed
    over. Raises SourceError, naming line and field, and for what is captioned twice.
    """
    names, pieces = list(dict.fromkeys(videos)), dict[str, list[Captions]]()
    folder = path if path.is_dir() else path.parent
    for file in row_files(path):
        named = _named(file.relative_to(folder), names)
        if not named and file == path and len(names) == 1:
            named = names
        for video, captions in _captions(file, named):
            if any(captions.shown == other.shown for other in pieces.get(video, ())):
                raise SourceError(f'{file}: a stretch of {video} is captioned twice')
            pieces.setdefault(video, []).append(captions)
    if not pieces:
        raise SourceError(f'{path}: name it as one of the videos: {", ".join(names[:5])}')
    return {video: _joined(of) for video, of in pieces.items()}


def row_files(path: Path) -> list[Path]:
    """A file itself, or what is in a folder: the file of all its captions, or all .jsonl files.

    Raises SourceError where it has none.
    """
    if not path.is_dir():
        return [path]
    whole = path / CAPTIONS
    files = [whole] if whole.is_file() else sorted(path.rglob('*.jsonl'))
    if not files:
        raise SourceError(f'{path} holds no .jsonl files')
    return files


def bout(window: Window, first: Captions, second: Captions) -> Bout:
    """A window as a judge sees it, second by second."""
    return Bout(
        _seconds(window.said, window),
        _seconds(_chosen(first, window), window),
        _seconds(_chosen(second, window), window),
        window.title,
    )


def _chosen(captions: Captions, window: Window) -> list[Said]:
    """What belongs to a window, as published: that which ends in it, in whole seconds."""
    return [said for said in captions.said if window.start < int(said.end) <= window.end]


def _seconds(said: Sequence[Said], window: Window) -> tuple[str, ...]:
    """Words second by second, each item spread evenly over its own, as far as they are here."""
    texts: list[list[str]] = [[] for _ in range(window.end - window.start)]
    last = len(texts) - 1
    for item in said:
        words = item.text.split()
        for place, word in enumerate(words):
            moment = item.start + (place + 1) / len(words) * (item.end - item.start)
            second = math.ceil(moment - window.start - 1e-6) - 1
            texts[min(max(second, 0), last)].append(word)
    return tuple(' '.join(words) for words in texts)


def _cut(row: Reference, seconds: int, min_words: int) -> Iterator[Window]:
    last = max((item.end for item in row.said), default=0)
    for start in range(0, math.ceil(last), seconds):
        end = start + seconds
        inside = tuple(item for item in row.said if start < item.end <= end)
        if inside and sum(len(item.text.split()) for item in inside) >= min_words:
            yield Window(row.video, row.title, start, end, inside, row.category)


def _captions(path: Path, named: Sequence[str]) -> Iterator[tuple[str, Captions]]:
    """What a file says; `named` are the videos that its records may be of."""
    records: list[Record] = []
    for line, row in located(path):
        if isinstance(row, dict) and 'window_start' in row:
            try:
                records.append(Record.from_json(json.dumps(row)))
            except OutputError as error:
                raise SourceError(f'{path} line {line}: {error}') from error
            continue
        if isinstance(row, dict) and 'pred' in row:
            fits(row, PREDICTION_FILE, path, line)
            yield _predicted(row)
            continue
        fits(row, ANSWER_FILE, path, line)
        said = tuple(
            Said(item['start_time'], item['end_time'], item['response']) for item in row['items']
        )
        yield row['video'], Captions(((row['chunk_start'], row['chunk_end']),), said)
    if records and len(named) > 1:
        raise SourceError(f'{path} has the name of several videos: {", ".join(named[:5])}')
    if records and named:
        yield named[0], _spoken(records)


def _predicted(row: dict[str, Any]) -> tuple[str, Captions]:
    """What was said of an event, in whole seconds as its window has them."""
    start, end = math.floor(row['begin']), math.ceil(row['end'])
    said = (Said(start, end, row['pred']),)
    return f'{row["video_id"]}_{row["event_id"]}', Captions(((start, end),), said)


def _spoken(records: Sequence[Record]) -> Captions:
    """What svlm said; a record is of the second from its start on."""
    done = [record for record in records if record.done and record.kind in ('caption', 'silence')]
    starts = sorted(record.window_start for record in done)
    step = min((b - a for a, b in pairwise(starts) if b > a), default=1.0)
    said = tuple(Said(r.window_start, r.window_start + step, r.text) for r in done if r.text)
    return Captions(tuple((start, start + step) for start in starts), said)


def _named(path: Path, videos: Sequence[str]) -> list[str]:
    """Which videos have the name of a file of records, and of its folders as far as both have any.

    Where one has all of its path, it is that one.
    """
    told = path.with_suffix('')
    forms = {video: (Path(video), Path(video).with_suffix('')) for video in videos}
    found = [v for v, of in forms.items() if any(_ends_alike(told, form) for form in of)]
    return [v for v in found if told in forms[v]] or found


def _ends_alike(one: Path, other: Path) -> bool:
    count = min(len(one.parts), len(other.parts))
    return one.parts[-count:] == other.parts[-count:]


def _joined(pieces: Sequence[Captions]) -> Captions:
    """Pieces of one video, such as its chunks, in order."""
    ordered = sorted(pieces, key=lambda piece: piece.shown)
    return Captions(
        tuple(sorted(span for piece in ordered for span in piece.shown)),
        tuple(item for piece in ordered for item in piece.said),
    )


def fits(row: Any, shape: Shape, path: Path, line: int) -> None:
    """Raise SourceError, naming line and field, for a row of another shape."""
    try:
        if isinstance(row, ValueError):
            raise Misfit('the row', f'is no JSON: {row}')
        shape.check(row)
    except Misfit as error:
        raise SourceError(f'{path} line {line}: {error}') from error
