# SPDX-License-Identifier: Apache-2.0
"""Camera messages become RGB pictures, whatever library does it and however the rows lie.

Every encoding is written by the test from a known picture, and read back against a conversion
written here with NumPy from its definition. Bayer and YUV may differ by two levels, on a smooth
picture; everything else is exact.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from svlm_core import images
from svlm_core.errors import FrameError
from svlm_core.images import LAYOUTS, REFUSED, check, tidy
from svlm_ros.conversion import BACKENDS, choose_converter

HEIGHT, WIDTH = 24, 36
BAYER = {
    'rggb': ((0, 1), (1, 2)),
    'bggr': ((2, 1), (1, 0)),
    'gbrg': ((1, 2), (0, 1)),
    'grbg': ((1, 0), (2, 1)),
}
FULL = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def smooth() -> np.ndarray:
    """A picture (H, W, 3) whose neighbouring pixels differ by less than a level."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = (90 + 0.8 * x, 70 + 0.9 * y, 160 - 0.5 * x - 0.4 * y)
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def image(
    encoding: str, rows: np.ndarray, *, size=(HEIGHT, WIDTH), pad: int = 0, bigendian: bool = False
) -> SimpleNamespace:
    """A message with `rows` (R, bytes) of data, each followed by `pad` bytes of rubbish."""
    rubbish = np.random.default_rng(0).integers(0, 256, (len(rows), pad), np.uint8)
    data = np.hstack([rows, rubbish])
    return SimpleNamespace(
        height=size[0],
        width=size[1],
        encoding=encoding,
        is_bigendian=int(bigendian),
        step=data.shape[1],
        data=data.tobytes(),
    )


def yuv(picture: np.ndarray) -> np.ndarray:
    """BT.601 in video range, (H, W, 3) uint8, from its definition."""
    scaled = picture @ FULL.T * np.array([219, 224, 224]) / 255 + np.array([16, 128, 128])
    return scaled.round().astype(np.uint8)


def rgb(samples: np.ndarray) -> np.ndarray:
    """The inverse of `yuv`, as real numbers."""
    unit = (samples.astype(float) - np.array([16, 128, 128])) / np.array([219, 224, 224]) * 255
    return np.clip(unit @ np.linalg.inv(FULL).T, 0, 255)


