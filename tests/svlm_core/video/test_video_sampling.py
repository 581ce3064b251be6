# SPDX-License-Identifier: Apache-2.0
"""Which frames the model sees of each second: none twice at ordinary frame rates, none missed."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from weakref import WeakSet

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.config import preset
from svlm_core.errors import SourceError
from svlm_core.video.frame import Frame
from svlm_core.video.sampling import exact, published, sample
from svlm_core.video.sources import open_source

RATES = [24, 25, 30, 50, 60, Fraction(24000, 1001), Fraction(30000, 1001)]


def picture(number: int, size: tuple[int, int] = (1, 1)) -> np.ndarray:
    return np.full((*size, 3), (*divmod(number, 256), 0), dtype=np.uint8)


def clip(stamps: list[float], end: float) -> list[Frame]:
    """Frames shown at `stamps`, the last one until `end`; each pixel holds the frame's number."""
    ends = [*stamps[1:], end]
    return [
        Frame(stamp, until, partial(picture, number))
        for number, (stamp, until) in enumerate(zip(stamps, ends, strict=True))
    ]


def steady(rate, seconds: float) -> list[Frame]:
    count = round(seconds * rate)
    return clip([float(n / Fraction(rate)) for n in range(count)], float(count / Fraction(rate)))


def numbers(made) -> list[int]:
    return [256 * int(frame[0, 0, 0]) + int(frame[0, 0, 1]) for frame in made.frames]


@pytest.mark.parametrize('rate', RATES)
def test_a_second_shows_the_frames_at_t_and_half_past_t(rate):
    rounds = list(exact(steady(rate, 5.01), 2, 1))
    # The newest frame that is on screen at each instant, computed in exact fractions.
    expected = [[int(t * rate), int((t + Fraction(1, 2)) * rate)] for t in range(5)]
    assert [numbers(made) for made in rounds] == expected
    assert [(made.start, made.end) for made in rounds] == [(t, t + 1) for t in range(5)]
    assert all((made.used, made.repeated) == (2, 0) for made in rounds)
    for made in rounds:
        assert made.stamp == pytest.approx(made.start + 0.5, abs=float(1 / rate))


@pytest.mark.parametrize('rate', RATES)
@pytest.mark.parametrize('name', ['clip.mp4', 'clip.mkv'])
def test_the_same_holds_for_real_files(make_video, read_number, rate, name):
    with open_source(make_video(name, round(3.02 * rate), rate)) as source:
        rounds = list(sample(source, preset('robot')))
    shown = [read_number(frame) for made in rounds for frame in made.frames]
    assert shown == [int(Fraction(half, 2) * rate) for half in range(6)]


def test_eight_frames_a_second_are_all_different(make_video, read_number):
    with open_source(make_video('clip.mp4', 48, 24)) as source:
        rounds = list(sample(source, preset('robot', fps=8)))
    shown = [[read_number(frame) for frame in made.frames] for made in rounds]
    assert shown == [list(range(0, 24, 3)), list(range(24, 48, 3))]


def test_start_and_duration_cut_whole_rounds_out_of_a_file(make_video, read_number):
    path = make_video('clip.mp4', 240, 24)
    with open_source(path, start=6.25) as source:
        rounds = list(sample(source, preset('robot'), start=6.25, duration=2.5))
    assert [made.start for made in rounds] == [6.25, 7.25]
    assert [read_number(f) for made in rounds for f in made.frames] == [150, 162, 174, 186]
    assert [made.repeated for made in rounds] == [0, 0]


def test_a_slow_camera_repeats_and_counts_it():
    rounds = list(exact(steady(1, 4), 2, 1))
    assert [numbers(made) for made in rounds] == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert [(made.used, made.repeated, made.dropped) for made in rounds] == [(2, 1, 0)] * 4


def test_a_picture_that_freezes_is_repeated_until_it_moves():
    rounds = list(exact(clip([0, 0.5, 1.0, 4.2], 5), 2, 1))
    assert [numbers(made) for made in rounds] == [[0, 1], [2, 2], [2, 2], [2, 2], [2, 3]]
    assert [made.repeated for made in rounds] == [0, 1, 2, 2, 1]


def test_a_late_first_frame_stands_for_what_came_before_it():
    rounds = list(exact(clip([0.7, 1.1], 2), 2, 1))
    assert [numbers(made) for made in rounds] == [[0, 0], [0, 1]]


def test_frames_that_are_never_shown_are_counted_once():
    rounds = list(exact(steady(24, 10), 2, 1))
    assert [made.dropped for made in rounds] == [22] * 9 + [21]  # the last one stays on screen


@pytest.mark.parametrize('choose', [exact, published])
def test_a_last_round_that_is_not_full_is_left_out(choose):
    assert len(list(choose(steady(24, 3.9), 2, 1))) == 3
    assert len(list(choose(steady(24, 0.9), 2, 1))) == 0
    assert len(list(choose([], 2, 1))) == 0
    # Matroska cuts 41.7 ms to 41: a file of 2 s seems to end at 1.999 s.
    short = clip([round(n / 24, 3) for n in range(48)], 1.999)
    assert len(list(choose(short, 2, 1))) == 2


