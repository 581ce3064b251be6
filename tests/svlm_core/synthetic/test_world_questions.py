# SPDX-License-Identifier: Apache-2.0
"""Questions about a few seconds: what is true can be seen in their frames."""

from __future__ import annotations

from collections import Counter

import pytest

from svlm_core.synthetic import Story
from svlm_core.synthetic.questions import QUESTIONS, Question, ask
from svlm_core.synthetic.script import second
from svlm_core.synthetic.tokenizer import build_tokenizer

LIGHTS = {'red', 'yellow', 'green', 'blue', 'purple', 'white'}
CHOICES = {
    'light at first': LIGHTS,
    'light at last': LIGHTS,
    'robot': {'red', 'yellow', 'green', 'blue', 'none'},
    'left zone': {'yes', 'no'},
    'right zone': {'yes', 'no'},
}


def clips(seconds: int) -> list:
    return [
        [second(seed, first + place) for place in range(seconds)]
        for seed in range(40)
        for first in range(0, 120, 12)
    ]


def test_every_answer_is_found_by_looking_at_the_seconds_one_by_one() -> None:
    for clip in clips(5):
        answers = {kind: ask(kind, clip).answer for kind in QUESTIONS}
        lamp, robot, zones = '', 'none', set[str]()
        for now in clip:
            lamp = now.sight.lamp
            robot = now.sight.robot or robot
            zones |= {thing.place for thing in (*now.sight.before, *now.sight.after)}
        assert answers['light at last'] == lamp
        assert answers['light at first'] == clip[0].sight.lamp
        assert answers['robot'] == robot
        for side in ('left', 'right'):
            assert answers[f'{side} zone'] == ('yes' if side in zones else 'no')


@pytest.mark.parametrize('seconds', [4, 24])
def test_no_answer_is_given_away_by_how_often_it_is_true(seconds: int) -> None:
    asked = clips(seconds)
    for kind, choices in CHOICES.items():
        given = Counter(ask(kind, clip).answer for clip in asked)
        assert set(given) <= choices
        assert max(given.values()) < 0.85 * len(asked), (kind, given)


def test_a_shape_that_enters_or_leaves_a_zone_changes_the_picture_there() -> None:
    def change(seed: int, index: int) -> float:
        """In the left zone, from the first frame of a second to its second."""
        frames = Story(seed, 56, 56).frames(index)[:, 28:44, 2:18].astype(int)
        return abs(frames[1] - frames[0]).mean()

    seconds = [(seed, n) for seed in range(4) for n in range(40, 100)]
    moves = {'left zone': [], 'silence': []}
    for seed, index in seconds:
        now = second(seed, index)
        before, after = (
            any(t.place == 'left' for t in f) for f in (now.sight.before, now.sight.after)
        )
        if before != after:
            moves['left zone'].append(change(seed, index))
        elif now.skill == 'silence':
            moves['silence'].append(change(seed, index))
    assert min(moves['left zone']) > max(moves['silence'])


def test_each_word_is_known_to_the_tokenizer_and_each_answer_is_one_token() -> None:
    tokenizer = build_tokenizer()
    for text, _ in QUESTIONS.values():
        first, *rest = text.removesuffix('?').split()
        for word in (first.lower(), *rest):
            assert len(tokenizer.encode(f' {word}').ids) == 1, word
    for answer in set().union(*CHOICES.values()):
        assert len(tokenizer.encode(f' {answer}').ids) == 1, answer


@pytest.mark.parametrize('said', ['red', 'Red.', ' red ', 'RED .'])
def test_how_an_answer_is_written_makes_no_difference(said: str) -> None:
    assert Question('robot', 'Which robot came last?', 'red').answered(said)


@pytest.mark.parametrize('said', ['', 'blue', 'red red', 'The red robot is at dock two.'])
def test_what_is_another_answer_or_none_is_wrong(said: str) -> None:
    assert not Question('robot', 'Which robot came last?', 'red').answered(said)
