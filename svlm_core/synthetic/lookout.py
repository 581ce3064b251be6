# SPDX-License-Identifier: Apache-2.0
"""A world to learn looking in: the floor, and the lights of some seconds ago, all the time.

It has the room, the lights and the floor of the world of its seed, and nothing that words must
remember. What that world asks once in four seconds is asked here wherever nothing moves: a model
learns in minutes what it learns there in an hour.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from svlm_core.synthetic import script
from svlm_core.synthetic.captions import LAGS, SILENCE, Meaning
from svlm_core.synthetic.script import Screen, Second
from svlm_core.synthetic.story import Story


class Lookout(Story):
    """Seconds in which something moves, or a light is asked for, or nothing is to be said."""

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
