# SPDX-License-Identifier: Apache-2.0
"""Painting with numpy: a softly lit room, shapes with smooth edges, shadows, camera grain.

A canvas is (H, W, 3) float32, 0 black to 1 white. Places and sizes are in heights of the canvas.
An edge is smooth because a pixel is covered by its distance to the outline, not by a test.
"""

from __future__ import annotations

import math

import numpy as np

Color = tuple[float, float, float]

WALL, FLOOR, BASEBOARD = (0.80, 0.78, 0.73), (0.66, 0.57, 0.47), (0.92, 0.90, 0.86)
PANE, FRAME = (0.66, 0.80, 0.90), (0.95, 0.94, 0.91)
GRAIN = 2.2  # standard deviation of the camera's noise, in levels of 255


def room(seed: int, height: int, width: int, horizon: float) -> np.ndarray:
    """The empty room: wall with a window, floor of planks that run to the horizon."""
    y, x = grid(height, width)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = WALL
    canvas *= (0.90 + 0.35 * y)[..., None]
    middle = width / height / 2
    side = middle * np.random.default_rng([seed, 3]).choice([0.55, 1.45])
    for half_width, half_height, color in ((0.13, 0.085, FRAME), (0.115, 0.07, PANE)):
        blend(canvas, box(x - side, y - 0.12, half_width, half_height) * height, color)
    bar = np.minimum(np.abs(x - side), np.abs(y - 0.12)) - 0.005
    bar = np.maximum(bar, box(x - side, y - 0.12, 0.12, 0.075))
    blend(canvas, bar * height, FRAME)
    # Planks meet far above the horizon, as they do for a camera that looks down a little.
    plank = (x - middle) / (y + 0.55) * 7.5
    tint = 1 + 0.035 * np.sin(np.floor(plank) * 12.9898)
    seam = np.abs(plank - np.round(plank)) * (y + 0.55) / 7.5 * height
    tint -= 0.09 * np.clip(1.2 - seam, 0, 1)
    floor = rgb(FLOOR) * tint[..., None] * (0.86 + 0.22 * y)[..., None]
    below = cover((horizon - y) * height)[..., None]
    canvas += (floor - canvas) * below
    blend(canvas, (np.abs(y - horizon + 0.008) - 0.010) * height, BASEBOARD)
    return canvas


def floor_field(
    canvas: np.ndarray, corners: tuple[float, float, float, float], color: Color
) -> None:
    """Paint a zone on the floor: a translucent field `(left, top, right, bottom)` with an edge."""
    height, width = canvas.shape[:2]
    y, x = grid(height, width)
    left, top, right, bottom = corners
    center_x, center_y = (left + right) / 2, (top + bottom) / 2
    distance = box(x - center_x, y - center_y, (right - left) / 2, (bottom - top) / 2, 0.03)
    blend(canvas, distance * height, color, 0.38)
    blend(canvas, (np.abs(distance + 0.008) - 0.008) * height, color, 0.55)


def lights(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The lamp above and the sun on the floor, each (H, W, 3), to be scaled and added."""
    y, x = grid(height, width)
    middle = width / height / 2
    lamp = 1.03 - 0.38 * ((x - middle) ** 2 / max(middle, 0.5) ** 2 * 0.5 + (y - 0.45) ** 2)
    slant = np.exp(
        -(((x - middle * 0.9 - 0.35 * (y - 0.6)) / 0.22) ** 2) - ((y - 0.68) / 0.3) ** 2
    )
    warm = rgb((1.0, 0.92, 0.74))
    white = np.ones(3, np.float32)
    return lamp[..., None] * white, np.float32(0.18) * slant[..., None] * warm


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
    """The canvas as a camera gives it: grain from `noise` at `corner`, (H, W, 3) uint8."""
    height, width = canvas.shape[:2]
    y, x = corner
    canvas *= 255
    canvas += noise[y : y + height, x : x + width]
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (H, W) and columns (H, W): the middle of each pixel."""
    y, x = np.indices((height, width), np.float32)
    return (y + 0.5) / height, (x + 0.5) / height


def window(
    canvas: np.ndarray, x: float, y: float, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the canvas within `reach` of a point, as a view, and its rows and columns."""
    height, width = canvas.shape[:2]
    top, bottom = (min(max(round(v * height), 0), height) for v in (y - reach, y + reach + 0.01))
    left, right = (min(max(round(v * height), 0), width) for v in (x - reach, x + reach + 0.01))
    rows = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
    columns = (np.arange(left, right, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
    return canvas[top:bottom, left:right], rows[:, None], columns[None, :]


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
