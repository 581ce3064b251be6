# SPDX-License-Identifier: Apache-2.0
"""What is read off marks: shares, silence, counts that follow each other, who wins a window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.evaluation.bootstrap import differences, interval, mean
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.judging import Bout, Ruling, count_right, win_rate
from svlm_core.evaluation.measures import Consistent, Cost, Right, Silence, Span
from svlm_core.synthetic.captions import NUMBERS, SILENCE, Meaning


def mark(second: int, said: str, truth: Meaning = SILENCE, skill: str = 'silence') -> Mark:
    return Mark(second, skill, truth, said, held=100 + second, encoded=30)


def docked(second: int, said: int | str, true: int, robot: str = 'red', skill: str = 'count'):
    """A robot that is at dock `true`, and the number, or the words, that are said of it."""
    words = f'Dock of robot {robot}: {NUMBERS[said]}.' if isinstance(said, int) else said
    return mark(second, words, Meaning('dock', (robot, NUMBERS[true])), skill)


def test_a_caption_is_right_by_its_meaning_not_by_its_letters():
    truth = Meaning('appears', ('red', 'circle'))
    assert mark(0, 'the red circle  appears', truth).right
    assert not mark(0, 'A red square appears.', truth).right
    assert not mark(0, 'Hello.', truth).right
    assert mark(0, '').right


def test_a_share_is_taken_over_the_skills_and_the_seconds_that_are_asked_for():
    marks = [docked(n, n % 9 + 1, 5) for n in range(20)] + [mark(20, 'Oh.')]
    assert Right(('count',))(marks) == 2 / 20
    assert Right(('count',), Span(4, 5))(marks) == 1
    assert Right()(marks) == 2 / 21
    assert math.isnan(Right(('recall',))(marks))
    assert Cost(held=True, span=Span(3, 5))(marks) == 103.5
    assert Cost(held=False)(marks) == 30


def test_silence_has_a_precision_and_a_recall():
    quiet, spoken = SILENCE, Meaning('appears', ('red', 'circle'))
    marks = [mark(0, '', quiet), mark(1, 'Oh.', quiet), mark(2, '', spoken), mark(3, '', quiet)]
    assert Silence(recall=False)(marks) == pytest.approx(2 / 3)
    assert Silence(recall=True)(marks) == pytest.approx(2 / 3)
    assert Silence(recall=True, span=Span(3))(marks) == 1


def test_counts_that_follow_each_other_are_consistent_though_they_are_wrong():
    marks = [
        docked(0, 3, 1, skill='dock'),
        docked(1, 7, 2, 'blue', skill='dock'),
        docked(2, 4, 2),
        docked(3, 8, 3, 'blue'),
        docked(4, 5, 3),
    ]
    assert Consistent()(marks) == 1
    assert Right(('count',))(marks) == 0


@pytest.mark.parametrize(
    ('said', 'consistent'), [(9, 0), (1, 1), (2, 0), ('Nothing moves.', 0), ('', 0)]
)
def test_after_nine_comes_one_and_words_without_a_number_break_the_chain(said, consistent):
    assert Consistent()([docked(0, 9, 9, skill='dock'), docked(1, said, 1)]) == consistent


def test_a_first_count_and_another_robots_count_are_not_held_against_it():
    marks = [docked(0, 5, 5), docked(1, 2, 2, 'blue'), docked(2, 6, 6)]
    assert Consistent()(marks) == 1
    assert math.isnan(Consistent()(marks[:2]))
    assert math.isnan(Consistent(Span(3))(marks))


def test_a_window_is_won_by_who_tells_more_of_it_right():
    good = [mark(n, '') for n in range(40)]
    bad = [mark(n, '' if n % 2 else 'Oh.') for n in range(40)]
    mixed = good[:20] + bad[20:]
    assert win_rate(good, bad) == 1
    assert win_rate(bad, good) == 0
    assert win_rate(good, mixed) == 0.75
    assert win_rate(good, good) == 0.5
    assert math.isnan(win_rate(good[:19], bad[:19]))


def test_each_window_is_judged_in_both_orders_so_a_preference_for_a_place_cancels_out():
    seen: list[Bout] = []

    def first_is_best(bout: Bout) -> Ruling:
        seen.append(bout)
        return Ruling(1)

    good = [mark(n, '') for n in range(20)]
    bad = [mark(n, 'Oh.') for n in range(20)]
    assert win_rate(good, bad, first_is_best) == 0.5
    assert [bout.first for bout in seen] == [('',) * 20, ('Oh.',) * 20]
    assert count_right(seen[0]) == Ruling(1)


def test_two_commentaries_of_different_seconds_cannot_be_compared():
    with pytest.raises(ValueError, match='different seconds'):
        win_rate([mark(0, '')], [mark(1, '')])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(0, 2**31))
def test_an_interval_holds_the_mean_and_is_the_same_for_the_same_seed(values, seed):
    low, high = interval(values, seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert low - 1e-9 <= mean(values) <= high + 1e-9
    assert interval(values, seed) == (low, high)


def test_intervals_of_the_mean_hold_it_about_as_often_as_they_say():
    draws = np.random.default_rng(1)
    held = 0
    for n in range(200):
        low, high = interval(draws.normal(0.4, 1, 30), n)
        held += low <= 0.4 <= high
    assert 0.88 <= held / 200 <= 0.98


def test_streams_without_a_value_are_left_out():
    assert mean([1.0, float('nan'), 3.0]) == 2
    assert interval([2.0, float('nan')], 0) == (2, 2)
    assert all(map(math.isnan, interval([float('nan')], 0)))
    assert differences([3, 2], [1, 5]) == [2, -3]
