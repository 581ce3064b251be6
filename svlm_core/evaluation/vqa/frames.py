# SPDX-License-Identifier: Apache-2.0
"""Frames of a stretch of video that are shown at once, brought to size while they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa.protocol import Frames, Pixels
from svlm_core.model.config import VisionConfig
from svlm_core.video.frame import Frame
from svlm_core.video.resize import fit, resize
from svlm_core.video.sampling import STAMP_ERROR
from svlm_core.video.sources import Source, open_source

LEAST = 4  # frames at a rate, as Qwen's own tools have it
Size = Callable[[int, int], tuple[int, int]]  # of a frame, from the height and width that it has


@dataclass(frozen=True, eq=False)
class Shown:
    """Frames (T, h, w, 3) uint8 and the second of the video at which each stands."""

    frames: np.ndarray
    seconds: tuple[float, ...]


def instants(plan: Frames, start: float, end: float) -> list[float]:
    """The seconds at which frames are taken. Raises SourceError where there is no time."""
    if end <= start:
        raise SourceError(f'there is nothing to see from {start:g} s to {end:g} s')
    count = plan.most
    if plan.fps is not None:
        count = max(LEAST, min(plan.most, int((end - start) * plan.fps))) // 2 * 2
    if plan.middles:
        return [start + (end - start) * (k + 0.5) / count for k in range(count)]
    return np.linspace(start, end, count).tolist()


def newest(count: int, fps: float, start: float, end: float) -> list[float]:
    """The last instants at which a stream of that rate has taken a frame by `end`.

    It takes whole seconds; of less than one, all there is. Raises SourceError where there is none.
    """
    if end <= start:
        raise SourceError(f'there is nothing to see from {start:g} s to {end:g} s')
    end = start + (math.floor(end - start + STAMP_ERROR) or end - start)
    return [max(start, end - k / fps) for k in range(count, 0, -1)]


def sizes(pixels: Pixels, count: int, vision: VisionConfig) -> Size:
    """The size of a frame, if there are so many."""
    cell = vision.patch_size * vision.merge_size
    return lambda height, width: fit(height, width, pixels.most(count), cell, pixels.low)


def still(pictures: Sequence[np.ndarray], size: Size) -> Shown:
    """Pictures (H, W, 3) uint8 as frames; all take the size of the first."""
    taken: list[np.ndarray] = []
    for picture in pictures:
        taken.append(_sized(picture, size, taken))
    return Shown(np.stack(taken), tuple(map(float, range(len(taken)))))


def take(path: Path, image_fps: float, seconds: Sequence[float], size: Size) -> Shown:
    """The frames on screen at these seconds, which ascend; those before the first take that one.

    Where a video ends early, its last frame stands in. Raises SourceError.
    """
    taken: list[np.ndarray] = []
    with closing(open_source(path, start=seconds[0], image_fps=image_fps)) as source:
        for frame in _on_screen(source, seconds):
            taken.append(taken[-1] if frame is None else _sized(frame.rgb(), size, taken))
    return Shown(np.stack(taken), tuple(seconds))


def _on_screen(source: Source, seconds: Sequence[float]) -> Iterator[Frame | None]:
    """The frame at each second; None where it is the one before."""
    shown = None
    for frame in _chosen(source, seconds):
        yield None if frame is shown else frame
        shown = frame


def _chosen(frames: Iterable[Frame], seconds: Sequence[float]) -> Iterator[Frame]:
    wanted, latest = list(seconds), None
    for frame in frames:
        while wanted and wanted[0] < frame.stamp - STAMP_ERROR:
            wanted.pop(0)
            yield latest or frame
        latest = frame
        if not wanted:
            return
    if latest is not None:
        yield from [latest] * len(wanted)


def _sized(rgb: np.ndarray, size: Size, taken: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels of a frame (h, w, 3), in the size of those that were taken before."""
    height, width = taken[0].shape[:2] if taken else size(*rgb.shape[:2])
    return resize(torch.from_numpy(np.ascontiguousarray(rgb))[None], (height, width))[0].numpy()
