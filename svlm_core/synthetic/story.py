# SPDX-License-Identifier: Apache-2.0
"""The synthetic world: an endless camera stream, and what is to be said of every second of it.

    story = Story(seed=0)
    second, frames = story.second(30), story.frames(30)

The world has no state. Everything follows from the seed and the time, so any second can be asked
for in any order, for ever, and two runs agree. What happens is in `script`, how it looks in `room`
and here.

Worlds of odd seeds are there to train on, those of even seeds to show and to test with: so
nothing is trained on a world that it is tested with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from svlm_core.synthetic import paint, script
from svlm_core.synthetic.plot import Floor, Thing
from svlm_core.synthetic.room import COLORS, Room
from svlm_core.synthetic.script import Second

PLACES = {'left': 0.18, 'middle': 0.5, 'right': 0.82}  # in parts of the width
NEAR = 0.185  # from a thing to one that touches it
GROUND, LANE = 0.755, 0.975  # where things stand, and where robots drive
RADIUS = 0.10  # half height of a thing
ROBOT = 0.17  # height of one
EARLY = 0.25  # seconds that lamp and screen are ahead, so that a frame may come a little early
MOVED, BACK = 0.3, (0.55, 0.85)  # seconds in which a thing has moved; in which it goes back


def seed_to_train(number: int) -> int:
    """The seed of a world to train on, by its number from 0."""
    return 2 * number + 1


def seed_to_test(number: int) -> int:
    """The seed of a world to test with, by its number from 0."""
    return 2 * number


@dataclass(frozen=True)
class Pose:
    """How a thing stands at a moment: its foot at `x`, what part of it is there, its tilt."""

    x: float
    thing: Thing
    grown: float = 1.0
    lift: float = 0.0
    angle: float = 0.0


class Story:
    """An endless camera stream of `height` x `width` pixels, told second by second."""

    def __init__(self, seed: int = 0, height: int = 112, width: int = 112) -> None:
        """Raises ValueError for a picture without pixels or a negative seed."""
        if height < 1 or width < 1 or seed < 0:
            raise ValueError(f'no world of {width}x{height} pixels with seed {seed}')
        self.seed, self.height, self.width = seed, height, width
        self.aspect = width / height
        self._room = Room(seed, height, width)
        self._grain = paint.grain(seed, height, width)

    def second(self, index: int) -> Second:
        """What happens in second `index`, and what is to be said of it.

        Raises ValueError for a second before 0.
        """
        if index < 0:
            raise ValueError(f'no second {index}: a world begins at 0')
        return script.second(self.seed, index)

    def frames(self, index: int) -> np.ndarray:
        """The pictures at `index` and half a second later: (2, height, width, 3) uint8 RGB."""
        return np.stack([self.frame(index), self.frame(index + 0.5)])

    def frame(self, t: float) -> np.ndarray:
        """The camera's picture at `t` seconds: (height, width, 3) uint8 RGB.

        Raises ValueError for a time before 0.
        """
        sight = self.second(math.floor(t + EARLY)).sight
        canvas = self._room.canvas(sight.lamp, sight.screen)
        poses = self._poses(t)
        for pose in poses:
            paint.shadow(canvas, pose.x, GROUND, RADIUS * pose.grown, pose.lift)
        for pose in poses:
            self._paint_thing(canvas, pose)
        self._paint_robots(canvas, t)
        canvas *= self._room.light(t)
        return paint.expose(canvas, self._grain, self._shake(t))

    def _poses(self, t: float) -> list[Pose]:
        """The things on the floor at `t`."""
        index = math.floor(t)
        part, sight = t - index, self.second(index).sight
        if part < BACK[0]:
            return self._between(sight.before, sight.after, part / MOVED, t)
        rest = self.second(index + 1).sight.before
        return self._between(sight.after, rest, (part - BACK[0]) / (BACK[1] - BACK[0]), t)

    def _between(self, old: Floor, new: Floor, part: float, t: float) -> list[Pose]:
        """The things that were `old` and become `new`, when `part` of the way is done."""
        way = paint.smooth(min(part, 1.0))
        was = {thing.color: thing for thing in old}
        now = {thing.color: thing for thing in new}
        poses = []
        for color in was | now:
            thing = now.get(color) or was[color]
            grown = 1.0 if color in was and color in now else way if color in now else 1 - way
            x0, x1 = (self._place((at.get(color) or thing).place) for at in (was, now))
            lift = 0.25 * abs(x1 - x0) * math.sin(math.pi * way)
            angle = 0.05 * math.sin(1.7 * t + x1) + 0.9 * (x1 - x0) * way * (1 - way)
            if grown > 0.01:
                poses.append(Pose(x0 + (x1 - x0) * way, thing, grown, lift, angle))
        return poses

    def _place(self, place: str) -> float:
        """Where a place is, in heights from the left."""
        x = PLACES[place.removeprefix('beside ')] * self.aspect
        if place.startswith('beside'):
            return x + (NEAR if place.endswith('left') else -NEAR)
        return x

    def _paint_thing(self, canvas: np.ndarray, pose: Pose) -> None:
        thing, radius = pose.thing, RADIUS * pose.grown
        y = GROUND - radius - pose.lift
        paint.body(canvas, thing.shape, pose.x, y, radius, pose.angle, COLORS[thing.color])
        if thing.place.startswith('beside') and abs(pose.x - self._place(thing.place)) < 0.02:
            aside = -NEAR / 2 if thing.place.endswith('left') else NEAR / 2
            paint.spark(canvas, pose.x + aside, GROUND - 1.6 * RADIUS, 0.09)

    def _paint_robots(self, canvas: np.ndarray, t: float) -> None:
        """Paint the robots that pass: a quarter of the width at their second, three half later."""
        now = math.floor(t)
        for index in range(max(0, now - 1), now + 2):
            x = (0.25 + t - index) * self.aspect
            color = self.second(index).sight.robot
            if color and -ROBOT < x < self.aspect + ROBOT:
                paint.shadow(canvas, x, LANE, ROBOT, 0.0)
                paint.robot(canvas, x, LANE, ROBOT, COLORS[color])

    def _shake(self, t: float) -> tuple[int, int]:
        """Where the grain is cut from at `t`: another place for every millisecond."""
        mixed = (round(t * 1000) + self.seed * 40503) * 0x9E3779B1 & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 15) * 0x85EBCA77 & 0xFFFFFFFF
        return (mixed >> 16) % self.height, (mixed & 0xFFFF) % self.width
