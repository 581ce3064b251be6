# SPDX-License-Identifier: Apache-2.0
"""The sentences of the world: written from their meaning, and read back to it."""

from __future__ import annotations

import re
from itertools import product

import pytest

from svlm_core.synthetic import Meaning, Story, meaning
from svlm_core.synthetic.captions import SENTENCES, SILENCE, WORDS
from svlm_core.synthetic.tokenizer import build_tokenizer


def sentences() -> list[Meaning]:
    """Everything that can be said at all."""
    return [
        Meaning(name, words)
        for name, text in SENTENCES.items()
        for words in product(*(WORDS[gap] for gap in re.findall(r'{(\w+)}', text)))
    ]


def test_every_sentence_is_read_back_to_what_it_means() -> None:
    every = sentences()
    assert len(every) == len({str(said) for said in every}), 'no sentence means two things'
    for said in every:
        assert meaning(str(said)) == said


def test_every_caption_of_a_world_is_one_of_them() -> None:
    story = Story(5, 28, 28)
    for index in range(2000):
        second = story.second(index)
        assert meaning(second.caption) == second.meaning


@pytest.mark.parametrize(
    'text',
    [
        'dock of robot red: two',
        ' Dock of  robot red: two. ',
        'DOCK OF ROBOT RED: TWO.',
    ],
)
def test_how_it_is_written_makes_no_difference(text: str) -> None:
    assert meaning(text) == Meaning('dock', ('red', 'two'))


@pytest.mark.parametrize(
    'text',
    [
        'Dock of robot red: zero.',
        'Dock of robot pink: two.',
        'Dock of robot red: two two.',
        'Dock of robot red: two. Red: one.',
        'Dock of robot red:',
        'Dock: two.',
        'Three seconds ago the light was red.',
        'The red enters the left zone.',
        'red red red',
        '...',
        'appears box under have floor',
    ],
)
def test_what_is_no_sentence_of_the_world_means_nothing(text: str) -> None:
    assert meaning(text) is None


@pytest.mark.parametrize('text', ['', ' ', '\n', '.'])
def test_no_words_are_silence(text: str) -> None:
    assert meaning(text) == SILENCE


def test_a_sentence_takes_few_tokens_and_every_word_is_one() -> None:
    tokenizer = build_tokenizer()
    for said in sentences():
        words = str(said).removesuffix('.').split()
        size = len(tokenizer.encode(f' {said}').ids) if words else 0
        assert size == (len(words) + 1 if words else 0)
        assert size <= 8
