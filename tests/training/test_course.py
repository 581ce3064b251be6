# SPDX-License-Identifier: Apache-2.0
"""Every sample comes once an epoch, in an order that follows from the seed alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from svlm_core.training.course import Course


@dataclass
class Numbers:
    """Samples that are names."""

    name: str
    count: int
    run: int = 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        assert 0 <= index < self.count
        return f'{self.name}{index}'


def all_of(course: Course) -> list:
    return [course[index] for index in range(len(course))]


def test_every_sample_comes_once_an_epoch_and_only_the_end_lacks_some() -> None:
    course = Course([Numbers('a', 7), Numbers('b', 4)], epochs=3, batch=4, seed=1)
    items = all_of(course)
    assert (course.steps, len(items)) == (9, 36)
    assert items[33:] == [None] * 3
    every = {f'a{n}' for n in range(7)} | {f'b{n}' for n in range(4)}
    for epoch in range(3):
        assert set(items[11 * epoch : 11 * epoch + 11]) == every


def test_a_source_that_is_listed_twice_weighs_twice() -> None:
    course = Course([Numbers('a', 3), Numbers('a', 3), Numbers('b', 3)], 1, 3, seed=1)
    counts = Counter(item[0] for item in all_of(course))
    assert counts == {'a': 6, 'b': 3}


def test_the_order_is_another_in_each_epoch_and_with_each_seed() -> None:
    first = all_of(Course([Numbers('a', 50)], 2, 10, seed=1))
    assert first[:50] != first[50:] != sorted(first[50:])
    assert first != all_of(Course([Numbers('a', 50)], 2, 10, seed=2))
    assert first == all_of(Course([Numbers('a', 50)], 2, 10, seed=1))


def test_a_course_can_be_entered_anywhere() -> None:
    whole = all_of(Course([Numbers('a', 9, run=2), Numbers('b', 5)], 3, 4, seed=3))
    entered = Course([Numbers('a', 9, run=2), Numbers('b', 5)], 3, 4, seed=3)
    assert [entered[n] for n in (40, 3, 17, 16)] == [whole[n] for n in (40, 3, 17, 16)]


def test_runs_stay_whole() -> None:
    items = all_of(Course([Numbers('a', 10, run=4)], 1, 2, seed=0))
    where = {item: place for place, item in enumerate(items)}
    for first in (0, 4, 8):
        run = [where[f'a{n}'] for n in range(first, min(first + 4, 10))]
        assert run == list(range(run[0], run[0] + len(run)))
    assert items != sorted(items)


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ValueError, match='nothing to learn from'):
        Course([Numbers('a', 0)], 1, 1, seed=0)
    with pytest.raises(IndexError):
        Course([Numbers('a', 1)], 1, 1, seed=0)[1]
