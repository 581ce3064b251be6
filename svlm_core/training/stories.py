# SPDX-License-Identifier: Apache-2.0
"""Chunks of the synthetic world to learn from."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from svlm_core.errors import SettingsError
from svlm_core.synthetic.lessons import Gallery, Lookout
from svlm_core.synthetic.noise import noisy
from svlm_core.synthetic.questions import QUESTIONS, ask
from svlm_core.synthetic.script import TASKS
from svlm_core.synthetic.story import Story, seed_to_train
from svlm_core.training.recipe import Stories, World
from svlm_core.training.samples import Composer, Moment, Sample

WORLDS: dict[World, type[Story]] = {'whole': Story, 'gallery': Gallery, 'lookout': Lookout}
STAY = (1, 16)  # rounds that frames stay where they leave early, from and to


class StorySource:
    """Overlapping chunks of many worlds: each is a pure function of the recipe and its number.

    A run of neighbours is taken from one world. Where it begins is drawn so that any two times of
    which one is twice the other are as frequent as the next two: beginnings are often seen, and
    late seconds too.
    """

    def __init__(self, settings: Stories, composer: Composer) -> None:
        """Raises SettingsError for a stream whose rounds are not the seconds of the world."""
        if (composer.settings.fps, composer.settings.chunk_seconds) != (2, 1):
            raise SettingsError('the synthetic world has 2 fps and rounds of 1 second')
        self.run = settings.run
        self._settings, self._composer = settings, composer

    def __len__(self) -> int:
        return self._settings.samples

    def __getitem__(self, index: int) -> Sample:
        settings, composer = self._settings, self._composer
        number, place = divmod(index, self.run)
        draws = np.random.default_rng([settings.seed, number])
        seed = seed_to_train(settings.seed + number)
        stride = settings.window - settings.overlap
        starts = max(1, (settings.length - settings.window) // stride + 1)
        first = (int(np.exp(draws.random() * np.log(starts + 1))) - 1 + place) * stride
        old, query, since = _tasks(draws, settings.tasks, first, settings.window)
        world = story(seed, settings.size, settings.world)

        def told(second: int) -> str:
            return world.second(second).told(query if second >= since else old)

        def learnt(second: int) -> bool:
            rests_on = world.second(second).source
            known = not settings.only_shown or rests_on is None or rests_on >= first
            return second >= since and known

        said = noisy(told, settings.noise, seed)
        seconds = range(first, first + settings.window)
        moments = [Moment(float(i), _frames(world, i), said(i), learnt(i)) for i in seconds]
        stream = composer.settings
        said_before = first if settings.history else 0
        earlier = retold(said, said_before, composer.tokens, stream.text_sink, stream.text_window)
        kind, vision_rounds = self._extras(number, place)
        quiz = ask(kind, [world.second(i) for i in seconds]) if kind else None
        return composer.compose(
            moments,
            earlier,
            first,
            query,
            quiz=(quiz.text, quiz.answer) if quiz else None,
            vision_rounds=vision_rounds,
        )

    def _extras(self, number: int, place: int) -> tuple[str, int | None]:
        """What a chunk is asked at its end ('': nothing), and how long its frames stay.

        A chunk whose frames leave is asked nothing: the answer might have left with them.
        """
        draws = np.random.default_rng([self._settings.seed, number, 1 + place])
        early, asks = draws.random(2) < (self._settings.early_eviction, self._settings.questions)
        stay, kind = int(draws.integers(*STAY, endpoint=True)), str(draws.choice(list(QUESTIONS)))
        return kind if asks and not early else '', stay if early else None


def _tasks(
    draws: np.random.Generator, share: float, first: int, window: int
) -> tuple[str, str, int]:
    """What a stream is asked at first and in the end, and the second in which that changes.

    Most streams have one task. Of the `share` that have another than the usual, half get it only
    shortly before the chunk that begins at `first`, or in it, and half of these return from it.
    """
    usual, *others = TASKS
    if draws.random() >= share:
        return usual, usual, 0
    other = others[draws.integers(len(others))]
    kept, back = draws.random(2) < 0.5
    since = int(draws.integers(first - window // 2, first + window // 2))
    if kept or since <= 0:
        return other, other, 0
    return (other, usual, since) if back else (usual, other, since)


def retold(
    said: Callable[[int], str],
    count: int,
    tokens: Callable[[str], int],
    sink: int | None,
    recent: int | None,
) -> list[str]:
    """Of what was `said` in rounds 0 to `count`, all that sink and recent text can hold.

    It is cut to the same previous text as the whole would be, at a cost that does not grow.
    """
    head, size = 0, 0
    while head < count and (sink is None or size < sink):
        size += tokens(said(head))
        head += 1
    tail, size = count, 0
    while tail > head and (recent is None or size < recent):
        tail -= 1
        size += tokens(said(tail))
    return [said(number) for number in (*range(head), *range(tail, count))]


@lru_cache(maxsize=4)
def story(seed: int, size: int, world: World) -> Story:
    """A world, kept while its neighbouring chunks are made."""
    return WORLDS[world](seed, size, size)


@lru_cache(maxsize=128)
def _frames(world: Story, second: int) -> np.ndarray:
    """Frames of a second, kept for the chunk that overlaps."""
    return world.frames(second)
