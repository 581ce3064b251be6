# SPDX-License-Identifier: Apache-2.0
"""The synthetic camera publishes its world as a real camera would."""

from __future__ import annotations

import time
from itertools import count

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')

from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from svlm_core.errors import SettingsError  # noqa: E402
from svlm_core.synthetic import Story  # noqa: E402
from svlm_ros.conversion import choose_converter  # noqa: E402
from svlm_ros.messages import nanoseconds  # noqa: E402
from svlm_ros.synthetic_camera import ENCODINGS, SyntheticCamera, encode  # noqa: E402


@pytest.fixture
def listen(graph):
    """Listen to the camera from a node of its own; what a sensor-data subscriber receives."""
    numbers = count()

    def start():
        heard = []
        node = graph.add(rclpy.create_node(f'ears_{next(numbers)}'))
        node.create_subscription(Image, 'image', heard.append, qos_profile_sensor_data)
        return heard

    return start


@pytest.fixture
def images(graph, listen):
    """Start a camera with these parameters; what one listener receives."""

    def start(**values):
        heard = listen()
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        camera = SyntheticCamera(parameter_overrides=overrides)
        camera.start()
        graph.add(camera)
        return heard

    return start


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_images_arrive_stamped_and_show_the_world_of_the_seed(images, wait_for, encoding):
    heard = images(seed=3, width=96, height=64, rate=50.0, encoding=encoding, frame_id='nose')
    wait_for(lambda: len(heard) >= 3, 'three images')
    assert {image.header.frame_id for image in heard} == {'nose'}
    stamps = [nanoseconds(image.header.stamp) for image in heard]
    assert stamps == sorted(set(stamps))
    picture = choose_converter()(heard[0])
    assert picture.shape == (64, 96, 3)
    world = Story(3, 64, 96)
    told = [world.frame(tenth / 50).astype(float) for tenth in range(50)]
    if encoding == 'mono8':
        told = [np.repeat(encode(f.astype(np.uint8), 'mono8')[..., None], 3, 2) for f in told]
    assert min(np.abs(picture - frame).mean() for frame in told) < 3


def test_the_world_begins_when_enough_listen(images, listen, wait_for):
    first = images(seed=3, width=56, height=56, rate=50.0, listeners=2)
    time.sleep(0.5)
    assert not first
    second = listen()
    wait_for(lambda: first and second, 'images for both')
    story, shown = Story(3, 56, 56), choose_converter()(first[0]).astype(float)
    assert np.abs(shown - story.frame(0)).mean() < 3
    assert np.abs(shown - story.frame(20)).mean() > 3


def test_encodings_are_exact():
    picture = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    assert encode(picture, 'rgb8').tolist() == picture.tolist()
    assert encode(picture, 'bgr8')[0, 0].tolist() == [0, 0, 255]
    assert encode(picture, 'mono8').tolist() == [[76, 150], [29, 255]]


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'encoding': 'jpeg'}, "encoding='jpeg' is unknown: choose one of rgb8, bgr8, mono8"),
        ({'width': 0}, 'width'),
        ({'rate': 0.0}, 'rate'),
        ({'duration': -1}, 'duration=-1.0 is out of range'),
    ],
)
def test_bad_settings_are_refused_by_name(graph, values, reason):
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    with pytest.raises(SettingsError, match=reason):
        SyntheticCamera(parameter_overrides=overrides)
