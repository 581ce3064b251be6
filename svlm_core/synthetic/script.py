# SPDX-License-Identifier: Apache-2.0
"""What happens in every second of a world, and what is said of it: pure functions of the seed.

The first 8 seconds tell the codes of 8 colours, one each. From then on the world plays acts of 24
seconds, each of 4 scenes of 6 seconds. In every scene, in any order, a robot comes to a dock, a
code is asked for, the light of some seconds ago is asked for, something moves on the floor, one
second is silent, and one more is one of the last three.

| skill | the frames show | memory must hold |
|---|---|---|
| silence | nothing new | |
| code | a colour and its number, in the first 8 seconds | |
| recall | the colour and a question mark | its number, told at the start |
| dock | a robot and the number of its dock | |
| count | a robot alone | its last number: now it is one more, and one after nine |
| past_2 to past_15 | how many seconds to look back | the light then, seen and never told |
| event | a shape that appears, enters or leaves a zone, hits another or disappears | |

The same robot comes every 19 to 29 seconds, the same code is asked for every 43 to 53 seconds. The
lamp has a light of its own every second, and no second of it is asked for twice. Where a robot is
gets shown at its first coming, and then at every eighth of its comings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import TypeVar

from svlm_core.synthetic.captions import COLORS, LAGS, NUMBERS, PLAIN, ROBOTS, SILENCE, Meaning
from svlm_core.synthetic.plot import NOTHING, Floor, Move, plot

OPENING = len(COLORS)  # seconds, a code each
SCENE = 6  # seconds
ACT = SCENE * len(ROBOTS)  # seconds, a coming of each robot
JOURNEY = 8  # acts: a robot's dock is shown once in them, and the floor is empty between them
DOCKS = 9
EVER = ('robot', 'recall', 'past', 'event', 'silence')  # what every scene has
SPARE = {'past': 2, 'silence': 2, 'event': 1}  # what fills it up, by weight
SKILLS = (
    'silence',
    'code',
    'recall',
    'dock',
    'count',
    *(f'past_{lag}' for lag in LAGS),
    'event',
)

TASKS: dict[str, tuple[str, ...]] = {
    'Describe what the robot sees.': SKILLS,
    'Watch the floor.': ('event',),
    'Tell me where each robot is.': ('dock', 'count'),
}  # queries, and what is to be spoken of under them

T = TypeVar('T')


@dataclass(frozen=True)
class Screen:
    """What the screen on the wall shows: a text, beside a colour where it is about one."""

    text: str
    color: str = ''


@dataclass(frozen=True)
class Sight:
    """All that can be seen in a second: the floor before its first frame and in its second."""

    lamp: str
    before: Floor = ()
    after: Floor = ()
    screen: Screen | None = None
    robot: str = ''  # the colour of the one that passes


@dataclass(frozen=True)
class Second:
    """One second of the world: what can be seen, and what is to be said of it.

    `source` is the earlier second that holds what this one does not show: where the code was
    told, where the robot was last, where the light was seen.
    """

    index: int
    skill: str
    meaning: Meaning
    sight: Sight
    source: int | None = None

    @property
    def caption(self) -> str:
        """The sentence; empty for silence."""
        return str(self.meaning)

    def told(self, query: str) -> str:
        """The caption under a query of `TASKS`: silence where it does not ask for this skill."""
        return self.caption if self.skill in TASKS[query] else ''


def second(seed: int, index: int) -> Second:
    """The second `index`, from 0, of the world of `seed`."""
    if index < OPENING:
        key, number = codes(seed)[index]
        sight = Sight(lamp(seed, index), screen=Screen(str(number), key))
        return Second(index, 'code', Meaning('code', (key, NUMBERS[number])), sight)
    act, place = divmod(index - OPENING, ACT)
    return play(seed, act)[place]


@lru_cache(maxsize=1024)
def play(seed: int, act: int) -> tuple[Second, ...]:
    """The seconds of an act."""
    moves = iter(_plots(seed, act // JOURNEY)[act % JOURNEY])
    floor, seconds = next(moves).rest, []
    for index, part in enumerate(screenplay(seed, act), OPENING + act * ACT):
        if part == 'event':
            move = next(moves)
            sight = Sight(lamp(seed, index), floor, move.after)
            seconds.append(Second(index, 'event', move.meaning, sight))
            floor = move.rest
        else:
            seconds.append(_STILL[part](seed, index, floor))
    return tuple(seconds)


@lru_cache(maxsize=1024)
def screenplay(seed: int, act: int) -> tuple[str, ...]:
    """What is to happen in each second of an act."""
    dice = _dice(seed, 'parts', act)
    parts: list[str] = []
    for _ in range(ACT // SCENE):
        spare = dice.choices(list(SPARE), list(SPARE.values()))
        parts += _shuffled((*EVER, *spare), dice)
    return tuple(parts)


@lru_cache(maxsize=256)
def codes(seed: int) -> tuple[tuple[str, int], ...]:
    """Each colour and its code, in the order of telling; no two colours have the same code."""
    dice = _dice(seed, 'codes')
    return tuple(zip(_shuffled(COLORS, dice), dice.sample(range(10), len(COLORS)), strict=True))


@lru_cache(maxsize=256)
def orders(seed: int) -> tuple[list[str], list[str]]:
    """The order in which robots come, and that in which codes are asked for."""
    dice = _dice(seed, 'orders')
    return _shuffled(ROBOTS, dice), _shuffled(COLORS, dice)


def lamp(seed: int, index: int) -> str:
    """The light of a second."""
    return _lamps(seed, index // ACT)[index % ACT]


def dock(seed: int, robot: str, act: int) -> tuple[int, bool]:
    """The dock that a robot comes to in an act, 1 to 9, and whether its number is shown."""
    apart = JOURNEY // len(ROBOTS) * ROBOTS.index(robot)  # robots set out one after the other
    since = min((act + apart) % JOURNEY, act)
    return (_dice(seed, robot, act - since).randrange(DOCKS) + since) % DOCKS + 1, since == 0


@lru_cache(maxsize=1024)
def looks(seed: int, act: int) -> dict[int, int]:
    """The seconds of an act at which the screen may ask for a light, and the seconds it had."""
    if act < 0:
        return {}
    dice, first = _dice(seed, 'looks', act), OPENING + act * ACT
    when = [first + n for n, part in enumerate(screenplay(seed, act)) if part == 'past']
    return {index: index - dice.choice([lag for lag in LAGS if lag <= index]) for index in when}


def _silence(seed: int, index: int, floor: Floor) -> Second:
    return Second(index, 'silence', SILENCE, Sight(lamp(seed, index), floor, floor))


def _robot(seed: int, index: int, floor: Floor) -> Second:
    act, scene = _scene(index)
    robot = orders(seed)[0][scene]
    number, shown = dock(seed, robot, act)
    screen = Screen(str(number)) if shown else None
    sight = Sight(lamp(seed, index), floor, floor, screen, robot)
    said = Meaning('dock', (robot, NUMBERS[number]))
    if shown:
        return Second(index, 'dock', said, sight)
    before = screenplay(seed, act - 1)[scene * SCENE : (scene + 1) * SCENE].index('robot')
    source = OPENING + (act - 1) * ACT + scene * SCENE + before
    return Second(index, 'count', said, sight, source)


def _recall(seed: int, index: int, floor: Floor) -> Second:
    act, scene = _scene(index)
    key = orders(seed)[1][(act * (ACT // SCENE) + scene) % OPENING]
    source, number = next((i, number) for i, (k, number) in enumerate(codes(seed)) if k == key)
    sight = Sight(lamp(seed, index), floor, floor, Screen('?', key))
    return Second(index, 'recall', Meaning('code', (key, NUMBERS[number])), sight, source)


def _past(seed: int, index: int, floor: Floor) -> Second:
    """Silence where the same second has been asked for before."""
    act, _ = _scene(index)
    wanted = looks(seed, act)[index]
    asked = looks(seed, act - 1) | looks(seed, act)
    if any(when < index and seen == wanted for when, seen in asked.items()):
        return _silence(seed, index, floor)
    lag = index - wanted
    sight = Sight(lamp(seed, index), floor, floor, Screen(f'-{lag}'))
    said = Meaning('lamp', (LAGS[lag], lamp(seed, wanted)))
    return Second(index, f'past_{lag}', said, sight, wanted)


_STILL = {'silence': _silence, 'robot': _robot, 'recall': _recall, 'past': _past}


def _scene(index: int) -> tuple[int, int]:
    """The act of a second, and its scene in that act."""
    act, place = divmod(index - OPENING, ACT)
    return act, place // SCENE


@lru_cache(maxsize=256)
def _plots(seed: int, journey: int) -> list[list[Move]]:
    """The moves of each act of a journey, led by the last one before it."""
    acts = range(journey * JOURNEY, (journey + 1) * JOURNEY)
    counts = [screenplay(seed, act).count('event') for act in acts]
    moves = [NOTHING, *plot(sum(counts), _dice(seed, 'plot', journey))]
    ends = accumulate(counts)
    return [moves[end - count : end + 1] for count, end in zip(counts, ends, strict=True)]


@lru_cache(maxsize=1024)
def _lamps(seed: int, number: int) -> list[str]:
    return _dice(seed, 'lamps', number).choices(PLAIN, k=ACT)


def _dice(seed: int, *what: str | int) -> Random:
    """Dice for one purpose; text seeds give the same on any machine."""
    return Random(' '.join(map(str, (seed, *what))))


def _shuffled(values: Sequence[T], dice: Random) -> list[T]:
    return dice.sample(values, len(values))