def encode(encoding: str, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of bytes of `picture` in an encoding, and the picture to expect from them."""
    gray = np.repeat(picture[..., 1:2], 3, axis=2)
    alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
    if encoding in ('rgb8', 'bgr8', 'rgba8', 'bgra8'):
        order = picture if encoding.startswith('rgb') else picture[..., ::-1]
        data = np.concatenate([order, alpha], axis=2) if 'a' in encoding else order
        return data.reshape(HEIGHT, -1), picture
    if encoding == 'mono8':
        return picture[..., 1], gray
    if encoding == 'mono16':
        return _wide(_sixteen(picture[..., 1])), gray
    if encoding.startswith('bayer'):
        mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
        for y, x in np.ndindex(2, 2):
            mosaic[y::2, x::2] = picture[y::2, x::2, BAYER[encoding[6:10]][y][x]]
        return (_wide(_sixteen(mosaic)) if encoding.endswith('16') else mosaic), picture
    samples = yuv(picture)
    if encoding in ('nv12', 'nv21'):
        shared = samples[::2, ::2, 1:] if encoding == 'nv12' else samples[::2, ::2, :0:-1]
        rows = np.vstack([samples[..., 0], shared.reshape(HEIGHT // 2, WIDTH)])
        colour = np.repeat(np.repeat(samples[::2, ::2, 1:], 2, axis=0), 2, axis=1)
        return rows, rgb(np.concatenate([samples[..., :1], colour], axis=2))
    left = samples[:, ::2, 1:]  # U and V, shared by two neighbours in a row
    both = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    luma, chroma = (1, 0) if encoding in ('yuv422', 'uyvy') else (0, 1)
    both[..., luma] = samples[..., 0]
    both[:, ::2, chroma], both[:, 1::2, chroma] = left[..., 0], left[..., 1]
    colour = np.repeat(left, 2, axis=1)
    return both.reshape(HEIGHT, -1), rgb(np.concatenate([samples[..., :1], colour], axis=2))


def _sixteen(values: np.ndarray) -> np.ndarray:
    # Rounds to `values`, and its two bytes differ, so that their order matters.
    return values.astype(np.uint16) * 257 + 100


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype('<u2').view(np.uint8)


def tolerance(encoding: str) -> int:
    return 2 if encoding.startswith(('bayer', 'yu', 'uyvy', 'nv')) else 0


def probe(name):
    return images.probe(name, BACKENDS)


def works(name: str) -> bool:
    try:
        return probe(name).name == name
    except FrameError:
        return False


@pytest.fixture(params=[name for name in BACKENDS if name == 'rosbags-image' or works(name)])
def converter(request):
    """Each back end that is installed here; rosbags-image always is."""
    return probe(request.param)


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('encoding', LAYOUTS)
def test_every_encoding_reads_as_the_picture_it_was_made_from(converter, encoding, pad):
    rows, expected = encode(encoding, smooth())
    found = converter(image(encoding, rows, pad=pad))
    assert found.dtype == np.uint8
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert found.flags.c_contiguous
    assert np.abs(found - expected.astype(float)).max() <= tolerance(encoding) + 0.5 * (
        expected.dtype != np.uint8
    )


@pytest.mark.parametrize('encoding', [name for name in LAYOUTS if LAYOUTS[name].depth == 2])
def test_sixteen_bits_read_the_same_in_either_byte_order(converter, encoding):
    rows, _ = encode(encoding, smooth())
    swapped = rows.view('<u2').astype('>u2').view(np.uint8)
    little = converter(image(encoding, rows))
    big = converter(image(encoding, swapped, bigendian=True))
    assert np.array_equal(little, big)


def test_sixteen_bits_become_eight_by_rounding():
    values = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
    message = image('mono16', _wide(values), size=(1, 6))
    assert tidy(message).data.tolist() == [0, 0, 1, 254, 255, 255]


@pytest.mark.skipif(not works('cv_bridge'), reason='needs an installed cv_bridge that works')
def test_both_back_ends_agree():
    bridge, other = probe('cv_bridge'), probe('rosbags-image')
    for encoding in LAYOUTS:
        message = image(encoding, encode(encoding, smooth())[0], pad=3)
        difference = np.abs(bridge(message).astype(int) - other(message))
        assert difference.max() <= tolerance(encoding), encoding


def broken(**changes: object) -> SimpleNamespace:
    """A good rgb8 message of 4x2 pixels with some fields changed."""
    fields = {'height': 2, 'width': 4, 'encoding': 'rgb8', 'step': 12, 'data': bytes(24)}
    return SimpleNamespace(is_bigendian=0, **{**fields, **changes})


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (broken(encoding='rgb9'), "'rgb9' is unknown: publish one of rgb8, bgr8"),
        (broken(encoding=''), "'' is unknown"),
        (broken(encoding='32FC1'), '32FC1 is refused: it holds depth'),
        (broken(encoding='16UC1'), '16UC1 is refused: it holds depth'),
        (broken(encoding='8UC3'), '8UC3 is refused: it does not say which channel is red'),
        (broken(width=0), '0x2 rgb8 image: it has no pixels'),
        (broken(step=11), 'step is 11 bytes, a row alone takes 12'),
        (broken(data=bytes(23)), '23 bytes of data, 24 expected'),
        (broken(data=b''), '0 bytes of data, 24 expected'),
        (broken(encoding='nv12', width=12), '24 bytes of data, 36 expected'),
        (broken(encoding='yuv422', width=3), 'needs an even size'),
        (broken(encoding='bayer_rggb8', height=1), 'needs an even size'),
    ],
)
def test_a_bad_image_is_refused_in_one_line_that_names_the_trouble(message, reason):
    for reject in (check, tidy, probe('rosbags-image')):
        with pytest.raises(FrameError) as error:
            reject(message)
        assert reason in str(error.value)
        assert '\n' not in str(error.value)


def test_what_is_refused_is_not_also_taken():
    assert not set(REFUSED) & set(LAYOUTS)


def cv_bridge(read) -> ModuleType:
    """A stand-in for the library, whose bridge reads with `read`."""
    module = ModuleType('cv_bridge')
    module.CvBridge = type('CvBridge', (), {'imgmsg_to_cv2': lambda self, *args: read(*args)})
    return module


def numpy_trouble(*_):
    raise AttributeError('_ARRAY_API not found')


def test_a_cv_bridge_that_imports_and_then_fails_is_passed_over(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', cv_bridge(numpy_trouble))
    assert choose_converter().name == 'rosbags-image'


def test_a_cv_bridge_that_swaps_colours_is_passed_over(monkeypatch):
    swapped = cv_bridge(lambda plain, _: plain.data.reshape(plain.height, plain.width, 3))
    monkeypatch.setitem(sys.modules, 'cv_bridge', swapped)
    assert choose_converter().name == 'rosbags-image'


def test_a_cv_bridge_that_works_comes_first(monkeypatch):
    good = cv_bridge(lambda plain, _: plain.data.reshape(plain.height, plain.width, 3)[..., ::-1])
    monkeypatch.setitem(sys.modules, 'cv_bridge', good)
    assert choose_converter().name == 'cv_bridge'


def test_without_any_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    monkeypatch.setitem(sys.modules, 'rosbags.image', None)
    with pytest.raises(FrameError, match=r'pip install "svlm\[bags\]"'):
        choose_converter()


def test_whatever_a_library_raises_becomes_one_clear_error(monkeypatch):
    seen = []

    def first_time_only(plain, _):
        seen.append(plain)
        if len(seen) > 1:
            raise RuntimeError('no\nluck')
        return plain.data.reshape(2, 2, 3)[..., ::-1]

    monkeypatch.setitem(sys.modules, 'cv_bridge', cv_bridge(first_time_only))
    with pytest.raises(FrameError, match=r'^cv_bridge cannot read rgb8: no luck$'):
        probe('cv_bridge')(broken())
