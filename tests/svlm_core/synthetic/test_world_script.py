# SPDX-License-Identifier: Apache-2.0
"""What happens in the world: often, evenly, and never more than frames and memory can tell."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from svlm_core.config import preset
from svlm_core.synthetic import SKILLS, TASKS, Story, script, seed_to_test, seed_to_train
from svlm_core.synthetic.guessing import best_guesses
from svlm_core.synthetic.script import LAGS, OPENING, Second, second
from svlm_core.synthetic.tokenizer import build_tokenizer
from watcher import Watcher

HOUR = 3600


@pytest.fixture(scope='module', params=[0, 1, 77, 2**40])
def hour(request: pytest.FixtureRequest) -> list[Second]:
    """One hour of a world."""
    return [second(request.param, index) for index in range(HOUR)]


def test_any_second_can_be_asked_for_in_any_order() -> None:
    forward = [second(9, index) for index in range(400)]
    script.play.cache_clear()
    assert [second(9, index) for index in reversed(range(400))] == forward[::-1]
    assert second(9, 10**8).index == 10**8


def test_another_process_tells_the_same_story() -> None:
    code = (
        'import hashlib; from svlm_core.synthetic.script import second; '
        'print(hashlib.sha256(repr([second(4, n) for n in range(999)]).encode()).hexdigest())'
    )
    runs = {subprocess.check_output([sys.executable, '-c', code], timeout=60) for _ in range(2)}
    assert len(runs) == 1


def test_worlds_to_train_on_and_to_test_with_are_never_the_same() -> None:
    train, test = ({of(n) for n in range(1000)} for of in (seed_to_train, seed_to_test))
    assert len(train) == len(test) == 1000
    assert not train & test
    stories = {tuple(second(seed, n).caption for n in range(30)) for seed in range(200)}
    assert len(stories) == 200, 'every seed is another world'


def test_a_reader_who_sees_only_the_frames_so_far_says_every_caption(hour: list[Second]) -> None:
    watcher = Watcher()
    for now in hour:
        assert watcher.see(now.sight) == now.caption, now


def test_most_seconds_are_spoken_of_and_every_skill_is_frequent(hour: list[Second]) -> None:
    minutes = HOUR / 60
    rate = {skill: count / minutes for skill, count in Counter(s.skill for s in hour).items()}
    assert set(rate) == set(SKILLS)
    assert 12 <= rate['silence'] <= 21, '20 to 35 % of all seconds'
    assert rate['recall'] == pytest.approx(10, abs=0.1)
    assert rate['count'] > 8
    assert rate['event'] > 10
    assert all(rate[f'past_{lag}'] > 1.8 for lag in LAGS)
    kinds = Counter(s.meaning.sentence for s in hour if s.skill == 'event')
    assert len(kinds) == 5
    assert min(kinds.values()) > 0.1 * sum(kinds.values())


def test_all_codes_are_told_first_each_once_and_differ(hour: list[Second]) -> None:
    assert {now.skill for now in hour[:OPENING]} == {'code'}
    assert 'code' not in {now.skill for now in hour[OPENING:]}
    keys, numbers = zip(*(now.meaning.words for now in hour[:OPENING]), strict=True)
    assert len(set(keys)) == len(set(numbers)) == OPENING


def test_a_code_is_asked_for_long_after_it_was_last_said(hour: list[Second]) -> None:
    told: dict[str, int] = {}
    for now in hour:
        if now.skill == 'recall':
            key = now.meaning.words[0]
            assert now.source is not None
            assert hour[now.source].skill == 'code'
            assert hour[now.source].meaning == now.meaning
            assert now.sight.screen.text == '?', 'its number is not shown'
            if key in told:
                assert 43 <= now.index - told[key] <= 53
            told[key] = now.index


def test_a_count_rests_on_the_last_word_about_the_robot_alone(hour: list[Second]) -> None:
    for now in hour:
        if now.skill != 'count':
            continue
        assert now.sight.screen is None, 'the count is never drawn'
        assert 19 <= now.index - now.source <= 29
        robot = now.meaning.words[0]
        between = hour[now.source + 1 : now.index]
        assert robot not in {other.sight.robot for other in between}
        assert hour[now.source].meaning.words[0] == robot


def test_a_light_is_asked_for_that_was_seen_then_and_told_never(hour: list[Second]) -> None:
    asked = [now for now in hour if now.skill.startswith('past')]
    for now in asked:
        lag = int(now.skill.removeprefix('past_'))
        assert now.source == now.index - lag
        assert hour[now.source].sight.lamp == now.meaning.words[1]
    assert len({now.source for now in asked}) == len(asked), 'no second is asked for twice'
    lights = Counter(now.sight.lamp for now in hour)
    assert min(lights.values()) > 0.13 * HOUR
    same = sum(a.sight.lamp == b.sight.lamp for a, b in pairwise(hour))
    assert same < 0.2 * HOUR, 'a light tells nothing of the next'


def test_one_size_of_text_window_holds_every_count_and_no_code(hour: list[Second]) -> None:
    """Replies of the last 16 seconds stand in place; older ones are previous text."""
    tokenizer, ends = build_tokenizer(), [0]
    for now in hour:
        size = len(tokenizer.encode(f' {now.caption}').ids) if now.caption else 0
        ends.append(ends[-1] + size)
    assert ends[OPENING] == 24, 'tokens of sink that hold all codes'
    told: dict[str, int] = {}
    for now in hour[16:]:
        if now.skill == 'count':
            assert ends[now.index - 15] - ends[now.source] <= 90
        if now.skill == 'recall' and (last := told.get(now.meaning.words[0])):
            assert ends[now.index - 15] - ends[last + 1] >= 98
        if now.skill == 'recall':
            told[now.meaning.words[0]] = now.index


def test_guessing_gets_nowhere() -> None:
    learn, test = map(seed_to_train, range(60)), map(seed_to_test, range(30))
    guesses = best_guesses(learn, test, 900)
    chance = {'code': 1 / 10, 'recall': 1 / 10, 'dock': 1 / 9, 'count': 1 / 9}
    chance |= {f'past_{lag}': 1 / 6 for lag in LAGS}
    for skill, level in chance.items():
        way, right = guesses[skill]
        # Few docks and codes are shown, so luck weighs more there.
        assert right < level + (0.1 if skill in ('code', 'dock') else 0.05), (skill, way)


def test_a_task_speaks_of_its_own_skills_and_is_silent_otherwise(hour: list[Second]) -> None:
    assert next(iter(TASKS)) == preset('robot').query, 'the default task is to tell everything'
    for now in hour[:600]:
        assert now.told('Describe what the robot sees.') == now.caption
        assert bool(now.told('Watch the floor.')) == (now.skill == 'event')
        assert bool(now.told('Tell me where each robot is.')) == (now.skill in ('dock', 'count'))


def test_a_second_before_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match='no second -1'):
        Story().second(-1)
