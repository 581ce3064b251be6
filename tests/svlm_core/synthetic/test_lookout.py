# SPDX-License-Identifier: Apache-2.0
"""A world to learn looking in: much to look back at, nothing to remember in words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from svlm_core.synthetic import Story
from svlm_core.synthetic.lookout import Lookout
from svlm_core.synthetic.script import LAGS, Second
from watcher import Watcher

SEED, MINUTES = 31, 20


@pytest.fixture(scope='module')
def seconds() -> list[Second]:
    world = Lookout(SEED)
    return [world.second(index) for index in range(MINUTES * 60)]


def test_a_reader_who_sees_only_the_frames_so_far_says_every_caption(seconds: list[Second]):
    watcher = Watcher()
    for now in seconds:
        assert watcher.see(now.sight) == now.caption, now


def test_half_of_it_is_looking_back_as_far_as_ever_and_no_light_is_told_twice(
    seconds: list[Second],
):
    asked = [now for now in seconds if now.skill.startswith('past')]
    lights = [now.source for now in asked]
    assert len(asked) > 0.4 * len(seconds)
    assert len(set(lights)) == len(lights)
    often = Counter(now.skill for now in asked)
    assert min(often[f'past_{lag}'] for lag in LAGS) > len(asked) / len(LAGS) / 2


def test_nothing_is_asked_that_only_words_could_hold(seconds: list[Second]):
    skills = {now.skill for now in seconds if not now.skill.startswith('past')}
    assert skills == {'event', 'silence'}
    assert not any(now.sight.robot for now in seconds)
    assert all(now.sight.screen is None for now in seconds if not now.skill.startswith('past'))


def test_its_floor_and_its_lights_are_those_of_the_world_of_its_seed(seconds: list[Second]):
    world = Story(SEED)
    for now in seconds:
        there = world.second(now.index)
        assert now.sight.lamp == there.sight.lamp
        assert (now.sight.before, now.sight.after) == (there.sight.before, there.sight.after)
        assert (now.skill == 'event') == (there.skill == 'event')


def test_its_frames_show_what_it_asks_for():
    lookout, world = Lookout(SEED, 112, 112), Story(SEED, 112, 112)
    same = [
        np.array_equal(lookout.frames(index), world.frames(index))
        for index in range(40, 80)
        if lookout.second(index).sight.screen != world.second(index).sight.screen
    ]
    assert len(same) > 10
    assert not any(same)
    with pytest.raises(ValueError, match='begins at 0'):
        lookout.second(-1)
