# SPDX-License-Identifier: Apache-2.0
"""A caption drawn into the picture that it is about."""

from __future__ import annotations

import textwrap

import numpy as np

from svlm_core.images import Picture

FONT = 0  # OpenCV's plain one
COLUMNS = 48  # letters in a line, in a picture of any width


def draw(picture: Picture, text: str) -> Picture:
    """A copy of an (H, W, 3) uint8 RGB picture with `text` on a dark band at its lower edge.

    OpenCV's fonts know ASCII alone: other letters are drawn as question marks.
    """
    import cv2

    drawn = picture.copy()
    lines = textwrap.wrap(text.encode('ascii', 'replace').decode(), COLUMNS)
    if not lines:
        return drawn
    height, width = picture.shape[:2]
    (widest, tall), below = cv2.getTextSize('M' * COLUMNS, FONT, 1.0, 1)
    scale = 0.95 * width / widest
    line = max(1, round(1.5 * scale * (tall + below)))
    top = max(0, height - line * len(lines) - line // 2)
    drawn[top:] //= 4
    for i, words in enumerate(lines):
        at = (round(0.025 * width), top + line * (i + 1))
        cv2.putText(drawn, words, at, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.ascontiguousarray(drawn)
