# SPDX-License-Identifier: Apache-2.0
"""Recitals: what is to be said stands there in words, and only that is learnt."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import torch

from svlm_core import preset
from svlm_core.card import EMBEDDED
from svlm_core.model.config import read_config
from svlm_core.prompt import ChatTokenizer
from svlm_core.training.recipe import Recitals
from svlm_core.training.recitals import RecitalSource, recital
from svlm_core.training.samples import Composer

NUMBERS = 'zero one two three four five six seven eight nine'.split()
CODE = re.compile(r'([A-Z][a-z]+): (\w+)\.')
DOCK = re.compile(r'Dock of robot (\w+): (\w+)\.')
SETTINGS = preset('robot', text_sink=32, text_window=96, max_vision_tokens=4)


@pytest.fixture(scope='module')
def source() -> RecitalSource:
    maker = Composer(ChatTokenizer(EMBEDDED), read_config(EMBEDDED), SETTINGS, 24576)
    return RecitalSource(Recitals(samples=64), maker)


def text(source: RecitalSource, ids: torch.Tensor) -> str:
    return source._composer.tokenizer.decode(ids.tolist())


def test_all_that_is_asked_follows_from_what_was_told(source: RecitalSource) -> None:
    for number in range(len(source)):
        told, asked = text(source, source[number].ids).split('previous text')[1].split('Time=')
        codes = dict(CODE.findall(told))
        docks = dict(DOCK.findall(told))  # the last counts
        assert len(set(codes.values())) == len(codes) > 0
        assert all(codes[key] == number for key, number in CODE.findall(asked))
        for robot, number in DOCK.findall(asked):
            assert NUMBERS.index(number) == NUMBERS.index(docks[robot]) % 9 + 1
            docks[robot] = number
        assert len(CODE.findall(asked)) + len(DOCK.findall(asked)) == 10


def test_only_numbers_are_learnt_each_from_the_words_before_it(source: RecitalSource) -> None:
    sample = source[5]
    assert torch.equal(sample.ids[sample.asked + 1], sample.labels)
    learnt = text(source, sample.labels).split()
    said = text(source, sample.ids).split('Time=')[1]
    assert learnt == [word for word in re.findall(r'\w+', said) if word in NUMBERS]


def test_it_is_dark(source: RecitalSource) -> None:
    sample = source[0]
    assert sample.film.shape == (2, 112, 112, 3)
    assert not sample.film.any()
    assert len(sample.seen) == 4


def test_the_same_number_is_the_same_recital(source: RecitalSource) -> None:
    assert torch.equal(source[7].ids, source[7].ids)
    assert not torch.equal(source[7].ids[:40], source[8].ids[:40])


def test_most_are_short_and_some_have_all() -> None:
    sizes: Counter[int] = Counter()
    for seed in range(300):
        told, _ = recital(np.random.default_rng(seed))
        sizes[sum(said.sentence == 'code' for said in told)] += 1
    assert sizes[1] + sizes[2] > 150
    assert sizes[8] > 10
