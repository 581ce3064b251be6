# SPDX-License-Identifier: Apache-2.0
"""Notes about a stream, cut into overlapping rows as training reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from svlm_core.timeline import as_line, whole, write_lines


def cut(
    video: str,
    shown: Iterable[int],
    said: Mapping[int, str],
    *,
    seconds: float = 1.0,
    window: int = 24,
    overlap: int = 12,
) -> Iterator[list[dict[str, Any]]]:
    """Rows of `window` rounds, each of which begins `window - overlap` after the one before.

    `shown` are the numbers of the rounds, of `seconds` each, that the video shows; a row never
    spans a gap. `said` is what is to be said in a round. All that was said before a row is its
    previous text. Words are spread evenly over their round.
    """
    for run in _runs(shown):
        for low in range(0, max(len(run) - overlap, 1), window - overlap):
            chunk = run[low : low + window]
            spoken = (said.get(number, '') for number in range(chunk[0]))
            words = [word for number in chunk for word in _timed(number, said, seconds)]
            yield _row(
                video,
                chunk[0] * seconds,
                (chunk[-1] + 1) * seconds,
                ' '.join(text for text in spoken if text),
                words,
            )


def write_rows(
    path: Path, rows: Iterable[list[dict[str, Any]]], *, index_inside: bool = False
) -> int:
    """Write rows and the index of their lines; how many there are.

    The index is a file beside them, or their last line. Files appear only when they are complete.
    Raises OutputError when they cannot be written.
    """
    starts, end = list[int](), 0
    beside = path.with_name(f'{path.stem}_seeks.jsonl')
    with whole(path) as file:
        for row in rows:
            line = as_line(row)
            file.write(line)
            starts.append(end)
            end += len(line.encode('utf-8'))
        if index_inside and starts:
            file.write(as_line(starts))
        beside.unlink(missing_ok=True)  # it is of other rows
    if not index_inside:
        write_lines(beside, [starts])
    return len(starts)


def _runs(numbers: Iterable[int]) -> Iterator[Sequence[int]]:
    """Numbers in a row, as far as there is no gap."""
    for _, run in groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0]):
        yield [number for _, number in run]


def _timed(
    number: int, said: Mapping[int, str], seconds: float
) -> Iterator[tuple[float, float, str]]:
    words = said.get(number, '').split()
    for place, word in enumerate(words):
        start, end = (number + (place + step) / len(words) for step in (0, 1))
        yield round(start * seconds, 3), round(end * seconds, 3), word


def _row(
    video: str, start: float, end: float, previous: str, words: list[tuple[float, float, str]]
) -> list[dict[str, Any]]:
    shown = {'type': 'video', 'video': video, 'video_start': start, 'video_end': end}
    asked = {'type': 'text', 'text': '', 'previous': previous}
    stream = {'type': 'text_stream', 'text_stream': words}
    return [
        {'role': 'user', 'content': [shown, asked]},
        {'role': 'assistant', 'content': [stream]},
    ]
