# SPDX-License-Identifier: Apache-2.0
"""Painting with numpy: shapes with smooth edges, shadows, signs, camera grain.

A canvas is (H, W, 3) float32, 0 black to 1 white. Places and sizes are in heights of the canvas.
An edge is smooth because a pixel is covered by its distance to the outline, not by a test.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

Color = tuple[float, float, float]

GRAIN = 2.2  # standard deviation of the camera's noise, in levels of 255


def field(canvas: np.ndarray, corners: tuple[float, float, float, float], color: Color) -> None:
    """Paint a zone on the floor: a translucent field `(left, top, right, bottom)` with an edge."""
    height, width = canvas.shape[:2]
    y, x = grid(height, width)
    left, top, right, bottom = corners
    center_x, center_y = (left + right) / 2, (top + bottom) / 2
    distance = box(x - center_x, y - center_y, (right - left) / 2, (bottom - top) / 2, 0.03)
    blend(canvas, distance * height, color, 0.38)
    blend(canvas, (np.abs(distance + 0.008) - 0.008) * height, color, 0.55)


def grain(seed: int, height: int, width: int) -> np.ndarray:
    """Camera noise (2H, 2W, 3) float32 in levels; a frame cuts its own piece from it."""
    draws = np.random.Generator(np.random.PCG64([seed, 4]))
    noise = draws.standard_normal((2 * height, 2 * width, 3), np.float32)
    return noise * np.float32(GRAIN)


def shadow(canvas: np.ndarray, x: float, y: float, radius: float, lift: float) -> None:
    """Darken the floor under a thing that stands at `x`, `y` and hops by `lift`."""
    patch, rows, columns = window(canvas, x, y, 1.5 * radius)
    if not patch.size:
        return
    reach = ((columns - x - 0.1 * radius) / (1.15 * radius)) ** 2 + (
        (rows - y) / (0.42 * radius)
    ) ** 2
    strength = 0.42 / (1 + 12 * lift)
    patch *= 1 - np.float32(strength) * np.clip(1 - reach, 0, 1)[..., None]


def body(
    canvas: np.ndarray, shape: str, x: float, y: float, radius: float, angle: float, color: Color
) -> None:
    """Paint a `circle`, `square` or `triangle` around `x`, `y`, lit from the upper left."""
    patch, rows, columns = window(canvas, x, y, 1.5 * radius)
    if not patch.size:
        return
    dx, dy = columns - x, rows - y
    c, s = math.cos(angle), math.sin(angle)
    across, down = c * dx + s * dy, c * dy - s * dx
    distance = OUTLINES[shape](across, down, radius) * canvas.shape[0]
    light = 1.04 - 0.20 * (dx + dy) / (2 * radius)
    shine = 0.35 * np.exp(
        -((dx + 0.32 * radius) ** 2 + (dy + 0.36 * radius) ** 2) / (0.3 * radius) ** 2
    )
    rim = 1 - 0.30 * cover(-distance - 0.018 * canvas.shape[0])
    lit = rgb(color) * (light * rim)[..., None] + shine[..., None] * 0.5
    patch += (lit.astype(np.float32) - patch) * cover(distance)[..., None]


def expose(canvas: np.ndarray, noise: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """The lit canvas, in levels, as a camera gives it: (H, W, 3) uint8, with its grain.

    The grain is cut from `noise` at `corner`.
    """
    height, width = canvas.shape[:2]
    y, x = corner
    canvas += noise[y : y + height, x : x + width]
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def robot(canvas: np.ndarray, x: float, y: float, size: float, color: Color) -> None:
    """Paint a robot on wheels, `size` high, that stands at `x`, `y` and looks to the right."""
    patch, rows, columns = window(canvas, x, y - 0.6 * size, 1.1 * size)
    if not patch.size:
        return
    height = canvas.shape[0]
    across, down = (columns - x) / size, (rows - y) / size  # the robot is 1 high, 1.7 wide
    light = 1.1 + 0.35 * (-0.45 - down)
    hull = np.minimum(
        box(across, down + 0.36, 0.85, 0.24, 0.12), box(across - 0.3, down + 0.72, 0.42, 0.24, 0.1)
    )
    antenna = np.minimum(
        disc(across - 0.1, down + 1.2, 0.07), box(across - 0.1, down + 1, 0.02, 0.2)
    )
    blend(patch, antenna * size * height, (0.13, 0.13, 0.15))
    for wheel in (-0.52, 0.0, 0.52):
        blend(patch, disc(across - wheel, down + 0.14, 0.15) * size * height, (0.13, 0.13, 0.15))
        blend(patch, disc(across - wheel, down + 0.14, 0.06) * size * height, (0.62, 0.62, 0.64))
    lit = rgb(color) * light[..., None].astype(np.float32)
    patch += (lit - patch) * cover(hull * size * height)[..., None]
    for eye in (0.28, 0.54):
        blend(patch, disc(across - eye, down + 0.74, 0.11) * size * height, (0.98, 0.98, 0.97))
        blend(patch, disc(across - eye - 0.03, down + 0.74, 0.05) * size * height, (0.1, 0.1, 0.1))


def spark(canvas: np.ndarray, x: float, y: float, radius: float) -> None:
    """Paint a star where one thing hits another."""
    patch, rows, columns = window(canvas, x, y, 1.1 * radius)
    if not patch.size:
        return
    dx, dy = columns - x, rows - y
    ray = 0.62 + 0.38 * np.cos(8 * np.arctan2(dy, dx))
    distance = np.hypot(dx, dy) - radius * ray
    blend(patch, distance * canvas.shape[0], (1.0, 0.97, 0.80))


def sign(canvas: np.ndarray, text: str, x: float, y: float, size: float, color: Color) -> None:
    """Write `text`, of digits, minus and question mark, `size` high around `x`, `y`."""
    rows, columns = grid(*canvas.shape[:2])
    unit = size / 4  # a letter is 2 wide and 4 high, with 1.3 to the next
    left = x - (3.3 * len(text) - 1.3) / 2 * unit
    for index, letter in enumerate(text):
        across = (columns - left) / unit - 3.3 * index
        down = (rows - y) / unit + 2
        distance = np.minimum.reduce(
            [segment(across, down, *ends) for line in LETTERS[letter] for ends in pairwise(line)]
        )
        blend(canvas, (distance - 0.38) * unit * canvas.shape[0], color)


def segment(
    x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]
) -> np.ndarray:
    """Distance to a line from `start` to `end`."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    part = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - x0 - part * dx, y - y0 - part * dy)


