# SPDX-License-Identifier: Apache-2.0
"""Commentary as people give it: now and then beside the point, or too late."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

CHATTER = (
    'The robot sees a quiet room.',
    'Nothing moves.',
    'The camera is still.',
    'The door is open.',
    'The chair is next to the desk.',
    'The bottle is full.',
    'A person walks by.',
    'People stand together.',
    'The light is getting dim.',
    'The door is closed.',
    'The floor is empty.',
    'A minute has passed.',
)
LATE = (2, 5)  # seconds, from and to


def noisy(said: Callable[[int], str], share: float, seed: int) -> Callable[[int], str]:
    """What is `said` in each second of a world, told wrong in this `share` of its seconds.

    Half of them have small talk, and half what was to be said 2 to 5 seconds before. It follows
    from the seed of the world and the second alone.
    """

    def told(second: int) -> str:
        dice = Random(f'{seed} noise {second}')  # text seeds give the same on any machine
        if dice.random() >= share:
            return said(second)
        late = dice.randint(*LATE)
        if dice.random() < 0.5 or late > second:
            return dice.choice(CHATTER)
        return said(second - late)

    return told
