# SPDX-License-Identifier: Apache-2.0
"""Worlds to learn looking in: one thing that is hard to see, all the time.

They have the room and the lights of the world of their seed, and nothing that words must remember.
A model learns here in minutes what it learns in an hour where it is asked now and then.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from svlm_core.synthetic import script
from svlm_core.synthetic.captions import LAGS, PLAIN, SHAPES, SIDES, SILENCE, Meaning
from svlm_core.synthetic.plot import Thing
from svlm_core.synthetic.script import Screen, Second, Sight
from svlm_core.synthetic.story import Story


class Gallery(Story):
    """Every second another shape appears, and is gone before the next.

    In the whole world a shape keeps its name for a while: it need be recognised once in twenty
    seconds, and can be read from what was said in the others.
    """

    def second(self, index: int) -> Second:
        """What happens in second `index`. Raises ValueError for a second before 0."""
        lamp, dice = super().second(index).sight.lamp, Random(f'{self.seed} shows {index}')
        thing = Thing(dice.choice(PLAIN), dice.choice(SHAPES), dice.choice((*SIDES, 'middle')))
        return Second(index, 'event', Meaning('appears', thing.name), Sight(lamp, (), (thing,)))


class Lookout(Story):
    """The lights of some seconds ago, asked for wherever nothing moves on the floor.

    The whole world asks for them once in four seconds.
    """

    def second(self, index: int) -> Second:
        """What happens in second `index`. Raises ValueError for a second before 0."""
        there = super().second(index)
        if there.skill == 'event':
            return there
        sight = replace(there.sight, screen=None, robot='')
        lag = self._asked(index)
        if lag is None:
            return Second(index, 'silence', SILENCE, sight)
        said = Meaning('lamp', (LAGS[lag], script.lamp(self.seed, index - lag)))
        sight = replace(sight, screen=Screen(f'-{lag}'))
        return Second(index, f'past_{lag}', said, sight, index - lag)

    def _asked(self, index: int) -> int | None:
        """How far to look back: each second is asked for once at most, as far back as it draws."""
        fits = [lag for lag in LAGS if lag <= index and self._after(index - lag) == lag]
        return max(fits, default=None)

    def _after(self, index: int) -> int:
        return Random(f'{self.seed} after {index}').choice(list(LAGS))
