# SPDX-License-Identifier: Apache-2.0
"""Whether words stand where they were said, and the sentences they make.

Recognition places some words badly: they end before they start, have no time at all (numbers,
often), or lie seconds away from their segment, as happens in noise. Such a word gets the time that
its neighbours leave it; a video with too many of them is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any

from svlm_core.curation.pipeline import Product, Stage
from svlm_core.curation.settings import Aligning
from svlm_core.curation.transcripts import Segment, Transcript, Word

ENDS = ('.', '?', '!', '。', '？', '！', '…')
CLOSING = '"\'”’)»」'
LATE = 0.5  # seconds by which sound may outlast the pictures
LONGEST_SENTENCE = 40  # words; recognition without punctuation would never end one

Timed = tuple[float, float, str]


def aligning(settings: Aligning) -> Stage:
    """The stage after transcription."""
    return Stage('align', 'transcribe', asdict(settings), lambda _, heard: align(heard, settings))


def align(heard: Any, settings: Aligning) -> Product:
    """Check and mend the words of a video; its sentences."""
    transcript, duration = Transcript.from_json(heard), heard['duration']
    faults = Counter[str]()
    words = [
        word
        for segment in transcript.segments
        for word in _mended(segment, duration, settings, faults)
    ]
    faults['backward'] = sum(a[0] > b[0] for a, b in pairwise(words))
    words.sort(key=lambda word: word[:2])
    sentences = [_sentence(run) for run in _sentences(words, settings.max_gap)]
    gaps = _gaps(words, duration, settings.max_gap)
    total = sum(len(segment.words) for segment in transcript.segments)
    share = (faults.total() - faults['unsure']) / total
    reason = ''
    if share > settings.max_faults:
        told = ', '.join(f'{count} {fault}' for fault, count in sorted(faults.items()) if count)
        reason = f'{share:.0%} of its {total} words are out of place: {told}'
    elif not sentences:
        reason = 'no word of it can be placed'
    counts = {
        'words': len(words),
        'sentences': len(sentences),
        **{fault: faults[fault] for fault in FAULTS},
        'gaps': len(gaps),
        'gap_seconds': round(sum(gaps), 3),
    }
    kept = {key: heard[key] for key in ('title', 'category', 'duration', 'language')}
    drift = _drift(transcript)
    if drift is not None:
        counts[DRIFT] = drift
    return Product({**kept, 'drift': drift, 'sentences': sentences}, counts, reason)


DRIFT = 'drift'  # in seconds: to be compared between videos, not added up
FAULTS = ('untimed', 'reversed', 'drifted', 'outside', 'unsure', 'backward')


def _mended(
    segment: Segment, duration: float, settings: Aligning, faults: Counter[str]
) -> Iterator[Timed]:
    """The words of a segment that can be placed, with a time for each; counts the faults."""
    words = [word for word in segment.words if word.text]
    found = [_fault(word, segment, settings) for word in words]
    faults.update(fault for fault in found if fault)
    placed = [None if fault else word for word, fault in zip(words, found, strict=True)]
    for (start, end), word, fault in zip(_times(placed, segment), words, found, strict=True):
        if word.sure is not None and word.sure < settings.min_sure:
            faults['unsure'] += 1
        elif start is None or end is None or start < 0 or end > duration + LATE:
            faults['outside'] += 1
            if fault:
                faults[fault] -= 1  # a word has one fault
        else:
            yield round(min(start, duration), 3), round(min(end, duration), 3), word.text


def _fault(word: Word, segment: Segment, settings: Aligning) -> str:
    """What is wrong with the time of a word; empty where nothing is."""
    if word.start is None or word.end is None:
        return 'untimed'
    if word.start > word.end:
        return 'reversed'
    if segment.start is None or segment.end is None:
        return ''
    low, high = segment.start - settings.max_drift, segment.end + settings.max_drift
    return '' if low <= word.start and word.end <= high else 'drifted'


def _times(
    placed: Sequence[Word | None], segment: Segment
) -> Iterator[tuple[float | None, float | None]]:
    """Start and end of each word; those without a place share what their neighbours leave."""
    number = 0
    while number < len(placed):
        word = placed[number]
        if word is not None:
            yield word.start, word.end
            number += 1
            continue
        stop = number
        while stop < len(placed) and placed[stop] is None:
            stop += 1
        before = placed[number - 1] if number else None
        after = placed[stop] if stop < len(placed) else None
        low = segment.start if before is None else before.end
        high = segment.end if after is None else after.start
        yield from _spread(low, high, stop - number)
        number = stop


def _spread(
    low: float | None, high: float | None, count: int
) -> Iterator[tuple[float | None, float | None]]:
    """`count` equal pieces of a time; at a border that nobody knows there is no room."""
    low, high = (high if low is None else low), (low if high is None else high)
    for step in range(count):
        if low is None or high is None:
            yield None, None
        else:
            room = max(0.0, high - low)
            yield low + room * step / count, low + room * (step + 1) / count


def _sentences(words: Sequence[Timed], max_gap: float) -> Iterator[list[Timed]]:
    """Words up to a full stop, a long silence, or the length that no sentence has."""
    run: list[Timed] = []
    for word in words:
        if run and (word[0] - run[-1][1] > max_gap or len(run) == LONGEST_SENTENCE):
            yield run
            run = []
        run.append(word)
        if word[2].rstrip(CLOSING).endswith(ENDS):
            yield run
            run = []
    if run:
        yield run


def _sentence(words: Sequence[Timed]) -> dict[str, Any]:
    end = max(word[1] for word in words)
    return {'start': words[0][0], 'end': end, 'words': [list(word) for word in words]}


def _gaps(words: Sequence[Timed], duration: float, least: float) -> list[float]:
    """The silences longer than `least` seconds, those before and after all words included."""
    gaps, quiet_since = [], 0.0
    for start, end, _ in (*words, (duration, duration, '')):
        gaps.append(start - quiet_since)
        quiet_since = max(quiet_since, end)
    return [gap for gap in gaps if gap > least]


def _drift(transcript: Transcript) -> float | None:
    """By how much words stand later than the segments that they are of, at the median."""
    found = [
        segment.words[0].start - segment.start
        for segment in transcript.segments
        if segment.words and segment.words[0].start is not None and segment.start is not None
    ]
    return round(median(found), 3) if found else None
