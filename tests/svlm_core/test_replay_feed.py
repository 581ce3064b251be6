# SPDX-License-Identifier: Apache-2.0
"""Rounds from a camera topic: those of the live node, every frame accounted for, newest wins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

pytest.importorskip('rosbags')

from svlm_core.bags.reader import Message
from svlm_core.bags.types import COMPRESSED, IMAGE, SECOND, header, message
from svlm_core.errors import FrameError, SourceError
from svlm_core.replay.decoding import decoder
from svlm_core.replay.feed import Feed, Round, pictures

T0 = 1_700_000_000 * SECOND
RAW = decoder(IMAGE)


def image(seconds: float, value: int = 0, size: int = 2, stamp: int | None = None) -> Message:
    """A grey picture stamped `seconds` after T0, received 10 ms later."""
    moment = T0 + round(seconds * SECOND)
    content = message(
        IMAGE, header=header(moment if stamp is None else stamp, 'cam'), height=size, width=size,
        encoding='mono8', is_bigendian=0, step=size,
        data=np.full(size * size, value, np.uint8),
    )  # fmt: skip
    return Message(moment + SECOND // 100, content)


def feed(messages: list[Message] | Iterator[Message], *, realtime: bool = False) -> Feed:
    return Feed(messages, RAW.check, 2, 2, realtime=realtime)


def shown(feed: Feed, taken: Round) -> list[int]:
    """The grey of each frame of a round."""
    frames, _ = pictures(taken, RAW.convert, feed.mailbox, feed.camera)
    return [int(frame[0, 0, 0]) for frame in frames]


def test_a_steady_camera_is_sampled_at_t_and_half_past() -> None:
    source = feed([image(n / 10, n) for n in range(30)])
    rounds = [(taken.index, shown(source, taken)) for taken in source]
    assert rounds == [(0, [0, 5]), (1, [10, 15]), (2, [20, 25])]
    counts = source.mailbox.counts
    assert counts.received == 30 == counts.used + counts.dropped + counts.pending
    assert counts.used == 6
    assert len(source.camera.stamps) == 30


def test_the_clock_of_the_recorder_stands_where_a_round_was_settled() -> None:
    source = feed([image(n / 10, n) for n in range(20)])
    assert [source.now - T0 for _ in source] == [
        SECOND // 2 + SECOND // 100,
        3 * SECOND // 2 + SECOND // 100,
    ]


def test_rounds_without_frames_are_skipped() -> None:
    moments = [0, 0.5, 1, 1.5, 7.0, 7.5]
    source = feed([image(moment, n) for n, moment in enumerate(moments)])
    # For two seconds the frame of 1.5 stands in: those rounds are told late, and not lost.
    found = [(taken.index, taken.repeated) for taken in source]
    assert found == [(0, 0), (1, 0), (2, 2), (3, 2), (7, 0)]


def test_a_camera_without_stamps_goes_by_the_time_of_reception() -> None:
    source = feed([image(n / 4, n, stamp=0) for n in range(8)])
    assert [shown(source, taken) for taken in source] == [[0, 2], [4, 6]]
    assert source.camera.zero_stamps == 8


def test_stamps_that_do_not_go_forward_cost_their_frames_only() -> None:
    messages = [image(n / 4, n) for n in range(8)]
    messages.insert(5, image(0.3, 99))
    messages.insert(7, image(1.25, 98))
    source = feed(messages)
    assert [shown(source, taken) for taken in source] == [[0, 2], [4, 6]]
    assert source.mailbox.counts.stale == 2


def test_frames_that_cannot_be_shown_are_counted_with_their_reason() -> None:
    depth = image(0.25, 1)
    depth.content.encoding = '32FC1'
    cut = Message(T0 + SECOND // 3, None)
    messages = [image(0, 0), depth, cut, image(0.5, 2), image(1, 4), image(1.5, 6)]
    source = feed(messages)
    assert [shown(source, taken) for taken in source] == [[0, 2], [4, 6]]
    counts = source.mailbox.counts
    assert (counts.received, counts.unreadable) == (6, 2)
    assert 'depth' in source.camera.trouble


def test_a_frame_of_another_size_is_replaced_by_the_newest() -> None:
    source = feed([image(0, 1, size=4), image(0.5, 2)])
    [taken] = source
    frames, substituted = pictures(taken, RAW.convert, source.mailbox, source.camera)
    assert frames.shape == (2, 2, 2, 3)
    assert (frames == 2).all()
    assert substituted == 1


def failing(messages: list[Message]) -> Iterator[Message]:
    yield from messages
    raise SourceError('the bag is torn')


@pytest.mark.parametrize('realtime', [False, True])
def test_damage_is_told_behind_the_last_round(realtime: bool) -> None:
    source = feed(failing([image(n / 100, n) for n in range(60)]), realtime=realtime)
    found = []
    with pytest.raises(SourceError, match='torn'):
        for taken in source:
            found.append(taken.index)
    assert found == [0]


def test_at_the_pace_of_the_recording_newest_wins_and_all_is_accounted_for() -> None:
    # Rounds of 0.1 s of stream, each of which takes a second and more to caption.
    messages = [image(n / 40, n) for n in range(41)]
    source = Feed(messages, RAW.check, 20, 2, realtime=True)
    found, began = [], time.monotonic()
    for taken in source:
        found.append(taken.index)
        assert source.now - T0 >= round(taken.start * SECOND)  # no round comes before its time
        if len(found) == 1:
            while source.mailbox.counts.received < 41:
                time.sleep(0.01)
    assert found == [0, 9]  # the last whole round was kept, those between were replaced
    assert time.monotonic() - began >= 1.0
    counts = source.mailbox.counts
    assert counts.received == 41 == counts.used + counts.dropped + counts.pending
    assert counts.skipped > 0


def test_a_consumer_that_leaves_ends_the_reading_thread() -> None:
    source = feed((image(n / 10) for n in range(10_000)), realtime=True)
    rounds = iter(source)
    next(rounds)
    rounds.close()
    received = source.mailbox.counts.received
    assert received < 100
    time.sleep(0.2)
    assert source.mailbox.counts.received == received


# JPEG and PNG


def compress(pixels: np.ndarray, codec: str, pix_fmt: str) -> bytes:
    context = av.CodecContext.create(codec, 'w')
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = pix_fmt, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, format='rgb24').reformat(format=pix_fmt)
    return b''.join(bytes(p) for p in (*context.encode(frame), *context.encode(None)))


def compressed(data: bytes, format: str) -> object:
    return message(
        COMPRESSED, header=header(1, ''), format=format, data=np.frombuffer(data, np.uint8)
    )


GRADIENT = np.stack(np.broadcast_arrays(
    np.arange(0, 128, 2)[:, None], np.arange(0, 256, 4)[None], 90
), axis=-1).astype(np.uint8)  # fmt: skip


def test_png_is_exact_and_jpeg_is_close() -> None:
    decode = decoder(COMPRESSED)
    png = compressed(compress(GRADIENT, 'png', 'rgb24'), 'png')
    assert np.array_equal(decode.convert(png), GRADIENT)
    jpeg = compressed(compress(GRADIENT, 'mjpeg', 'yuvj420p'), 'bgr8; jpeg compressed bgr8')
    assert decode.check(jpeg) == 'jpeg'
    assert abs(decode.convert(jpeg).astype(int) - GRADIENT).mean() < 4
    grey = compressed(compress(GRADIENT, 'png', 'gray'), 'mono8; png compressed ')
    assert np.ptp(decode.convert(grey), axis=-1).max() == 0


def test_what_is_no_picture_is_refused_with_a_reason() -> None:
    decode = decoder(COMPRESSED)
    data = compress(GRADIENT, 'mjpeg', 'yuvj420p')
    for content, reason in (
        (compressed(data[: len(data) // 2], 'jpeg'), 'its end is missing'),
        (compressed(b'\xff\xd8\xff' + b'x' * 100 + b'\xff\xd9', 'jpeg'), 'damaged'),
        (compressed(b'', 'jpeg'), 'neither'),
        (compressed(b'RIFF', 'webp'), 'neither jpeg nor png: publish'),
        (compressed(data, '16UC1; compressedDepth png'), 'colour topic'),
    ):
        with pytest.raises(FrameError, match=reason):
            decode.convert(content)
