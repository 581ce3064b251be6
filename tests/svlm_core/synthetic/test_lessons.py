# SPDX-License-Identifier: Apache-2.0
"""Worlds to learn looking in: one thing all the time, and nothing to remember in words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from svlm_core.synthetic import Story
from svlm_core.synthetic.captions import PLAIN, SHAPES, Meaning
from svlm_core.synthetic.lessons import Gallery, Lookout
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


def test_a_gallery_shows_every_shape_in_every_colour_and_each_is_gone_before_the_next():
    gallery = Gallery(SEED, 112, 112)
    seconds = [gallery.second(index) for index in range(600)]
    assert len({now.meaning.words for now in seconds}) == len(PLAIN) * len(SHAPES)
    for now in seconds:
        [thing] = now.sight.after
        assert now.meaning == Meaning('appears', thing.name)
        assert now.sight.before == ()
    empty, full = (np.stack([gallery.frame(n + part) for n in range(8)]) for part in (0, 0.5))
    floor = slice(int(112 * 0.55), int(112 * 0.76))  # where shapes stand
    assert empty[:, floor].std() < full[:, floor].std()


@pytest.mark.parametrize('lesson', [Gallery, Lookout])
def test_a_lesson_begins_at_second_0(lesson: type[Story]):
    with pytest.raises(ValueError, match='begins at 0'):
        lesson(SEED).second(-1)
