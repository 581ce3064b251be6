# SPDX-License-Identifier: Apache-2.0
"""Missing frames are told from stamps alone, and jitter is not mistaken for loss."""

from __future__ import annotations

import random

from svlm_core.mailbox import SECOND
from svlm_ros.gaps import Gaps


def missing(stamps, longest=5 * SECOND):
    gaps = Gaps(lambda: longest)
    return [gaps.missing(stamp) for stamp in stamps]


def steady(count, hertz=30):
    return [i * SECOND // hertz for i in range(count)]


def test_a_steady_camera_misses_nothing():
    assert sum(missing(steady(200))) == 0


def test_a_camera_that_jitters_by_a_fifth_misses_nothing():
    chance = random.Random(1)
    stamps = [round((i + chance.uniform(-0.1, 0.1)) * SECOND / 2) for i in range(200)]
    assert sum(missing(stamps)) == 0


def test_frames_left_out_are_counted_where_they_are_missing():
    stamps = steady(100)
    del stamps[50:53], stamps[20]
    counts = missing(stamps)
    assert {i: n for i, n in enumerate(counts) if n} == {20: 1, 49: 3}


def test_half_of_the_frames_lost_at_random_are_counted_closely():
    chance = random.Random(2)
    stamps = [stamp for stamp in steady(2000) if chance.random() < 0.5]
    assert abs(sum(missing(stamps)) - (2000 - len(stamps))) < 0.05 * 2000


def test_a_long_silence_and_time_that_goes_back_are_no_loss():
    stamps = steady(50)
    later = [stamp + 60 * SECOND for stamp in stamps]
    assert sum(missing([*stamps, *later, *stamps])) == 0


def test_frames_lost_before_the_interval_is_known_are_counted_once_it_is():
    stamps = steady(30)
    del stamps[2:4]
    counts = missing(stamps)
    assert sum(counts) == 2
    assert counts.index(2) == 4  # four intervals tell what is usual
