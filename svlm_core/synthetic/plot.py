# SPDX-License-Identifier: Apache-2.0
"""What the coloured shapes on the floor do: a chain of moves that begins and ends with none there.

At most two shapes are there at once, of different colours. One stands in the middle or in one of
the two zones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from svlm_core.synthetic.captions import PLAIN, SHAPES, SIDES, SILENCE, Meaning

MOST = 2  # shapes at once
WEIGHTS = {'appears': 3, 'enters': 3, 'leaves': 3, 'hits': 4, 'disappears': 1}


@dataclass(frozen=True)
class Thing:
    """A shape on the floor; `place` is left, middle, right, or where it hits one: beside those."""

    color: str
    shape: str
    place: str

    @property
    def name(self) -> tuple[str, str]:
        """What it is called."""
        return self.color, self.shape


Floor = tuple[Thing, ...]


@dataclass(frozen=True)
class Move:
    """One thing that happens on the floor, and how that stands in its second frame.

    `rest` is how it stands when the second is over: a thing that has hit another goes back.
    """

    meaning: Meaning
    after: Floor
    rest: Floor


NOTHING = Move(SILENCE, (), ())


def plot(length: int, dice: Random) -> list[Move]:
    """`length` moves, at least two, that begin and end with an empty floor."""
    moves: list[Move] = []
    floor: Floor = ()
    for left in reversed(range(length)):
        open = [move for move in possible(floor, dice) if _can_end(move.rest, left)]
        weights = [WEIGHTS[move.meaning.sentence] for move in open]
        moves += dice.choices(open, weights)
        floor = moves[-1].rest
    return moves


def possible(floor: Floor, dice: Random) -> list[Move]:
    """Every move that the things on the floor allow, with one newcomer drawn by `dice`."""
    at = {thing.place: thing for thing in floor}
    middle = at.get('middle')
    moves = [_disappears(floor, thing) for thing in floor]
    if middle is None:
        moves += [_leaves(floor, at[side]) for side in SIDES if side in at]
        if len(floor) < MOST:
            colors = [color for color in PLAIN if color not in {thing.color for thing in floor}]
            moves.append(
                _appears(floor, Thing(dice.choice(colors), dice.choice(SHAPES), 'middle'))
            )
    else:
        moves += [
            _hits(floor, middle, at[side]) if side in at else _enters(floor, middle, side)
            for side in SIDES
        ]
    return moves


def _can_end(floor: Floor, left: int) -> bool:
    """Whether the floor can be empty after `left` more moves: a lone newcomer needs two."""
    return len(floor) <= left and not (not floor and left == 1)


def _appears(floor: Floor, thing: Thing) -> Move:
    after = (*floor, thing)
    return Move(Meaning('appears', thing.name), after, after)


def _disappears(floor: Floor, thing: Thing) -> Move:
    after = tuple(other for other in floor if other != thing)
    return Move(Meaning('disappears', thing.name), after, after)


def _enters(floor: Floor, thing: Thing, side: str) -> Move:
    after = _moved(floor, thing, side)
    return Move(Meaning('enters', (*thing.name, side)), after, after)


def _leaves(floor: Floor, thing: Thing) -> Move:
    after = _moved(floor, thing, 'middle')
    return Move(Meaning('leaves', (*thing.name, thing.place)), after, after)


def _hits(floor: Floor, thing: Thing, other: Thing) -> Move:
    after = _moved(floor, thing, f'beside {other.place}')
    return Move(Meaning('hits', (*thing.name, *other.name)), after, floor)


def _moved(floor: Floor, thing: Thing, place: str) -> Floor:
    return tuple(replace(other, place=place) if other == thing else other for other in floor)
