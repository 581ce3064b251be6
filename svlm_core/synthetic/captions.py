# SPDX-License-Identifier: Apache-2.0
"""What can be said of the world: one sentence for each kind of thing that happens.

A caption is written from its meaning and read back to it, so whether two captions mean the same
can be judged exactly, whoever wrote them.

A number that is to be remembered stands right behind what it belongs to. A small model learns in
minutes to find what was said behind a word, and not in an hour what stood two words on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBERS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
COLORS = ('red', 'yellow', 'green', 'blue', 'purple', 'white', 'orange', 'pink')
PLAIN = COLORS[:6]  # the lamp and the shapes have these
ROBOTS = COLORS[:4]
SHAPES = ('circle', 'square', 'triangle')
SIDES = ('left', 'right')
LAGS = {2: 'two', 4: 'four', 8: 'eight', 12: 'twelve', 15: 'fifteen'}

WORDS: dict[str, tuple[str, ...]] = {
    'lag': tuple(LAGS.values()),
    'key': COLORS,
    'number': NUMBERS,
    'dock': NUMBERS[1:],
    'lamp': PLAIN,
    'robot': ROBOTS,
    'color': PLAIN,
    'other_color': PLAIN,
    'shape': SHAPES,
    'other_shape': SHAPES,
    'side': SIDES,
}
SENTENCES: dict[str, str] = {
    'silence': '',
    'code': '{key}: {number}.',
    'dock': 'Dock of robot {robot}: {dock}.',
    'lamp': '{lag} seconds ago the light was {lamp}.',
    'appears': 'A {color} {shape} appears.',
    'enters': 'The {color} {shape} enters the {side} zone.',
    'leaves': 'The {color} {shape} leaves the {side} zone.',
    'hits': 'The {color} {shape} hits the {other_color} {other_shape}.',
    'disappears': 'The {color} {shape} disappears.',
}


@dataclass(frozen=True)
class Meaning:
    """What a caption says: which of `SENTENCES`, and the words in its gaps, in their order."""

    sentence: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        gaps = re.findall(r'\{(\w+)\}', SENTENCES[self.sentence])
        text = SENTENCES[self.sentence].format(**dict(zip(gaps, self.words, strict=True)))
        return text[:1].upper() + text[1:]


SILENCE = Meaning('silence')


def meaning(text: str) -> Meaning | None:
    """What a caption says, or None where it is no sentence of this world.

    Case, spaces, the full stop and which article is used make no difference.
    """
    text = ' '.join(text.split()).removesuffix('.').rstrip().lower()
    for sentence, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(text):
            return Meaning(sentence, found.groups())
    return None


def _pattern(sentence: str) -> re.Pattern[str]:
    text = re.sub(r'\b(a|the)\b', '(?:an?|the)', sentence.lower()).removesuffix('.')
    return re.compile(re.sub(r'\{(\w+)\}', lambda gap: f'({"|".join(WORDS[gap[1]])})', text))


_PATTERNS = {name: _pattern(sentence) for name, sentence in SENTENCES.items()}
