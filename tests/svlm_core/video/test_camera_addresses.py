# SPDX-License-Identifier: Apache-2.0
"""What is a camera, what FFmpeg is asked for, and that no password is ever shown."""

from __future__ import annotations

import errno
import os

import av
import pytest

from svlm_core.errors import SourceError
from svlm_core.video.cameras import find_camera, kind_of_camera, masked


@pytest.mark.parametrize(
    ('source', 'kind'),
    [
        ('rtsp://camera/stream', 'rtsp'),
        ('RTSPS://camera:322/', 'rtsp'),
        ('http://camera/video.mjpg', 'http'),
        ('https://camera/', 'http'),
        ('/dev/video0', 'device'),
        ('/dev/v4l/by-id/usb-Camera-index0', 'device'),
        ('rtmp://camera/stream', None),
        ('patrol.mp4', None),
        ('http:clip.mp4', None),
        ('/dev/null', None),
        ('', None),
    ],
)
def test_a_name_tells_what_kind_of_camera_it_is(source, kind):
    assert kind_of_camera(source) == kind
    if kind is None:
        with pytest.raises(SourceError, match='is no camera: known are rtsp://'):
            find_camera(source)


@pytest.mark.parametrize(
    ('address', 'shown'),
    [
        ('rtsp://camera/stream', 'rtsp://camera/stream'),
        ('rtsp://camera:8554/axis@2', 'rtsp://camera:8554/axis@2'),
        ('rtsp://[fe80::1%eth0]:554/axis@2', 'rtsp://[fe80::1%eth0]:554/axis@2'),
        ('rtsp://bob:s3cret@camera/1', 'rtsp://***@camera/1'),
        ('rtsp://bob@camera/1', 'rtsp://***@camera/1'),
        ('rtsp://bob:s3c@ret@camera/1', 'rtsp://***@camera/1'),
        ('rtsp://bob:s3c/ret@camera/1', 'rtsp://***@camera/1'),
        ('rtsp://bob:s3c?ret@camera/1', 'rtsp://***@camera/1'),
        ('http://camera/v?user=bob&pwd=s3cret&n=1', 'http://camera/v?user=***&pwd=***&n=1'),
        ('rtsp://camera/user=bob&password=s3cret&n=1', 'rtsp://camera/user=***&password=***&n=1'),
        ('/dev/video0', '/dev/video0'),
    ],
)
def test_names_and_passwords_are_masked_wherever_they_stand(address, shown):
    assert masked(address) == shown
    if address.startswith(('rtsp', 'http')):
        camera = find_camera(address)
        assert (camera.name, camera.address) == (shown, address)
        assert 's3c' not in repr(camera)


def test_rtsp_cameras_are_asked_for_video_alone_over_tcp_unless_udp_is_named():
    camera = find_camera('rtsp://camera/')
    assert camera.format == 'rtsp'
    assert camera.options['rtsp_transport'] == 'tcp'
    assert camera.options['allowed_media_types'] == 'video'
    assert find_camera('rtsp://camera/', transport='udp').options['rtsp_transport'] == 'udp'


def test_devices_are_asked_for_what_the_user_wants_and_nothing_else():
    camera = find_camera('/dev/video0', size='1280x720', fps=12.5, pixels='mjpeg')
    assert camera.format == 'v4l2'
    asked = {'video_size': '1280x720', 'framerate': '12.5', 'input_format': 'mjpeg'}
    assert asked.items() <= camera.options.items()
    assert not asked.keys() & find_camera('/dev/video0').options.keys()


def test_a_device_is_opened_so_that_it_never_blocks():
    options = dict(find_camera('/dev/video0').options)
    with av.open('testsrc=size=16x16', format='lavfi', options=options) as container:
        assert container.flags & av.container.Flags.non_block.value


def test_a_missing_device_and_a_file_in_its_place_are_told(tmp_path, monkeypatch):
    refusal = find_camera('/dev/video99').refusal()
    assert refusal.startswith('No such file or directory; cameras here: ')
    (tmp_path / 'video0').touch()
    monkeypatch.setattr('svlm_core.video.cameras._is_video_device', lambda source: True)
    assert find_camera(str(tmp_path / 'video0')).refusal() == 'it is no camera, nor any device'


def test_a_device_without_permission_says_whom_to_ask(monkeypatch):
    monkeypatch.setattr('svlm_core.video.cameras._is_video_device', lambda source: True)
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    assert 'no permission: add yourself to its group' in find_camera('/dev/null').refusal()


@pytest.mark.parametrize(
    ('number', 'connected', 'told'),
    [
        (errno.EBUSY, False, 'another program uses it'),
        (errno.ENOTTY, False, 'it is no camera'),
        (errno.ENODEV, False, 'a camera may have several devices'),
        (errno.ENODEV, True, 'it was unplugged'),
        (errno.EINVAL, False, 'it does not offer this size, rate or format'),
        (errno.EPERM, False, 'Operation not permitted'),
    ],
)
def test_errors_of_devices_are_told_in_words(number, connected, told):
    with pytest.raises(av.FFmpegError) as caught:
        av.error.err_check(-number)
    assert told in find_camera('/dev/video0').reason(caught.value, connected=connected)
