# SPDX-License-Identifier: Apache-2.0
"""Clips for the last stage of training: dense commentary on what can be seen, as it happens.

Clips do not overlap, last 16 to 64 seconds, are never silent for long and hold two words a second.
Of these a model says, sentence by sentence, what is live; a clip stays when more than 80 % of its
words are. The share is counted here, so that nobody has to trust a model with arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from svlm_core.curation.chunking import piece, turns, words_of
from svlm_core.curation.pipeline import Product, Stage
from svlm_core.curation.settings import Annealing
from svlm_core.endpoints.asking import TRIES, Answer, ask_json
from svlm_core.endpoints.chat import Chat, Message
from svlm_core.shapes import Flag, Listed, Misfit, Number, Table

SHAPE = Table(
    {
        'sentences': Listed(
            Table({'sentence': Number(low=0, whole=True), 'live': Flag()}, closed=True)
        )
    },
    closed=True,
)

TASK = """You choose clips of commentary from which a model learns to say what it sees at the \
moment it happens. You are given what is said in each second of a clip (... is a pause), and then \
its sentences.

A sentence is live when it tells what happens, or what can be seen, in the pictures of that very \
moment. It is not live when it tells of the past or the future, of statistics or biographies, \
gives opinions in general, or introduces and advertises.

Answer with JSON alone: {"sentences": [{"sentence": number, "live": true or false}, ...]}, with \
every sentence once."""


def annealing(chat: Chat, model: str, settings: Annealing, workers: int = 4) -> Stage:
    """Another stage after cleaning, with so many requests at a time; its settings name `model`."""
    depends = {**asdict(settings), 'model': model, 'task': TASK, 'tries': TRIES}
    return Stage(
        'anneal', 'clean', depends, lambda _, cleaned: anneal(cleaned, chat, settings, workers)
    )


def anneal(cleaned: Any, chat: Chat, settings: Annealing, workers: int = 4) -> Product:
    """Find the clips of a video and let the model choose among them. Raises EndpointError."""
    runs = list(clips(cleaned['sentences'], cleaned['duration'], settings))
    with ThreadPoolExecutor(workers) as pool:
        answers = list(pool.map(lambda run: ask_live(chat, cleaned['title'], *run), runs))
    words = words_of(cleaned['sentences'])
    ends = [word[1] for word in words]
    chosen, refused, counts = list[Any](), list[Any](), Counter[str]()
    for (start, end, sentences), answer in zip(runs, answers, strict=True):
        cut = piece(words, ends, start, end)
        if answer.value is None:
            counts[answer.outcome] += 1
            refused.append({**cut, 'outcome': answer.outcome, 'problem': answer.problem})
            continue
        share = live_share(sentences, answer.value)
        kept = share > settings.min_live
        counts['live' if kept else 'not_live'] += 1
        (chosen if kept else refused).append(
            {**cut, 'outcome': 'ok', 'share': round(share, 4), 'live': answer.value}
        )
    product = {key: cleaned[key] for key in ('title', 'category', 'duration', 'language')}
    named = {name: counts[name] for name in ('live', 'not_live', 'refused', 'invalid')}
    content = {**product, 'words': words, 'chunks': chosen, 'others': refused}
    return Product(content, {'candidates': len(runs), **named})


def clips(
    sentences: Sequence[Any], duration: float, settings: Annealing
) -> Iterator[tuple[int, int, list[Any]]]:
    """Start, end and sentences of every clip that is dense enough, each as long as it can be."""
    first, free = 0, 0  # the next sentence, and the second from which there is room
    while first < len(sentences):
        start = max(free, math.floor(sentences[first]['start']))
        best = None
        for last in range(first, len(sentences)):
            run = sentences[first : last + 1]
            end = math.ceil(run[-1]['end'] - 1e-6)
            if end - start > settings.longest or end > duration:
                break
            if _longest_silence(run[-2:]) > settings.max_silence:
                break
            words = sum(len(sentence['words']) for sentence in run)
            if end - start >= settings.shortest and words >= settings.words_per_second * (
                end - start
            ):
                best = last, end
        if best is None or sentences[first]['start'] < free:
            first += 1
            continue
        last, end = best
        yield start, end, list(sentences[first : last + 1])
        first, free = last + 1, end


def ask_live(
    chat: Chat, title: str, start: int, end: int, sentences: Sequence[Any]
) -> Answer[list[bool]]:
    """Ask of the sentences of a clip which are live."""
    words = words_of(sentences)
    seconds = (
        f'{second}s: {said.strip()}' for second, said in enumerate(turns(words, start, end), start)
    )
    texts = (' '.join(word[2] for word in sentence['words']) for sentence in sentences)
    numbered = (f'{number}: {text}' for number, text in enumerate(texts))
    told = '\n'.join((f'Title: {title}', *seconds, 'Sentences:', *numbered))
    messages: list[Message] = [
        {'role': 'system', 'content': TASK},
        {'role': 'user', 'content': told},
    ]
    return ask_json(chat, messages, SHAPE, lambda content: _flags(content, len(sentences)))


def live_share(sentences: Sequence[Any], live: Sequence[bool]) -> float:
    """The share of the words of a clip that stand in live sentences."""
    counts = [len(sentence['words']) for sentence in sentences]
    return sum(n for n, now in zip(counts, live, strict=True) if now) / sum(counts)


def _longest_silence(sentences: Sequence[Any]) -> float:
    """The longest time without a word between the first and the last one."""
    words = words_of(sentences)
    return max((b[0] - a[1] for a, b in pairwise(words)), default=0.0)


def _flags(content: Any, count: int) -> list[bool]:
    """One flag for every sentence, in order. Raises Misfit."""
    rows = content['sentences']
    numbers = [row['sentence'] for row in rows]
    if sorted(numbers) != list(range(count)):
        raise Misfit('sentences', f'must hold each number from 0 to {count - 1} once')
    return [row['live'] for row in sorted(rows, key=lambda row: row['sentence'])]
