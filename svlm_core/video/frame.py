# SPDX-License-Identifier: Apache-2.0
"""One picture of a stream, and when it is shown. The pixels are made only if asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture shown from `stamp` to `end`, in seconds of its source.

    `rgb()` gives its pixels (H, W, 3) uint8, made anew each time; it may raise SourceError.
    """

    stamp: float
    end: float
    rgb: Callable[[], np.ndarray]
