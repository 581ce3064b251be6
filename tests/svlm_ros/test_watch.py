# SPDX-License-Identifier: Apache-2.0
"""A camera that stays away is told of once, and its return once."""

from __future__ import annotations

from svlm_ros.watch import Watch


def test_a_camera_that_never_comes_is_told_once():
    watch = Watch(timeout=lambda: 5, now=100)
    assert watch.overdue(105) is None
    assert watch.overdue(106) == 6
    assert watch.overdue(107) is None
    assert not watch.alive(107)


def test_a_camera_that_stops_and_comes_back_is_told_each_time():
    watch = Watch(timeout=lambda: 5, now=0)
    assert watch.arrived(1) is None
    assert watch.alive(6)
    assert not watch.alive(6.5)
    assert watch.overdue(7) == 6
    assert watch.arrived(9) == 8
    assert watch.alive(9)
    assert watch.overdue(15) == 6


def test_a_short_gap_is_nobodys_business():
    watch = Watch(timeout=lambda: 5, now=0)
    assert [watch.arrived(t) for t in (1, 5, 9)] == [None, None, None]
    assert watch.overdue(13) is None
