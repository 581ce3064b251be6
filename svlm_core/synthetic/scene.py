# SPDX-License-Identifier: Apache-2.0
"""A room where coloured shapes come, cross and go: what is where at any second, and its picture.

The world has no state. Everything follows from the seed and the time, so any moment can be asked
for in any order, for ever, and two runs agree to the last bit.

Lengths are in heights of the picture: y runs from 0 (top) to 1 (bottom), x from 0 to
width / height. A thing stands on the floor at the point (x, y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from svlm_core.synthetic import paint

SHAPES = ('circle', 'square', 'triangle')
COLORS: dict[str, paint.Color] = {
    'red': (0.86, 0.24, 0.22),
    'orange': (0.95, 0.55, 0.16),
    'yellow': (0.96, 0.80, 0.22),
    'green': (0.28, 0.65, 0.36),
    'blue': (0.22, 0.44, 0.82),
    'purple': (0.56, 0.34, 0.74),
    'pink': (0.95, 0.55, 0.70),
    'white': (0.97, 0.96, 0.93),
}
ZONE_COLORS = ('yellow', 'blue', 'green', 'red')
ACTORS = 5  # as many things can be in the room at once
HORIZON = 0.27  # where the wall meets the floor
FAR, NEAR = 0.42, 0.93  # the strip of floor that things walk on


@dataclass(frozen=True)
class Zone:
    """A painted field on the floor, left to right and far to near."""

    color: str
    left: float
    right: float
    far: float
    near: float

    def holds(self, x: float, y: float) -> bool:
        """Whether the floor point lies in the zone."""
        return self.left <= x <= self.right and self.far <= y <= self.near


@dataclass(frozen=True)
class Thing:
    """One shape in the room: `x`, `y` is where it stands, `radius` its half height.

    `lift` is how far it hops above the floor; `angle` its tilt in radians.
    """

    color: str
    shape: str
    x: float
    y: float
    radius: float
    lift: float
    angle: float


@dataclass(frozen=True)
class Visit:
    """One thing's way through the room: points to pass at given times, and how it ends."""

    color: str
    shape: str
    size: float
    times: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    grows: bool  # it appears and vanishes in place instead of walking in and out


class Scene:
    """An endless camera stream of `height` x `width` pixels, drawn from `seed`."""

    def __init__(self, seed: int = 0, height: int = 112, width: int = 112) -> None:
        """Raises ValueError for a picture without pixels or a negative seed."""
        if height < 1 or width < 1 or seed < 0:
            raise ValueError(f'no scene of {width}x{height} pixels with seed {seed}')
        self.seed, self.height, self.width = seed, height, width
        self.aspect = width / height
        self.zones = zones(seed, self.aspect)
        self._room = paint.room(seed, height, width, HORIZON)
        for zone in self.zones:
            box = (zone.left, zone.far, zone.right, zone.near)
            paint.floor_field(self._room, box, COLORS[zone.color])
        self._lamp, self._window = paint.lights(height, width)
        self._grain = paint.grain(seed, height, width)

    def things(self, t: float) -> tuple[Thing, ...]:
        """What is in the room at `t` seconds, the farthest first."""
        found = (self._thing(slot, t) for slot in range(ACTORS))
        return tuple(sorted((thing for thing in found if thing), key=lambda thing: thing.y))

    def zone_of(self, thing: Thing) -> Zone | None:
        """The zone that the thing stands in, if any."""
        return next((zone for zone in self.zones if zone.holds(thing.x, thing.y)), None)

    def frame(self, t: float) -> np.ndarray:
        """The camera's picture at `t` seconds: (height, width, 3) uint8 RGB."""
        canvas = self._room.copy()
        things = self.things(t)
        for thing in things:
            paint.shadow(canvas, thing.x, thing.y, thing.radius, thing.lift)
        for thing in things:
            center = thing.y - thing.radius - thing.lift
            color = COLORS[thing.color]
            paint.body(canvas, thing.shape, thing.x, center, thing.radius, thing.angle, color)
        dim = 0.10 * math.sin(2 * math.pi * t / 41 + self.seed)
        sun = 0.5 + 0.5 * math.sin(2 * math.pi * t / 67 + 2 * self.seed)
        canvas *= self._lamp * np.float32(1 + dim) + self._window * np.float32(sun)
        return paint.expose(canvas, self._grain, self._shake(t))

    def _thing(self, slot: int, t: float) -> Thing | None:
        """The actor `slot` at `t`, or None while it is away."""
        period = 17.0 + 3.0 * slot  # periods without a common beat: no two minutes are alike
        clock = float(t) + period * slot / ACTORS
        number = math.floor(clock / period)
        visit = plan_visit(self.seed, slot, number, period, self.aspect)
        return locate(visit, clock - number * period)

    def _shake(self, t: float) -> tuple[int, int]:
        """Where the grain is cut from at `t`: another place for every millisecond."""
        draws = np.random.Generator(np.random.PCG64([self.seed, 7, round(t * 1000) & 0xFFFFFFFF]))
        y, x = draws.integers(0, (self.height, self.width))
        return int(y), int(x)


