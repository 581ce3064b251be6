# SPDX-License-Identifier: Apache-2.0
"""Stamps of live frames: spaced as the camera says, never in the future, whatever it says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.video.stamps import LAG, Stamps

MS = 1_000_000
NOON = 1_700_000_000_000 * MS


def stamps(times: list[tuple[float | None, float]]) -> list[float]:
    """Stamps in ms after noon, of frames (shown, arrived) in ms."""
    clock = Stamps()
    return [
        (clock.stamp(None if shown is None else round(shown * MS), NOON + round(at * MS)) - NOON)
        / MS
        for shown, at in times
    ]


def test_frames_that_are_held_up_on_the_way_keep_their_distances():
    delays = [0, 3, 30, 1, 200, 167, 134, 101, 5]
    found = stamps([(33 * n, 1000 + 33 * n + delay) for n, delay in enumerate(delays)])
    np.testing.assert_allclose(found, [1000 + 33 * n for n in range(9)], atol=0.1)


def test_a_first_frame_that_came_late_costs_no_later_one():
    found = stamps([(0, 500), (33, 501), (66, 502), (99, 599), (132, 632)])
    assert found[:3] == [500, 501, 502]
    np.testing.assert_allclose(found[3:], [535 - 0.1, 568], atol=100)
    assert found[3] <= 599
    assert found[4] <= 632


def test_a_time_that_jumps_ahead_or_back_is_tied_anew():
    for jump in (-3_600_000, -500, 700, 3_600_000):
        found = stamps(
            [(33 * n + 10_000_000, 33 * n) for n in range(5)]
            + [(33 * n + 10_000_000 + jump, 33 * n) for n in range(5, 20)]
        )
        np.testing.assert_allclose(found, [33 * n for n in range(20)], atol=0.5)


def test_a_frame_without_a_time_counts_from_its_arrival():
    assert stamps([(None, 0), (None, 70), (None, 71)]) == [0, 70, 71]


def test_times_that_stand_still_or_run_at_half_speed_do_not_grow_old():
    assert stamps([(0, 40 * n) for n in range(50)]) == [40 * n for n in range(50)]
    found = stamps([(20 * n, 40 * n) for n in range(2000)])
    assert max(40 * n - stamp for n, stamp in enumerate(found)) <= LAG / MS + 1


def test_a_clock_that_drifts_is_followed_for_hours():
    for pace in (1 - 1e-4, 1 + 1e-4):
        found = stamps([(1000 * n * pace, 1000 * n) for n in range(20_000)])
        np.testing.assert_allclose(found, 1000 * np.arange(20_000), atol=1)


@given(st.lists(st.tuples(st.none() | st.integers(-(10**14), 10**14), st.integers(0, 10**9))))
def test_stamps_go_forward_and_never_lie_in_the_future(frames):
    clock, arrival, last = Stamps(), NOON, 0
    for shown, passed in frames:
        arrival += passed + 1
        stamp = clock.stamp(shown, arrival)
        assert last < stamp <= arrival
        last = stamp
