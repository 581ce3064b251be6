# SPDX-License-Identifier: Apache-2.0
"""The topics beside ~/caption: the last words for who comes late, silence, the picture."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')
pytest.importorskip('cv2', reason='needs OpenCV')

from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from svlm.msg import Caption  # noqa: E402

from ros_support import FakeEngine  # noqa: E402
from svlm_ros.outputs import LATCHED  # noqa: E402
from svlm_ros.overlay import draw  # noqa: E402


def speaks_at_first(number, frames):
    return 'a red box' if number == 0 else ''


def test_who_comes_late_gets_the_last_words_not_the_last_silence(start, camera, graph, wait_for):
    node, ears = start(FakeEngine(speaks_at_first))
    source = camera(node)
    for second in range(2):
        source.seconds(second, 1)
        wait_for(lambda wanted=second + 1: len(ears.done) == wanted, 'a caption')
    late = []
    other = graph.add(rclpy.create_node('late'))
    other.create_subscription(Caption, 'captioner/last_caption', late.append, LATCHED)
    wait_for(lambda: late, 'the latched caption')
    assert (late[0].text, late[0].sequence, late[0].done) == ('a red box', 0, True)
    assert late[0].header.frame_id == 'front_optical'


def test_without_publish_silence_only_words_are_sent_and_silent_rounds_still_count(
    start, camera, wait_for
):
    node, ears = start(FakeEngine(speaks_at_first), publish_silence=False, publish_partial=False)
    source = camera(node)
    for second in range(2):
        source.seconds(second, 1)
        wait_for(lambda wanted=second + 1: node.cameras[0].activity.rounds == wanted, 'the round')
    wait_for(lambda: ears.statuses[-1].rounds == 2, 'the status')
    assert [caption.text for caption in ears.captions] == ['a red box']


def test_the_picture_is_drawn_while_somebody_looks_with_the_header_of_its_frame(
    start, camera, graph, wait_for, monkeypatch
):
    drawn, seen = [], []
    monkeypatch.setattr(
        'svlm_ros.outputs.draw', lambda picture, text: drawn.append(text) or draw(picture, text)
    )
    node, ears = start()
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert drawn == []
    looker = graph.add(rclpy.create_node('looker'))
    looker.create_subscription(Image, 'captioner/debug_image', seen.append, 1)
    wait_for(lambda: node.cameras[0]._outputs._pictures.get_subscription_count(), 'the looker')
    source.seconds(1, 1)
    wait_for(lambda: seen, 'the picture')
    assert drawn == ['second 1']
    assert seen[0].header == ears.done[-1].header
    assert (seen[0].width, seen[0].height, seen[0].encoding) == (56, 28, 'rgb8')
    assert len(seen[0].data) == 56 * 28 * 3


def test_the_picture_comes_as_a_jpeg_too_for_who_asks_for_that_alone(
    start, camera, graph, wait_for
):
    import cv2

    node, _ = start()
    seen = []
    looker = graph.add(rclpy.create_node('looker'))
    looker.create_subscription(CompressedImage, 'captioner/debug_image/compressed', seen.append, 1)
    wait_for(lambda: node.cameras[0]._outputs._files.get_subscription_count(), 'the looker')
    camera(node).seconds(0, 1)
    wait_for(lambda: seen, 'the picture')
    assert 'jpeg compressed bgr8' in seen[0].format
    assert seen[0].header.frame_id == 'front_optical'
    picture = cv2.imdecode(np.frombuffer(seen[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (28, 56, 3)
    assert abs(int(picture[0, 0, 0]) - 0x50) < 5


@pytest.mark.parametrize('size', [(240, 320), (1080, 1920), (28, 56), (1000, 30)])
def test_words_change_the_lower_edge_and_leave_the_upper_one(size):
    picture = np.full((*size, 3), 200, np.uint8)
    drawn = draw(picture, 'a red box ' * 3)
    assert (drawn[-1] == 50).any()
    assert (picture == 200).all()
    if size[0] > 100:
        assert (drawn[0] == 200).all()


def test_letters_beyond_ascii_and_silence_draw_without_an_accident():
    picture = np.full((240, 320, 3), 200, np.uint8)
    assert (draw(picture, '') == picture).all()
    assert (draw(picture, 'Männchen 🚶') != picture).any()
