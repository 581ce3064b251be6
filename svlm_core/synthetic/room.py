# SPDX-License-Identifier: Apache-2.0
"""The room of the world: a lamp and a screen on the wall, two zones and a lane on the floor.

Lengths are in heights of the picture, as in `paint`; across, places are given as parts of its
width. What stands still is painted once, and so is each light of the lamp and each text of the
screen.
"""

from __future__ import annotations

import math

import numpy as np

from svlm_core.synthetic import paint
from svlm_core.synthetic.script import Screen

COLORS: dict[str, paint.Color] = {
    'red': (0.86, 0.16, 0.15),
    'orange': (0.98, 0.48, 0.04),
    'yellow': (0.97, 0.84, 0.16),
    'green': (0.16, 0.62, 0.28),
    'blue': (0.14, 0.36, 0.85),
    'purple': (0.58, 0.18, 0.72),
    'pink': (0.98, 0.52, 0.74),
    'white': (0.97, 0.97, 0.95),
}
WALLS = ((0.80, 0.78, 0.73), (0.74, 0.77, 0.79), (0.80, 0.75, 0.72), (0.75, 0.78, 0.72))
FLOOR, BASEBOARD = (0.66, 0.57, 0.47), (0.92, 0.90, 0.86)
CASE, DARK, LETTER = (0.16, 0.17, 0.20), (0.07, 0.09, 0.12), (0.86, 0.95, 0.98)
HORIZON = 0.46  # where the wall meets the floor
LAMP, SCREEN = (0.25, 0.23), (0.75, 0.235)  # part of the width, height
ZONES = {'left': (0.03, 0.33), 'right': (0.67, 0.97)}  # from, to, in parts of the width
ZONE_COLORS = ('yellow', 'blue', 'green', 'red')

Region = tuple[slice, slice]


class Room:
    """A room of `height` x `width` pixels, drawn from `seed`, and all that stands still in it."""

    def __init__(self, seed: int, height: int, width: int) -> None:
        self.aspect = width / height
        self._unit = min(1.0, self.aspect)  # what hangs on the wall of a narrow picture is smaller
        draws = np.random.Generator(np.random.PCG64([seed, 1]))
        self._bare = self._empty(draws, height, width)
        self._shade, self._sun = lights(height, width)
        self._phases = draws.uniform(0, math.tau, 2)
        self._parts: dict[str | Screen, tuple[Region, np.ndarray]] = {}

    def canvas(self, lamp: str, screen: Screen | None) -> np.ndarray:
        """A fresh canvas (H, W, 3) with this light in the lamp and this on the screen."""
        canvas = self._bare.copy()
        for sign in (lamp, screen):
            if sign:
                if sign not in self._parts:
                    self._parts[sign] = self._part(sign)
                region, pixels = self._parts[sign]
                canvas[region] = pixels
        return canvas

    def light(self, t: float) -> np.ndarray:
        """What a canvas is to be multiplied with at `t` seconds to be in levels: (H, W, 3)."""
        first, second = self._phases
        dim = 1 + 0.10 * math.sin(math.tau * t / 41 + first)
        sun = 0.5 + 0.5 * math.sin(math.tau * t / 67 + second)
        return self._shade * np.float32(255 * dim) + self._sun * np.float32(255 * sun)

    def _part(self, sign: str | Screen) -> tuple[Region, np.ndarray]:
        """Where the lamp or the screen is on the canvas, and how that part looks."""
        canvas = self._bare.copy()
        place, reach = (SCREEN, 0.22) if isinstance(sign, Screen) else (LAMP, 0.24)
        x, y, reach = place[0] * self.aspect, place[1], reach * self._unit
        if isinstance(sign, Screen):
            show(canvas, sign, x, y, self._unit)
        else:
            glow(canvas, sign, x, y, self._unit)
        region = paint.region(canvas, x, y, reach)
        return region, canvas[region].copy()

    def _empty(self, draws: np.random.Generator, height: int, width: int) -> np.ndarray:
        """The room with the lamp out and the screen dark."""
        canvas = walls(height, width, WALLS[draws.integers(len(WALLS))])
        colors = draws.choice(ZONE_COLORS, len(ZONES), replace=False)
        for (left, right), color in zip(ZONES.values(), colors, strict=True):
            corners = (left * self.aspect, 0.57, right * self.aspect, 0.77)
            paint.field(canvas, corners, COLORS[color])
        y, x = paint.grid(height, width)
        x = x - LAMP[0] * self.aspect
        case = paint.box(x, y - LAMP[1], 0.165 * self._unit, 0.165 * self._unit, 0.05 * self._unit)
        paint.blend(canvas, case * height, CASE)
        show(canvas, Screen(''), SCREEN[0] * self.aspect, SCREEN[1], self._unit)
        return canvas