@cache
def zones(seed: int, aspect: float) -> tuple[Zone, Zone]:
    """Two zones of different colours, one on each side of the floor."""
    draws = np.random.default_rng([seed, 1])
    first, second = draws.choice(ZONE_COLORS, 2, replace=False)
    sides = []
    for color, center in ((first, 0.24), (second, 0.76)):
        center += draws.uniform(-0.03, 0.03)
        far = draws.uniform(0.47, 0.58)
        left, right = (center - 0.17) * aspect, (center + 0.17) * aspect
        sides.append(Zone(str(color), left, right, far, far + draws.uniform(0.24, 0.32)))
    return sides[0], sides[1]


@lru_cache(maxsize=256)
def plan_visit(seed: int, slot: int, number: int, period: float, aspect: float) -> Visit:
    """The visit `number` of an actor: who comes, and its way through the room."""
    draws = np.random.default_rng([seed, 2, slot, number & 0xFFFFFFFF])
    size = draws.uniform(0.075, 0.115)
    stops = int(draws.integers(2, 4))
    inner = [
        (draws.uniform(0.16, 0.84) * aspect, draws.uniform(FAR, NEAR - 0.04)) for _ in range(stops)
    ]
    grows = bool(draws.random() < 0.2)
    outside = [-0.2, aspect + 0.2] if draws.random() < 0.5 else [aspect + 0.2, -0.2]
    doors = [(x, draws.uniform(FAR + 0.05, NEAR)) for x in outside]
    points = [inner[0], *inner, inner[-1]] if grows else [doors[0], *inner, doors[1]]
    legs = [1.0, *draws.uniform(2.2, 3.6, stops - 1), 1.0] if grows else None
    gaps = legs or list(draws.uniform(2.2, 3.6, stops + 1))
    start = draws.uniform(0, max(0.1, period - sum(gaps) - 1))
    times = start + np.concatenate([[0.0], np.cumsum(gaps)])
    # Each actor has colours of its own, so that colour tells apart whatever is in the room.
    palette = np.random.default_rng([seed, 5]).permutation(list(COLORS))
    return Visit(
        color=str(draws.choice(palette[slot::ACTORS])),
        shape=str(draws.choice(SHAPES)),
        size=float(size),
        times=tuple(map(float, times)),
        points=tuple((float(x), float(y)) for x, y in points),
        grows=grows,
    )


def locate(visit: Visit, clock: float) -> Thing | None:
    """The thing of a visit at `clock` seconds of its period, or None before and after."""
    times = visit.times
    if not times[0] <= clock < times[-1]:
        return None
    leg = next(i for i in range(len(times) - 1) if clock < times[i + 1])
    part = (clock - times[leg]) / (times[leg + 1] - times[leg])
    (x0, y0), (x1, y1) = visit.points[leg], visit.points[leg + 1]
    way = smooth(part)
    y = y0 + (y1 - y0) * way
    depth = 0.72 + 0.55 * (y - FAR) / (NEAR - FAR)  # nearer things look larger
    scale = 1.0
    if visit.grows and leg in (0, len(times) - 2):
        scale = smooth(part if leg == 0 else 1 - part)
    radius = visit.size * depth * scale
    speed = abs(x1 - x0) * part * (1 - part)
    return Thing(
        color=visit.color,
        shape=visit.shape,
        x=x0 + (x1 - x0) * way,
        y=y,
        radius=radius,
        lift=0.12 * speed * abs(math.sin(math.tau * clock)),
        angle=0.5 * speed * math.copysign(1, x1 - x0),
    )


def smooth(part: float) -> float:
    """Ease in and out of a leg: 0 to 1 with rest at both ends."""
    return part * part * (3 - 2 * part)
