# SPDX-License-Identifier: Apache-2.0
"""Commentary is kept, advertisements go, and wrong names are set right: a model reads it all.

The model sees 120 seconds at a time and decides sentence by sentence. It never places words: what
it keeps has the times of recognition, what it corrects is spread evenly over its sentence. Where
it refuses, or answers nothing of use, nothing is kept, and the segment says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from svlm_core.curation.pipeline import Product, Stage
from svlm_core.curation.settings import Cleaning
from svlm_core.endpoints.asking import TRIES, Answer, ask_json
from svlm_core.endpoints.chat import Chat, Message
from svlm_core.shapes import Listed, Misfit, Number, Table, Text

DECISIONS = ('keep', 'edit', 'delete')

SHAPE = Table(
    {
        'decisions': Listed(
            Table(
                {
                    'sentence': Number(low=0, whole=True),
                    'decision': Text(choices=DECISIONS),
                    'text': Text(),
                },
                closed=True,
            )
        )
    },
    closed=True,
)

TASK = """You prepare the transcript of a live video so that a model can learn to comment on it \
from the pictures. Speech recognition wrote it down, so names may be misheard.

Decide for every sentence:
- keep: it comments on this event, and what it says is right.
- edit: it comments on this event, but recognition or the speaker got something wrong, such as a \
name. Give the whole corrected sentence as text, changing as little as you can.
- delete: it is no comment on this event: advertising, channel and sponsor notices, private talk, \
stories about something else, words without sense.

Answer with JSON alone: {"decisions": [{"sentence": number, "decision": "keep", "edit" or \
"delete", "text": the corrected sentence, or "" unless it is edited}, ...]}, with every sentence \
once."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a sentence; `text` is what it shall be where it is edited."""

    decision: str
    text: str


def cleaning(chat: Chat, model: str, settings: Cleaning, workers: int = 4) -> Stage:
    """The stage after alignment, with so many requests at a time; its settings name `model`."""
    depends = {**asdict(settings), 'model': model, 'task': TASK, 'tries': TRIES}
    return Stage(
        'clean', 'align', depends, lambda _, aligned: clean(aligned, chat, settings, workers)
    )


def clean(aligned: Any, chat: Chat, settings: Cleaning, workers: int = 4) -> Product:
    """Let the model decide about every sentence of a video. Raises EndpointError."""
    sentences = aligned['sentences']
    segments = [
        (number * settings.segment, list(group))
        for number, group in groupby(sentences, lambda s: int(s['start'] // settings.segment))
    ]
    with ThreadPoolExecutor(workers) as pool:
        answers = list(pool.map(lambda of: decide(chat, aligned['title'], of[0], of[1]), segments))
    kept, report, counts = list[Any](), list[Any](), Counter[str]()
    for (start, group), answer in zip(segments, answers, strict=True):
        decided = answer.value or [Decision(answer.outcome, '')] * len(group)
        counts.update(of.decision for of in decided)
        kept += [s for s in map(_applied, group, decided) if s is not None]
        report.append(
            {
                'start': start,
                'outcome': answer.outcome,
                'problem': answer.problem,
                'sentences': [
                    {'was': _said(sentence), **asdict(of)}
                    for sentence, of in zip(group, decided, strict=True)
                ],
            }
        )
    product = {key: aligned[key] for key in ('title', 'category', 'duration', 'language')}
    reason = '' if kept else 'no sentence of it was kept'
    named = {name: counts[name] for name in (*DECISIONS, 'refused', 'invalid')}
    return Product({**product, 'sentences': kept, 'segments': report}, named, reason)


def decide(
    chat: Chat, title: str, start: float, sentences: Sequence[Any]
) -> Answer[list[Decision]]:
    """Ask about the sentences of one segment."""
    lines = [f'{number} [{s["start"]:.1f}s] {_said(s)}' for number, s in enumerate(sentences)]
    about = f'Title: {title}\nFrom second {start:g}:\n'
    messages: list[Message] = [
        {'role': 'system', 'content': TASK},
        {'role': 'user', 'content': about + '\n'.join(lines)},
    ]
    return ask_json(chat, messages, SHAPE, lambda content: _decisions(content, len(sentences)))


def ratios(counts: Mapping[str, float]) -> dict[str, float]:
    """The share of each decision among those that were made, and of what was not decided."""
    decided = sum(counts.get(name, 0) for name in DECISIONS)
    total = decided + counts.get('refused', 0) + counts.get('invalid', 0)
    shares = {name: counts.get(name, 0) / decided if decided else math.nan for name in DECISIONS}
    return {**shares, 'undecided': (total - decided) / total if total else math.nan}


def _decisions(content: Any, count: int) -> list[Decision]:
    """One decision for every sentence, in order. Raises Misfit."""
    made: dict[int, Decision] = {}
    for place, row in enumerate(content['decisions']):
        number, field = row['sentence'], f'decisions[{place}]'
        if number >= count:
            raise Misfit(f'{field}.sentence', f'is {number}; the last sentence is {count - 1}')
        if number in made:
            raise Misfit(f'{field}.sentence', f'is {number}, which was decided before')
        if row['decision'] == 'edit' and not row['text'].strip():
            raise Misfit(f'{field}.text', 'is empty, although the sentence is edited')
        made[number] = Decision(
            row['decision'], row['text'].strip() if row['decision'] == 'edit' else ''
        )
    missing = [number for number in range(count) if number not in made]
    if missing:
        raise Misfit('decisions', f'leave out sentence {missing[0]}')
    return [made[number] for number in range(count)]


def _applied(sentence: Any, of: Decision) -> Any | None:
    """The sentence as it goes on; None where it does not."""
    if of.decision == 'keep':
        return sentence
    return {**sentence, 'words': spread(sentence, of.text)} if of.decision == 'edit' else None


def spread(sentence: Any, text: str) -> list[list[Any]]:
    """The words of a text, spread evenly over the time of a sentence."""
    words, start, end = text.split(), sentence['start'], sentence['end']
    step = (end - start) / len(words)
    return [
        [round(start + n * step, 3), round(start + (n + 1) * step, 3), word]
        for n, word in enumerate(words)
    ]


def _said(sentence: Any) -> str:
    return ' '.join(word[2] for word in sentence['words'])
