# SPDX-License-Identifier: Apache-2.0
"""Load is shed step by step while rounds take too long, and comes back without oscillation."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest

from svlm_core.shedding import CALM, LATE, TRIAL, Relief, Shedding

Model = Callable[[Relief], dict[str, float]]  # limits in, seconds of each stage out


def cost(base: float, per_token: float = 0.0, per_vision_token: float = 0.0) -> Model:
    """A round of a model that takes a + b x tokens + c x vision tokens."""

    def stages(relief: Relief) -> dict[str, float]:
        return {
            'plan': base,
            'vision': per_vision_token * relief.max_vision_tokens,
            'decode': per_token * relief.max_new_tokens,
        }

    return stages


def live(shedding: Shedding, model: Model, rounds: int) -> list[Relief]:
    """What was in force in each of so many rounds of one second."""
    held = []
    for _ in range(rounds):
        held.append(shedding.relief)
        stages = model(shedding.relief)
        shedding.ran(sum(stages.values()), 1.0, stages)
    return held


def changes(held: list[Relief]) -> int:
    return sum(a != b for a, b in pairwise(held))


def test_with_room_nothing_is_cut() -> None:
    held = live(Shedding('tokens', 20, 768), cost(0.3, 0.02), 100)
    assert held == [Relief(20, 768, '')] * 100


def test_policy_skip_changes_nothing_however_late_the_rounds_are() -> None:
    held = live(Shedding('skip', 20, 768), cost(5.0), 100)
    assert held == [Relief(20, 768, '')] * 100


def test_replies_are_halved_until_rounds_are_no_longer_than_they_last() -> None:
    held = live(Shedding('tokens', 20, 768), cost(0.5, 0.06), 20)
    assert [relief.max_new_tokens for relief in held[: 2 * LATE + 1]] == [20, 20, 10, 10, 5]
    assert held[-1] == Relief(5, 768, 'replies cut to 5 tokens')


def test_frames_are_halved_until_rounds_are_no_longer_than_they_last() -> None:
    held = live(Shedding('resolution', 20, 768), cost(0.5, 0, 0.001), 20)
    assert held[-1] == Relief(20, 384, 'frames cut to 384 vision tokens')


@pytest.mark.parametrize(
    ('shedding', 'least'),
    [
        (Shedding('tokens', 20, 768), Relief(4, 768, 'replies cut to 4 tokens')),
        (Shedding('tokens', 3, 768), Relief(3, 768, '')),
        (Shedding('resolution', 20, 768), Relief(20, 64, 'frames cut to 64 vision tokens')),
        (Shedding('resolution', 20, 768, 100), Relief(20, 100, 'frames cut to 100 vision tokens')),
        (Shedding('resolution', 20, 48), Relief(20, 48, '')),
    ],
)
def test_there_is_a_least_below_which_nothing_is_cut(shedding: Shedding, least: Relief) -> None:
    assert live(shedding, cost(5.0), 50)[-1] == least


def test_one_long_round_may_be_chance_and_cuts_nothing() -> None:
    shedding = Shedding('tokens', 20, 768)
    for seconds in (3.0, 0.5, 0.5, 3.0, 0.5):
        assert shedding.ran(seconds, 1.0, {}).text == ''


def test_what_is_too_long_depends_on_the_length_of_the_round() -> None:
    shedding = Shedding('tokens', 20, 768)
    for _ in range(10):
        assert shedding.ran(1.5, 2.0, {}).text == ''


def test_nothing_is_given_back_before_several_rounds_have_had_room() -> None:
    shedding = Shedding('tokens', 20, 768)
    live(shedding, cost(0.5, 0.04), LATE)
    held = live(shedding, cost(0.1, 0.01), CALM + 1)
    assert [relief.max_new_tokens for relief in held] == [*[10] * CALM, 20]


def test_when_the_load_falls_all_is_given_back_step_by_step() -> None:
    shedding = Shedding('tokens', 20, 768)
    live(shedding, cost(0.7, 0.05), 60)
    assert shedding.relief.max_new_tokens == 5
    held = live(shedding, cost(0.1, 0.02), 4 * CALM)
    assert list(dict.fromkeys(relief.max_new_tokens for relief in held)) == [5, 10, 20]
    assert held[-1].text == ''


def test_only_a_part_is_given_back_where_only_a_part_fits() -> None:
    shedding = Shedding('tokens', 20, 768)
    live(shedding, cost(0.7, 0.05), 60)
    held = live(shedding, cost(0.35, 0.05), 500)
    assert held[-1].max_new_tokens == 10
    assert changes(held) == 1


def test_a_moment_of_trouble_is_soon_forgotten() -> None:
    shedding = Shedding('tokens', 20, 768)
    live(shedding, cost(3.0, 0.02), LATE)
    assert shedding.relief.max_new_tokens == 10
    assert live(shedding, cost(0.4, 0.02), CALM + 1)[-1].max_new_tokens == 20


def test_what_had_to_be_cut_again_is_tried_later_until_it_has_lasted() -> None:
    shedding, trouble, rest = Shedding('tokens', 20, 768), cost(3.0), cost(0.1)

    def waited() -> int:
        live(shedding, trouble, LATE)
        return [r.max_new_tokens for r in live(shedding, rest, TRIAL)].index(20)

    assert waited() == CALM
    live(shedding, rest, TRIAL)  # it lasted
    live(shedding, trouble, LATE)
    live(shedding, rest, CALM)
    live(shedding, trouble, LATE)  # it did not
    assert [r.max_new_tokens for r in live(shedding, rest, TRIAL)].index(20) == 2 * CALM
    live(shedding, rest, TRIAL)
    assert waited() == CALM


def test_without_stages_all_of_a_round_is_taken_to_grow() -> None:
    shedding = Shedding('tokens', 20, 768)
    for _ in range(LATE):
        shedding.ran(1.1, 1.0, {})
    for _ in range(100):
        assert shedding.ran(0.5, 1.0, {}).max_new_tokens == 10
    for _ in range(CALM):
        shedding.ran(0.4, 1.0, {})
    assert shedding.relief.max_new_tokens == 20


@pytest.mark.parametrize('base', [0.1, 0.3, 0.5, 0.7, 0.8, 0.95, 1.2])
@pytest.mark.parametrize('slope', [0.005, 0.01, 0.02, 0.04, 0.1, 0.3])
def test_under_a_steady_load_it_settles_and_never_oscillates(base: float, slope: float) -> None:
    model, shedding = cost(base, slope), Shedding('tokens', 20, 768)
    live(shedding, model, 3 * LATE)
    settled = live(shedding, model, 1000)
    assert changes(settled) == 0
    fits = [n for n in (20, 10, 5, 4) if base + slope * n <= 1]
    assert settled[-1].max_new_tokens == (fits[0] if fits else 4)


def test_a_cost_that_follows_late_makes_it_try_ever_more_seldom() -> None:
    memory: deque[int] = deque(maxlen=16)  # what a round costs depends on the frames in memory

    def model(relief: Relief) -> dict[str, float]:
        memory.append(relief.max_vision_tokens)
        return {'vision': 0.0002 * relief.max_vision_tokens, 'decode': 0.00008 * sum(memory)}

    held = live(Shedding('resolution', 20, 768), model, 3600)
    assert changes(held[:600]) >= 4
    assert changes(held[1800:]) <= 2 * (1800 // TRIAL + 1)


@pytest.mark.parametrize('seed', range(5))
def test_replies_of_any_length_do_not_make_it_waver(seed: int) -> None:
    numbers = random.Random(seed)

    def model(relief: Relief) -> dict[str, float]:
        return {'plan': 0.5, 'decode': 0.04 * min(numbers.randint(0, 30), relief.max_new_tokens)}

    held = live(Shedding('tokens', 20, 768), model, 3600)
    assert changes(held) > 0
    assert changes(held[1800:]) <= 2 * (1800 // TRIAL + 1)
