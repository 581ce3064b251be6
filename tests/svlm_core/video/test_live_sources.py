# SPDX-License-Identifier: Apache-2.0
"""Live cameras, real ones of localhost: rounds, accounts, losses and returns, silence, secrets."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from camera_servers import HEIGHT, WIDTH, Footage, MjpegCamera, RtspCamera, film, jpeg
from svlm_core.errors import FrameError, SourceError
from svlm_core.mailbox import SECOND
from svlm_core.video.cameras import Camera, find_camera
from svlm_core.video.connection import Connection, Shot
from svlm_core.video.live import LiveSource, Patience

QUICK = Patience(opening=2, reading=1, first_wait=0.1, longest_wait=0.4)


@pytest.fixture(scope='session')
def footage():
    return film()


@pytest.fixture
def camera(footage):
    camera = RtspCamera(footage)
    yield camera
    camera.stop()


@pytest.fixture
def told():
    return []


@pytest.fixture
def watch(told):
    """A source with rounds of two frames, 0.2 s long; what it tells is in `told`."""

    def open_source(address: str, *, patience=QUICK, connect=Connection, **options) -> LiveSource:
        camera = find_camera(address, **options)
        return LiveSource(
            camera, 10, 2, told.append, max_age=0.5, patience=patience, connect=connect
        )

    return open_source


def shown(taken) -> list[int]:
    """Brightness of the frames of a round, in tens."""
    return [round(float(frame.message().mean()) / 10) for frame in taken.frames]


def accounted(live: LiveSource) -> bool:
    counts = live.mailbox.counts
    return counts.received == counts.used + counts.dropped + counts.pending


@pytest.mark.parametrize('transport', ['tcp', 'udp'])
def test_an_rtsp_camera_gives_its_rounds_and_says_what_it_sends(camera, watch, told, transport):
    with watch(camera.address, transport=transport) as live:
        rounds = list(live.rounds(1.0))
        clock = live.now
    assert told == [f'{camera.address}: h264 64x48, 20 frames/s, yuv420p, over {transport}']
    assert rounds[0].index == 0
    assert rounds[-1].index == 4
    assert [taken.start for taken in rounds] == [taken.index / 5 for taken in rounds]
    for taken in rounds[1:]:  # the first frames come at once, as they were awaited
        first, second = shown(taken)
        assert (second - first) % 20 in (1, 2, 3)
    assert rounds[0].frames[0].message().shape == (HEIGHT, WIDTH, 3)
    assert abs(clock - time.time_ns()) < SECOND  # the stamps are wall clock
    assert 0 < clock - rounds[-1].frames[-1].stamp < SECOND
    assert accounted(live)
    assert 'TEARDOWN' in ' '.join(camera.asked)


def test_frames_are_turned_into_rgb_only_if_they_are_looked_at(camera, watch, monkeypatch):
    made = []
    real = av.VideoFrame.to_ndarray
    monkeypatch.setattr(
        'svlm_core.video.connection.pixels',
        lambda frame: made.append(frame) or real(frame, format='rgb24'),
    )
    with watch(camera.address) as live:
        for taken in live.rounds(0.4):
            shown(taken)
    assert len(made) == live.mailbox.counts.used == 4 < live.mailbox.counts.received


@pytest.mark.parametrize('login', ['', 'bob:s3cret'])
def test_an_mjpeg_camera_is_read_over_http(watch, told, login):
    camera = MjpegCamera(login=login)
    address = camera.address.replace('://', f'://{login}@' if login else '://')
    try:
        with watch(address) as live:
            rounds = list(live.rounds(0.8))
    finally:
        camera.stop()
    assert 'mjpeg 64x48, frame rate not announced, yuvj420p, over http' in told[0]
    assert 's3cret' not in told[0]
    assert [taken.start for taken in rounds] == [taken.index / 5 for taken in rounds]
    for taken in rounds:
        first, second = shown(taken)
        assert (second - first) % 20 in (1, 2, 3, 4)
    assert accounted(live)


def test_only_the_newest_round_waits_for_somebody_who_is_busy(camera, watch):
    with watch(camera.address) as live:
        rounds = live.rounds()
        assert next(rounds).index == 0
        time.sleep(1)
        late = next(rounds)
    assert late.index >= 3
    assert late.dropped >= 10
    assert accounted(live)


def test_time_begins_with_the_first_frame_that_is_wanted(camera, watch):
    with watch(camera.address) as live:
        time.sleep(0.5)  # a model is being loaded
        before = live.now
        first = next(live.rounds())
    assert (first.index, first.start) == (0, 0)
    assert first.origin >= before
    assert live.mailbox.counts.received <= 8


def test_a_lost_camera_is_sought_until_it_is_back_and_time_goes_on(camera, watch, told):
    with watch(camera.address) as live:
        rounds = live.rounds()
        seen = [next(rounds) for _ in range(3)]
        camera.stop()
        while len(told) < 3:  # lost, and not found again
            seen.append(next(rounds))
        threading.Timer(0.8, camera.start).start()
        while len(told) < 4 or seen[-1].repeated:
            seen.append(next(rounds))
    name, report = camera.address, 'h264 64x48, 20 frames/s, yuv420p, over tcp'
    assert live.losses == 1
    assert told[0] == f'{name}: {report}'
    assert told[1].startswith(f'{name}: ')
    assert told[1].endswith('s, trying again')
    assert told[2] == f'{name}: connection refused: check that it is on, and its port'
    assert told[3].startswith(f'{name}: back after ')
    assert told[3].endswith(report)
    assert len(told) == 4  # however often it was tried
    indexes = [taken.index for taken in seen]
    assert indexes == sorted(set(indexes))
    assert len({(taken.origin, taken.era) for taken in seen}) == 1
    assert accounted(live)


def test_a_connection_that_breaks_is_made_again_at_once(camera, watch, told):
    with watch(camera.address) as live:
        for taken in live.rounds(2.0):
            if taken.index in (2, 5):
                camera.drop()
    assert live.losses == 2
    assert [line.partition(' after ')[0].rpartition(' ')[2] for line in told[1:]] == [
        'lost', 'back', 'lost', 'back',
    ]  # fmt: skip
    assert accounted(live)


def test_a_camera_that_falls_silent_is_left_after_the_read_timeout(camera, watch, told):
    with watch(camera.address) as live:
        for taken in live.rounds(3.0):
            if taken.index == 2:
                camera.hush()
    assert 'nothing came for 1 s; lost after' in told[1]
    # It is tried again, and does not answer: that is told once.
    assert told[2:] in ([], [f'{camera.address}: no answer within 2 s'])
    repeats = live.mailbox.counts.repeated
    assert repeats >= 2  # the last frame stood in for half a second
    assert live.mailbox.counts.rounds_blind >= 3  # and no longer
    assert accounted(live)


def test_a_camera_whose_clock_jumps_goes_on(camera, watch, told):
    camera.jump, camera.each = 1000.0, 15
    with watch(camera.address) as live:
        rounds = list(live.rounds(3.0))
    assert rounds[-1].index == 14
    stamps = [frame.stamp for taken in rounds for frame in taken.frames]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 4 * SECOND
    assert accounted(live)


def refusal(watch, address: str, **options) -> str:
    """Why a source cannot be entered, in one line."""
    with pytest.raises(SourceError) as caught, watch(address, **options):
        pass
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_reached_at_all_is_told_at_once(camera, watch, told):
    address = camera.address
    assert 'it has no such stream' in refusal(watch, address.replace('stream', 'attic'))
    camera.hush()
    assert refusal(watch, address) == f'{address}: no answer within 2 s'
    assert refusal(watch, address, transport='udp').endswith('within 2 s over udp: try tcp')
    camera.stop()
    assert 'connection refused: check that it is on' in refusal(watch, address)
    assert 'there is no host of this name' in refusal(watch, 'rtsp://camera.invalid/stream')
    assert told == []


def test_a_camera_that_answers_and_sends_no_picture_is_as_good_as_gone(camera, watch):
    camera.footage = Footage(camera.footage.media, [[]])
    assert refusal(watch, camera.address).endswith('no picture comes that can be decoded')


def test_a_password_is_asked_for_and_never_shown(footage, watch):
    camera = RtspCamera(footage, login='bob:s3cret')
    try:
        assert 'it asks for a name and a password' in refusal(watch, camera.address)
        wrong = refusal(watch, camera.address.replace('://', '://bob:s3kret@'))
        assert 'rtsp://***@localhost' in wrong
        assert 'it refuses this name and password' in wrong
        right = watch(camera.address.replace('://', '://bob:s3cret@'))
        with right:
            assert next(right.rounds()).index == 0
    finally:
        camera.stop()
    assert right.name == camera.address.replace('://', '://***@')


def test_a_page_in_place_of_a_stream_is_no_camera(watch):
    camera = MjpegCamera(kind='page')
    try:
        assert 'it sends no MJPEG stream' in refusal(watch, camera.address)
    finally:
        camera.stop()


def test_a_thread_stuck_in_a_dead_camera_is_not_waited_for(camera, watch):
    with watch(camera.address, patience=Patience(reading=8)) as live:
        assert next(live.rounds()).index == 0
        camera.hush()
    assert 'camera' in [thread.name for thread in threading.enumerate()]


def test_nothing_is_left_behind_after_many_losses(camera, watch):
    before = leftovers()
    with watch(camera.address, patience=Patience(2, 1, 0.01, 0.01)) as live:
        rounds = live.rounds()
        while live.losses < 10:
            next(rounds)
            camera.drop()
    camera.stop()
    for _ in range(100):  # threads of the server end too, in their time
        after = leftovers()
        if all(now <= then for now, then in zip(after, before, strict=True)):
            return
        time.sleep(0.1)
    pytest.fail(f'threads and files: {before} before, {after} after')


def leftovers() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir('/proc/self/fd'))


def test_an_error_that_nobody_foresaw_is_raised_where_rounds_are_taken(watch):
    class Broken:
        report = 'broken'

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def shots(self):
            yield Shot(0, lambda: np.zeros((2, 2, 3), np.uint8))
            raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        watch('rtsp://camera/', connect=lambda *arguments: Broken()) as live,
    ):
        list(live.rounds())


@pytest.mark.parametrize(
    ('before', 'held', 'wait'),
    [(0, 5, 0.5), (0.5, 0, 1), (16, 0, 30), (30, 0, 30), (8, 7, 16), (8, 9, 0.5)],
)
def test_attempts_become_rarer_and_a_connection_that_held_begins_anew(before, held, wait):
    assert Patience().wait(before, held) == wait


def raw_device(tmp_path, codec: str, pixels: str, count: int = 4) -> Camera:
    """A file that is read as a device would be: still pictures, of brightness 50 n."""
    path = tmp_path / 'device.nut'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for number in range(count):
            grey = np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format='rgb24')
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())

    class File(Camera):
        format = 'nut'

        def refusal(self) -> str:
            return ''

    return File('device', '/dev/video0', 'v4l2', str(path))


@pytest.mark.parametrize(
    ('codec', 'pixels'),
    [('rawvideo', 'yuyv422'), ('rawvideo', 'gray'), ('mjpeg', 'yuvj422p')],
)
def test_still_pictures_outlive_their_device_and_are_decoded_late(tmp_path, codec, pixels):
    device = raw_device(tmp_path, codec, pixels)
    with Connection(device, 2, 1) as connection:
        assert connection.report == f'{codec} 64x48, 10 frames/s, {pixels}, over v4l2'
        shots: list[Shot] = []
        with pytest.raises(SourceError, match='/dev/video0: it ended the stream'):
            shots.extend(connection.shots())
    assert [shot.shown for shot in shots] == [n * SECOND // 10 for n in range(4)]
    assert [round(float(shot.rgb().mean()), -1) for shot in shots] == [0, 50, 100, 150]
    assert shots[0].rgb().shape == (HEIGHT, WIDTH, 3)


def test_a_jpeg_that_is_cut_off_is_no_picture(watch, monkeypatch):
    monkeypatch.setattr(
        'camera_servers.jpeg', lambda bright: jpeg(bright)[: None if bright < 50 else 400]
    )
    camera = MjpegCamera()
    try:
        with watch(camera.address) as live:
            cut = [taken for taken in live.rounds(1) if taken.index == 2]
            with pytest.raises(FrameError, match='its end is missing'):
                cut[0].frames[0].message()
    finally:
        camera.stop()
