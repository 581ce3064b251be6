# SPDX-License-Identifier: Apache-2.0
"""What is left out while the model cannot keep up: a policy, told how long each round took.

`tokens` halves the longest reply, `resolution` the vision tokens of a pair of frames, as long as
rounds take longer than they last; `skip` changes nothing, and leaves it to the mailbox to skip
rounds. What was cut is given back one step at a time, once rounds have had room for it for a
while. No queue ever grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Shed = Literal['skip', 'tokens', 'resolution']

LATE = 2  # rounds in a row that take too long before something is cut: a single one may be chance
CALM = 8  # rounds in a row with room before something is given back
TRIAL = 256  # rounds that what was given back has to last; the longest patience before a new try
ROOM = 0.9  # share of a round that may be filled by what is given back
LEAST_TOKENS = 4  # of a reply
LEAST_VISION = 64  # tokens of a pair of frames
# The stages of a round whose time follows what is cut; the others cost the same as before.
STAGES = {'skip': (), 'tokens': ('decode', 'sample'), 'resolution': ('look', 'vision', 'prefill')}


@dataclass(frozen=True)
class Relief:
    """The limits that are in force, and what to say of them; no text: nothing is cut."""

    max_new_tokens: int
    max_vision_tokens: int
    text: str = ''

    @property
    def size(self) -> int:
        """What grows with each step that is given back, by whichever of the limits."""
        return self.max_new_tokens * self.max_vision_tokens


class Shedding:
    """Follows the rounds of a stream and says which limits they get.

    A step is taken after `LATE` rounds in a row that were longer than they last, and given back
    after `CALM` rounds in a row in which the next larger limit would have fitted into `ROOM` of a
    round. Where it has to be taken again within `TRIAL` rounds, the next try waits twice as long.
    """

    def __init__(
        self, shed: Shed, max_new_tokens: int, max_vision_tokens: int, min_vision_tokens: int = 1
    ) -> None:
        self._steps = _steps(shed, max_new_tokens, max_vision_tokens, min_vision_tokens)
        self._stages = STAGES[shed]
        self._taken = 0  # steps
        self._late = 0  # rounds in a row
        self._calm = 0  # rounds in a row
        self._patience = CALM
        self._trial: int | None = None  # rounds since something was given back; None: no trial

    @property
    def relief(self) -> Relief:
        """What holds for the next round."""
        return self._steps[self._taken]

    def ran(self, seconds: float, length: float, stages: Mapping[str, float]) -> Relief:
        """Note a round that took `seconds` to compute and lasts `length`; what holds from now on.

        `stages` says how the seconds were spent, as in `Caption.seconds`.
        """
        self._late = self._late + 1 if seconds > length else 0
        fits = seconds + self._growth(seconds, stages) <= ROOM * length
        self._calm = self._calm + 1 if fits else 0
        self._judge_the_trial()
        if self._late >= LATE and self._taken < len(self._steps) - 1:
            self._take_a_step()
        elif self._taken and self._calm >= self._patience:
            self._give_back()
        return self.relief

    def _growth(self, seconds: float, stages: Mapping[str, float]) -> float:
        """Seconds more that the round would have taken, at most, one step before."""
        if not self._taken:
            return 0.0
        known = [stages[name] for name in self._stages if name in stages]
        part = sum(known) if known else seconds
        return part * (self._steps[self._taken - 1].size / self.relief.size - 1)

    def _judge_the_trial(self) -> None:
        """Forget earlier failures once what was given back has lasted."""
        if self._trial is not None:
            self._trial += 1
            if self._trial > TRIAL:
                self._trial, self._patience = None, CALM

    def _take_a_step(self) -> None:
        self._taken += 1
        if self._trial is not None:
            self._patience = min(2 * self._patience, TRIAL)
        self._trial = None
        self._late = self._calm = 0

    def _give_back(self) -> None:
        self._taken -= 1
        self._trial = 0
        self._late = self._calm = 0


def _steps(shed: Shed, tokens: int, vision: int, least_vision: int) -> list[Relief]:
    """All limits there are, from none cut to the least possible."""
    steps = [Relief(tokens, vision)]
    if shed == 'tokens':
        steps += [
            Relief(n, vision, f'replies cut to {n} tokens') for n in _halves(tokens, LEAST_TOKENS)
        ]
    if shed == 'resolution':
        least = max(LEAST_VISION, least_vision)
        steps += [
            Relief(tokens, n, f'frames cut to {n} vision tokens') for n in _halves(vision, least)
        ]
    return steps


def _halves(whole: int, least: int) -> list[int]:
    """A number halved again and again, down to `least`; none where it is no larger."""
    found = []
    while whole > least:
        whole = max(whole // 2, least)
        found.append(whole)
    return found
