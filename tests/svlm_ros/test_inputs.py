# SPDX-License-Identifier: Apache-2.0
"""How pictures come in: raw or compressed; and frames that were lost before they came."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')
cv2 = pytest.importorskip('cv2', reason='needs OpenCV')

from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from robot_support import CompressedCamera  # noqa: E402
from svlm_core.compressed import Decoder  # noqa: E402
from svlm_core.errors import FrameError, SettingsError  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402

PIXELS = np.full((28, 56, 3), (50, 100, 200), np.uint8)  # RGB, what the camera shows


def packed(extension='.png', pixels=PIXELS, cut=None, kind='png'):
    data = cv2.imencode(extension, pixels[..., ::-1])[1].tobytes()[:cut]
    return CompressedImage(format=kind, data=data)


@pytest.mark.parametrize(('extension', 'error'), [('.png', 0), ('.jpg', 3)])
def test_pictures_come_out_in_rgb_as_they_were(extension, error):
    picture = Decoder()(packed(extension))
    assert picture.shape == PIXELS.shape
    assert np.abs(picture.astype(int) - PIXELS).max() <= error


def test_a_grey_picture_becomes_rgb():
    data = cv2.imencode('.png', PIXELS[..., 0])[1].tobytes()
    assert Decoder()(CompressedImage(format='mono8; png compressed', data=data)).shape[2] == 3


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (packed(cut=60), 'png image of 60 bytes: its end is missing'),
        (packed('.jpg', cut=300), 'jpeg image of 300 bytes: its end is missing'),
        (CompressedImage(format='jpeg'), "format 'jpeg' is neither jpeg nor png"),
        (CompressedImage(format='h264', data=b'\0\0\0\1'), "'h264' is neither jpeg nor png"),
        (packed(kind='16UC1; compressedDepth'), 'choose the colour topic'),
        (CompressedImage(data=b'\xff\xd8\xff' + b'\0' * 50 + b'\xff\xd9'), 'cannot be read'),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_the_reason(message, reason):
    with pytest.raises(FrameError) as error:
        Decoder()(message)
    assert reason in str(error.value)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_a_compressed_camera_is_captioned(start, graph, wait_for, extension):
    node, ears = start(transport='compressed')
    source = CompressedCamera(graph, node, wait_for, extension=extension)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].camera == '/image/compressed'
    assert ears.done[0].header.frame_id == 'front_optical'
    [(_, frames)] = node.cameras[0].stream.seen
    assert frames.shape == (2, 28, 56, 3)
    assert np.abs(frames.astype(int) - PIXELS).max() <= 3
    assert ears.statuses[-1].image_backend.startswith('PyAV')


def test_a_torn_picture_is_counted_and_told_and_the_next_one_captioned(start, graph, wait_for):
    node, ears = start(transport='compressed')
    source = CompressedCamera(graph, node, wait_for)
    source.send(0, data=b'\xff\xd8\xff\xe0 torn')
    source.send(0, data=b'\xff\xd8\xff\xe0 no picture \xff\xd9')  # only decoding tells
    source.send(0.5)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].frames_repeated == 1
    wait_for(lambda: ears.statuses[-1].frames_dropped == 2, 'the status')
    assert 'cannot be read' in ears.statuses[-1].last_error


def test_the_compressed_topic_follows_the_remapping_of_image(graph, wait_for):
    remap = ['--ros-args', '-r', 'image:=/cam/image_raw']
    node = Captioner(
        parameter_overrides=[Parameter('transport', value='compressed')], cli_args=remap
    )
    graph.add(node)
    assert node.cameras[0].topic == '/cam/image_raw/compressed'


def test_another_transport_is_refused_with_the_choices(graph):
    with pytest.raises(SettingsError, match='choose one of raw, compressed'):
        Captioner(parameter_overrides=[Parameter('transport', value='theora')])


def test_frames_lost_before_the_node_are_counted_apart(start, camera, wait_for):
    node, ears = start()
    source = camera(node)
    source.seconds(0, 2, rate=10)
    source.seconds(3, 1, rate=10)  # a second is missing
    node.cameras[0]._input._on_lost(
        SimpleNamespace(total_count_change=3)
    )  # what the middleware would say
    wait_for(lambda: ears.statuses[-1].frames_lost == 3, 'the status')
    assert ears.statuses[-1].frames_missing == 10
    assert ears.statuses[-1].frames_received == 30
