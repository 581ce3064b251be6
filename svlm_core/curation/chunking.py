# SPDX-License-Identifier: Apache-2.0
"""Overlapping chunks of a video, as a model learns from them: W seconds, O of them shared.

A product holds the words of a video once, and chunks as places among them: all that was said
before a chunk is its previous text, which would make files quadratic in the length of a video.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svlm_core.caption import TERMINATOR
from svlm_core.curation.pipeline import Product, Stage
from svlm_core.curation.settings import Chunking
from svlm_core.training.annotations import Row


def chunking(settings: Chunking) -> Stage:
    """The stage after cleaning."""
    return Stage('chunk', 'clean', asdict(settings), lambda _, cleaned: chunk(cleaned, settings))


def chunk(cleaned: Any, settings: Chunking) -> Product:
    """Cut a video into chunks."""
    words = words_of(cleaned['sentences'])
    ends = [word[1] for word in words]
    last = math.floor(cleaned['duration'] + 1e-6) - settings.window
    starts = range(0, last + 1, settings.window - settings.overlap)
    every = [piece(words, ends, start, start + settings.window) for start in starts]
    chunks = [cut for cut in every if cut['last'] - cut['first'] >= settings.min_words]
    product = {key: cleaned[key] for key in ('title', 'category', 'duration', 'language')}
    counts = {
        'chunks': len(chunks),
        'sparse': len(every) - len(chunks),
        'seconds': settings.window * len(chunks),
        'silent_seconds': sum(cut['silent'] for cut in chunks),
    }
    reason = '' if chunks else f'no chunk of it has {settings.min_words} words'
    return Product({**product, 'words': words, 'chunks': chunks}, counts, reason)


def words_of(sentences: Sequence[Any]) -> list[list[Any]]:
    """All words of some sentences, in the order in which they end."""
    words = (word for sentence in sentences for word in sentence['words'])
    return sorted(words, key=lambda word: (word[1], word[0]))


def piece(
    words: Sequence[list[Any]], ends: Sequence[float], start: float, end: float
) -> dict[str, Any]:
    """The chunk from `start` to `end`: its words are those from `first` up to `last`.

    A word belongs to the second in which it ends, and so to the chunk.
    """
    first, last = bisect_right(ends, start), bisect_right(ends, end)
    said = turns(words[first:last], start, end)
    return {
        'start': float(start),
        'end': float(end),
        'first': first,
        'last': last,
        'silent': sum(turn == TERMINATOR for turn in said),
    }


def turns(words: Sequence[Sequence[Any]], start: float, end: float) -> list[str]:
    """What is said in each second, as training will see it; a silent one is ` ...` alone."""
    timed = tuple((float(word[0]), float(word[1]), str(word[2])) for word in words)
    return [text + TERMINATOR for text in Row(Path(), start, end, '', '', timed).said(1.0)]


def rows(video: str, product: Any, query: str) -> Iterator[list[dict[str, Any]]]:
    """Chunks as rows of LiveCC and Inf-Stream-Train; all that was said before is `previous`."""
    words = product['words']
    texts = [word[2] for word in words]
    for cut in product['chunks']:
        shown = {'type': 'video', 'video': video}
        shown |= {'video_start': cut['start'], 'video_end': cut['end']}
        asked = {'type': 'text', 'text': query, 'previous': ' '.join(texts[: cut['first']])}
        asked |= {'title': product['title'], 'category': product['category']}
        stream = {'type': 'text_stream', 'text_stream': words[cut['first'] : cut['last']]}
        yield [
            {'role': 'user', 'content': [shown, asked]},
            {'role': 'assistant', 'content': [stream]},
        ]
