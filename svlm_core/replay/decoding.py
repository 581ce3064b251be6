# SPDX-License-Identifier: Apache-2.0
"""Image messages of a bag to pictures, by the rules of the live node; JPEG and PNG by PyAV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from svlm_core import compressed as compressed_images
from svlm_core.bags.types import COMPRESSED
from svlm_core.images import check, choose_converter


@dataclass(frozen=True)
class Decoder:
    """`check` holds a message to its own promises, `convert` makes (H, W, 3) uint8 RGB of it.

    Both raise FrameError; `name` is the library that does it.
    """

    name: str
    check: Callable[[Any], object]
    convert: Callable[[Any], np.ndarray]


def decoder(kind: str) -> Decoder:
    """The decoder for a message type. Raises FrameError when no library can do it."""
    if kind == COMPRESSED:
        compressed = compressed_images.Decoder()
        return Decoder(compressed.name, compressed_images.check_compressed, compressed)
    converter = choose_converter()
    return Decoder(converter.name, check, converter)