def walls(height: int, width: int, color: paint.Color) -> np.ndarray:
    """The empty room: a wall of this colour, a floor of planks that run to the horizon."""
    y, x = paint.grid(height, width)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = color
    canvas *= (0.92 + 0.2 * y)[..., None]
    middle = width / height / 2
    # Planks meet far above the horizon, as they do for a camera that looks down a little.
    plank = (x - middle) / (y + 0.55) * 7.5
    tint = 1 + 0.035 * np.sin(np.floor(plank) * 12.9898)
    seam = np.abs(plank - np.round(plank)) * (y + 0.55) / 7.5 * height
    tint -= 0.09 * np.clip(1.2 - seam, 0, 1)
    floor = paint.rgb(FLOOR) * tint[..., None] * (0.82 + 0.24 * y)[..., None]
    below = paint.cover((HORIZON - y) * height)[..., None]
    canvas += (floor - canvas) * below
    paint.blend(canvas, (np.abs(y - HORIZON + 0.008) - 0.010) * height, BASEBOARD)
    return canvas


def lights(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The light of the room and of the sun on its floor, (H, W, 3) each, to scale and add."""
    y, x = paint.grid(height, width)
    middle = width / height / 2
    shade = 1.03 - 0.3 * ((x - middle) ** 2 / max(middle, 0.5) ** 2 * 0.5 + (y - 0.45) ** 2)
    slant = np.exp(
        -(((x - middle * 1.1 - 0.35 * (y - 0.7)) / 0.22) ** 2) - ((y - 0.72) / 0.25) ** 2
    )
    warm = paint.rgb((1.0, 0.92, 0.74))
    return shade[..., None] * np.ones(3, np.float32), np.float32(0.16) * slant[..., None] * warm


def glow(canvas: np.ndarray, color: str, x: float, y: float, unit: float) -> None:
    """Light the lamp around `x`, `y` in a colour."""
    height = canvas.shape[0]
    rows, columns = paint.grid(*canvas.shape[:2])
    away = np.hypot(columns - x, rows - y)
    halo = np.clip(1 - away / (0.23 * unit), 0, 1)[..., None] ** 2
    canvas += np.float32(0.5) * halo * (paint.rgb(COLORS[color]) - canvas * np.float32(0.4))
    paint.blend(canvas, (away - 0.135 * unit) * height, COLORS[color])
    shine = np.exp(-(((columns - x + 0.04 * unit) ** 2 + (rows - y + 0.05 * unit) ** 2) / 0.0016))
    canvas += (0.45 * shine[..., None] * (1 - canvas)).astype(np.float32)


def show(canvas: np.ndarray, screen: Screen, x: float, y: float, unit: float) -> None:
    """Paint the screen around `x`, `y`: a card of its colour, where it has one, and its text."""
    height = canvas.shape[0]
    rows, columns = paint.grid(*canvas.shape[:2])
    across, down = (columns - x) / unit, (rows - y) / unit
    paint.blend(canvas, paint.box(across, down, 0.215, 0.185, 0.03) * unit * height, CASE)
    paint.blend(canvas, paint.box(across, down, 0.195, 0.165, 0.015) * unit * height, DARK)
    if screen.color:
        card = paint.box(across + 0.1, down, 0.08, 0.15, 0.02) * unit * height
        paint.blend(canvas, card, COLORS[screen.color])
    if screen.text:
        size, aside = (0.2, 0.09) if len(screen.text) == 1 else (0.16, 0.0)
        paint.sign(canvas, screen.text, x + aside * unit, y, size * unit, LETTER)