@pytest.mark.parametrize('rate', [24, 25, 30, 50, 60])
def test_the_published_code_shows_one_frame_twice_at_integer_rates(rate):
    rounds = list(sample(steady(rate, 5), preset('reference')))
    # Frames are counted by their ends: the one that ends at t + 1 has the number (t + 1) rate - 1.
    twice = [[(t + 1) * rate - 1] * 2 for t in range(1, 5)]
    assert [numbers(made) for made in rounds[1:]] == twice
    assert [made.repeated for made in rounds[1:]] == [1] * 4
    assert numbers(rounds[0]) == [0, (rate + 1) // 2]  # two of them: nothing ends at 0


def test_the_published_code_is_right_at_television_rates():
    rounds = list(published(steady(Fraction(30000, 1001), 8.1), 2, 1))
    assert len(rounds) == 8
    assert all(made.repeated == 0 for made in rounds)


def brute_force_exact(frames: list[Frame], count: int, end: float) -> list[list[int]]:
    """The definition, by looking at all frames for each instant."""
    rounds = []
    for t in range(int(end)):
        picks = []
        for k in range(count):
            before = [n for n, f in enumerate(frames) if f.stamp <= t + k / count + 1e-9]
            picks.append(before[-1] if before else 0)
        rounds.append(picks)
    return rounds


def brute_force_published(frames: list[Frame], count: int, end: float) -> list[list[int]]:
    """The published selection, as arrays over the whole video."""
    ends = np.array([frame.end for frame in frames])
    rounds = []
    for t in range(int(end)):
        inside = np.flatnonzero((ends >= t - 1e-6) & (ends <= t + 1 + 1e-6))
        if not len(inside):
            return rounds
        targets = np.arange(ends[inside[0]], ends[inside[-1]] + 1e-6, 1 / count)
        picks = [int(inside[(ends[inside] >= target - 1e-6).argmax()]) for target in targets]
        picks += [picks[-1]] * (len(picks) % 2)
        picks += [picks[-1]] * (count - len(picks))
        rounds.append(picks[-count:])
    return rounds


# Times on a grid of 1/16 s, which floats hold exactly, so that borders are hit often.
ticks = st.lists(st.integers(1, 12), min_size=1, max_size=80)


@given(ticks, st.sampled_from([1, 2, 4, 8]), st.integers(0, 20))
def test_any_timing_agrees_with_the_definition(steps, count, first):
    times = (np.cumsum([first, *steps]) / 16).tolist()
    frames, end = clip(times[:-1], times[-1]), times[-1]
    rounds = list(exact(frames, count, 1))
    assert [numbers(made) for made in rounds] == brute_force_exact(frames, count, end)
    shown = {number for made in rounds for number in numbers(made)}
    assert sum(made.used - made.repeated for made in rounds) == len(shown)
    assert len(shown) + sum(made.dropped for made in rounds) <= len(frames)


@given(ticks, st.sampled_from([2, 4, 8]))
def test_any_timing_agrees_with_the_published_selection(steps, count):
    times = (np.cumsum([0, *steps]) / 16).tolist()
    frames = clip(times[:-1], times[-1])
    rounds = list(published(frames, count, 1))
    expected = brute_force_published(frames, count, times[-1])
    assert [numbers(made) for made in rounds] == expected
    assert all(made.dropped >= 0 for made in rounds)


@pytest.mark.parametrize('choose', [exact, published])
def test_a_source_that_fails_costs_no_round_that_is_whole(choose):
    def failing():
        yield from steady(24, 3)
        raise SourceError('the cable is out')

    rounds = choose(failing(), 2, 1)
    assert [next(rounds).start for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match='cable'):
        next(rounds)


def test_nothing_is_read_beyond_the_duration():
    def endless():
        for number in range(10_000):
            yield Frame(number / 2, (number + 1) / 2, partial(picture, number))
            assert number < 10

    assert len(list(sample(endless(), preset('robot'), duration=3))) == 3


@pytest.mark.parametrize('choose', [exact, published])
def test_only_the_frames_of_one_round_are_held(choose):
    alive: WeakSet[Frame] = WeakSet()
    most = 0

    def camera():
        nonlocal most
        for number in range(60 * 20):
            frame = Frame(number / 60, (number + 1) / 60, partial(picture, number))
            alive.add(frame)
            yield frame
            del frame
            most = max(most, len(alive))

    assert len(list(choose(camera(), 2, 1))) == 20
    assert most <= 6


def test_a_camera_that_changes_its_resolution_within_a_round_goes_on():
    frames = [
        Frame(0.0, 0.5, partial(picture, 40 * 256 + 40, (30, 40))),
        Frame(0.5, 1.0, partial(picture, 80, (60, 80))),
        Frame(1.0, 1.5, partial(picture, 90, (60, 80))),
        Frame(1.5, 2.0, partial(picture, 90, (60, 80))),
    ]
    first, second = exact(frames, 2, 1)
    assert first.frames.shape == second.frames.shape == (2, 60, 80, 3)
    assert set(np.unique(first.frames[0, :, :, :2])) == {40}
    assert first.frames.dtype == np.uint8


def test_rounds_of_other_lengths_keep_their_clock():
    settings = preset('robot', chunk_seconds=0.5, fps=10)
    rounds = list(sample(steady(30, 3), settings, start=1.0))
    assert [made.start for made in rounds] == [1.0, 1.5, 2.0, 2.5]
    assert numbers(rounds[0]) == [30, 33, 36, 39, 42]


def test_hours_do_not_shift_the_clock():
    start = 36_000.0
    frames = clip([start + n / 24 for n in range(240)], start + 10)
    rounds = list(exact(frames, 2, 1, start))
    assert [numbers(made) for made in rounds] == [[24 * t, 24 * t + 12] for t in range(10)]