def smooth(part: float) -> float:
    """Ease in and out of a way: 0 to 1 with rest at both ends."""
    return part * part * (3 - 2 * part)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (H, W) and columns (H, W): the middle of each pixel."""
    y, x = np.indices((height, width), np.float32)
    return (y + 0.5) / height, (x + 0.5) / height


def region(canvas: np.ndarray, x: float, y: float, reach: float) -> tuple[slice, slice]:
    """Rows and columns of the canvas within `reach` of a point."""
    height, width = canvas.shape[:2]
    top, bottom = (min(max(round(v * height), 0), height) for v in (y - reach, y + reach + 0.01))
    left, right = (min(max(round(v * height), 0), width) for v in (x - reach, x + reach + 0.01))
    return slice(top, bottom), slice(left, right)


def window(
    canvas: np.ndarray, x: float, y: float, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the canvas within `reach` of a point, as a view, and its rows and columns."""
    height = np.float32(canvas.shape[0])
    down, across = region(canvas, x, y, reach)
    rows = (np.arange(down.start, down.stop, dtype=np.float32) + np.float32(0.5)) / height
    columns = (np.arange(across.start, across.stop, dtype=np.float32) + np.float32(0.5)) / height
    return canvas[down, across], rows[:, None], columns[None, :]


def blend(canvas: np.ndarray, distance: np.ndarray, color: Color, opacity: float = 1.0) -> None:
    """Lay a colour over the inside of an outline, given each pixel's distance to it in pixels."""
    canvas += (rgb(color) - canvas) * (opacity * cover(distance))[..., None]


def rgb(color: Color) -> np.ndarray:
    """A colour as (3,) float32, to be laid over pixels."""
    return np.asarray(color, np.float32)


def cover(distance: np.ndarray) -> np.ndarray:
    """How much of a pixel is covered, 0 to 1, by its distance in pixels (negative is inside)."""
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


def box(
    x: np.ndarray, y: np.ndarray, half_width: float, half_height: float, corner: float = 0.0
) -> np.ndarray:
    """Distance to a box around the origin whose corners are rounded by `corner`."""
    across, down = np.abs(x) - half_width + corner, np.abs(y) - half_height + corner
    outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    return outside + np.minimum(np.maximum(across, down), 0) - corner


def disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a disc."""
    return np.hypot(x, y) - radius


def square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a square with soft corners that stands on the same ground as the disc."""
    return box(x, y - 0.08 * radius, 0.92 * radius, 0.92 * radius, 0.16 * radius)


def triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to an equilateral triangle that stands on the same ground as the disc."""
    y = y - 0.34 * radius  # its middle lies lower than that of a disc
    slopes = np.float32(math.sqrt(3) / 2) * np.abs(x) - y / 2
    return np.maximum(slopes, y) - 0.66 * radius


OUTLINES = {'circle': disc, 'square': square, 'triangle': triangle}

LETTERS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    '0': (((0, 0), (2, 0), (2, 4), (0, 4), (0, 0)),),
    '1': (((0.2, 0.8), (1.1, 0), (1.1, 4)),),
    '2': (((0, 0), (2, 0), (2, 2), (0, 2), (0, 4), (2, 4)),),
    '3': (((0, 0), (2, 0), (2, 4), (0, 4)), ((0.4, 2), (2, 2))),
    '4': (((0, 0), (0, 2.4), (2, 2.4)), ((1.6, 1.2), (1.6, 4))),
    '5': (((2, 0), (0, 0), (0, 2), (2, 2), (2, 4), (0, 4)),),
    '6': (((2, 0), (0, 0), (0, 4), (2, 4), (2, 2), (0, 2)),),
    '7': (((0, 0), (2, 0), (0.8, 4)),),
    '8': (((0, 0), (2, 0), (2, 4), (0, 4), (0, 0)), ((0, 2), (2, 2))),
    '9': (((2, 2), (0, 2), (0, 0), (2, 0), (2, 4), (0, 4)),),
    '-': (((0.2, 2), (1.8, 2)),),
    '?': (
        ((0, 0.9), (0.5, 0.1), (1.5, 0.1), (2, 0.9), (1.7, 1.6), (1, 2.1), (1, 2.7)),
        ((1, 3.9), (1, 4)),
    ),
}
