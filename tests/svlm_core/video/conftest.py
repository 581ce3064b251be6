# SPDX-License-Identifier: Apache-2.0
"""Real video, made on the spot: every frame carries its own number in black and white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS, CELL, HEIGHT = 10, 16, 64


def numbered(number: int, height: int = HEIGHT) -> np.ndarray:
    """A picture (height, BITS * CELL, 3) whose columns are the bits of `number`."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 255, CELL)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, row.size, 3)))


def number_of(picture: np.ndarray) -> int:
    """The number that `numbered` put into a picture, of any size."""
    centres = (np.arange(BITS) + 0.5) * picture.shape[1] / BITS
    bits = picture[picture.shape[0] // 2, centres.astype(int), 0] > 127
    return int(sum(1 << bit for bit, on in enumerate(bits) if on))


def encode(
    path: Path,
    count: int,
    fps: float | Fraction = 24,
    *,
    codec: str = 'libx264',
    stamps: Sequence[float] | None = None,
    noise: bool = False,
    **options: str,
) -> Path:
    """Write a video of `count` numbered frames, at `fps` or shown at `stamps` (seconds)."""
    random = np.random.default_rng(0)
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = BITS * CELL, HEIGHT, 'yuv420p'
        stream.gop_size = 12
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            picture = numbered(number)
            if noise:  # makes the file large enough to cut
                picture ^= random.integers(0, 60, picture.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            if stamps is not None:
                frame.pts, frame.time_base = round(stamps[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def save_image(path: Path, picture: np.ndarray) -> Path:
    """Write a PNG or JPEG."""
    codec, pixels = ('png', 'rgb24') if path.suffix == '.png' else ('mjpeg', 'yuvj420p')
    context = av.CodecContext.create(codec, 'w')
    context.height, context.width = picture.shape[:2]
    context.pix_fmt, context.time_base = pixels, Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
    packets = [*context.encode(frame.reformat(format=pixels)), *context.encode(None)]
    path.write_bytes(b''.join(map(bytes, packets)))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    return lambda name, *args, **options: encode(tmp_path / name, *args, **options)


@pytest.fixture
def make_image() -> Callable[[Path, int], Path]:
    return lambda path, number: save_image(path, numbered(number))


@pytest.fixture
def read_number() -> Callable[[np.ndarray], int]:
    return number_of
