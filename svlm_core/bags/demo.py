# SPDX-License-Identifier: Apache-2.0
"""The synthetic camera as a bag, since no bag is shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from svlm_core.bags.types import COMPRESSED, IMAGE, SECOND, header, message
from svlm_core.bags.writer import BagWriter, StorageName
from svlm_core.config import check_ranges, limit
from svlm_core.synthetic.story import Story
from svlm_core.timeline import picture

BEGIN = 1_700_000_000 * SECOND  # the stamp of the first frame
DELAY = 5_000_000  # ns from a stamp to its reception
TOPIC = '/camera/image_raw'


@dataclass(frozen=True)
class DemoBag:
    """What the bag shows. Raises SettingsError for a value out of range."""

    seconds: float = limit(20.0, 'seconds of stream', low=0.1, high=86_400)
    seed: int = limit(0, 'which synthetic world; the same seed shows the same', low=0)
    rate: float = limit(10.0, 'frames per second', low=0.1, high=1000)
    width: int = limit(224, 'pixels', low=28, high=7680)
    height: int = limit(224, 'pixels', low=28, high=4320)
    storage: StorageName = limit('mcap', 'format of the file in the bag')
    compressed: bool = limit(False, 'JPEG on TOPIC/compressed rather than raw pixels')

    def __post_init__(self) -> None:
        check_ranges(self)


def record_demo_bag(folder: Path, demo: DemoBag) -> Path:
    """Write the bag, whole or not at all; the same settings give the same bytes.

    Gives back the folder. Raises OutputError when it exists or cannot be written.
    """
    story = Story(demo.seed, demo.height, demo.width)
    topic = f'{TOPIC}/compressed' if demo.compressed else TOPIC
    kind = COMPRESSED if demo.compressed else IMAGE
    with BagWriter(folder, {topic: kind}, demo.storage) as bag:
        for number in range(max(1, round(demo.seconds * demo.rate))):
            seconds = number / demo.rate
            stamp = BEGIN + round(seconds * SECOND)
            content = _image(story.frame(seconds), stamp, demo.compressed)
            bag.write(topic, content, stamp + DELAY)
        return bag.finish()


def _image(pixels: np.ndarray, stamp: int, compressed: bool) -> object:
    """A message of one frame (H, W, 3) uint8 RGB."""
    head = header(stamp, 'camera')
    if compressed:
        jpeg = picture(0, pixels, height=pixels.shape[0]).jpeg
        return message(
            COMPRESSED,
            header=head,
            format='rgb8; jpeg compressed bgr8',
            data=np.frombuffer(jpeg, np.uint8),
        )
    return message(
        IMAGE,
        header=head,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding='rgb8',
        is_bigendian=0,
        step=pixels.shape[1] * 3,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )
