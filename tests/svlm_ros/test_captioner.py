# SPDX-License-Identifier: Apache-2.0
"""The captioner on a real ROS graph: what comes in on `image`, what goes out, what is counted."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from svlm.msg import Caption, Status  # noqa: E402

from robot_support import T0, Ears  # noqa: E402
from ros_support import FakeEngine  # noqa: E402
from svlm_core.errors import CheckpointError, MemoryFull  # noqa: E402
from svlm_ros import captioner  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402
from svlm_ros.messages import nanoseconds  # noqa: E402
from svlm_ros.outputs import LATCHED  # noqa: E402

CHECKPOINT = Path(__file__).parents[1] / 'parity' / 'checkpoint'


def test_each_second_of_camera_becomes_a_stamped_caption(start, camera, wait_for):
    node, ears = start(publish_partial=False)
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    source.seconds(1, 1)
    wait_for(lambda: len(ears.done) == 2, 'two captions')
    for number, caption in enumerate(ears.done):
        assert caption.header.frame_id == 'front_optical'
        assert nanoseconds(caption.header.stamp) == round((T0 + number + 0.5) * 1e9)
        assert nanoseconds(caption.window_start) == (T0 + number) * 10**9
        assert (caption.sequence, caption.camera, caption.kind) == (number, '/image', 0)
        assert caption.text == caption.delta == f'second {number}'
        assert (caption.frames_used, caption.frames_repeated, caption.tokens) == (2, 0, 3)
    # At 4 Hz one frame lies between the instants of the first round, two before the next.
    assert [caption.frames_dropped for caption in ears.done] == [1, 2]
    assert ears.texts == ['second 0', 'second 1']
    assert [start for start, _ in node.cameras[0].stream.seen] == [0, 1]


def test_partial_captions_grow_token_by_token_with_the_stamp_of_the_whole(start, camera, wait_for):
    node, ears = start()
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert [(c.text, c.delta, c.done) for c in ears.captions] == [
        ('second', 'second', False),
        ('second 0', ' 0', False),
        ('second 0', '', True),
    ]
    assert len({nanoseconds(c.header.stamp) for c in ears.captions}) == 1
    assert ears.texts == ['second 0']


def test_latency_is_counted_from_the_stamp_of_the_newest_frame(start, camera, wait_for):
    node, ears = start(publish_partial=False)
    before = time.time()
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    [caption] = ears.done
    spacing = 64  # of float32 at this size
    assert before - T0 - 0.5 - spacing <= caption.latency <= time.time() - T0 - 0.5 + spacing


def test_a_silent_second_is_published_as_silence_and_not_as_text(start, camera, wait_for):
    node, ears = start(FakeEngine(lambda number, frames: ''))
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    [caption] = ears.captions
    assert (caption.kind, caption.text, caption.tokens) == (Caption.SILENCE, '', 1)
    assert ears.texts == []


@pytest.mark.parametrize('reliable', [True, False])
def test_reliable_and_best_effort_cameras_are_both_heard(start, camera, wait_for, reliable):
    node, ears = start(camera='left')
    camera(node, reliable=reliable).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].camera == 'left'


def test_a_camera_that_cannot_match_is_told_once(start, camera, graph, wait_for):
    topic = '/image'
    _, ears = start(**{f'qos_overrides.{topic}.subscription.reliability': 'reliable'})
    other = graph.add(rclpy.create_node('mute_camera'))
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other.create_publisher(Image, topic, profile)
    wait_for(lambda: ears.statuses and 'reliability' in ears.statuses[-1].last_error, 'a warning')
    assert f'set qos_overrides.{topic}.subscription.reliability' in ears.statuses[-1].last_error


def test_every_frame_is_accounted_for_in_the_status(start, camera, wait_for):
    node, ears = start()
    source = camera(node)
    source.send(0.2, encoding='32FC1')
    source.send(0.2, step=3)
    source.seconds(1, 1)
    source.send(1.0)  # late
    wait_for(lambda: ears.statuses and ears.statuses[-1].frames_received == 7, 'the status')
    status = ears.statuses[-1]
    assert status.frames_used + status.frames_dropped + status.frames_pending == 7
    assert (status.frames_used, status.frames_pending) == (2, 1)
    assert 'stamp' in status.last_error


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'encoding': 'h264'}, "image encoding 'h264' is unknown"),
        ({'encoding': '16UC1'}, '16UC1 is refused: it holds depth'),
        ({'step': 100}, 'step is 100 bytes, a row alone takes 168'),
        ({'data': b'\x00' * 9}, '9 bytes of data, 4704 expected'),
        ({'height': 0}, 'it has no pixels'),
    ],
)
def test_a_bad_image_is_counted_and_told_and_the_next_good_one_captioned(
    start, camera, wait_for, changes, reason
):
    node, ears = start()
    source = camera(node)
    source.send(0, **changes)
    wait_for(lambda: ears.statuses[-1].frames_dropped == 1, 'the status')
    assert reason in ears.statuses[-1].last_error
    source.seconds(1, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].frames_dropped == 2


def test_a_camera_without_stamps_is_captioned_by_time_of_arrival(start, camera, wait_for):
    node, ears = start()
    source, before = camera(node), time.time()

    def ready():
        source.send(None)
        return ears.done

    wait_for(ready, 'a caption')
    stamp = nanoseconds(ears.done[0].header.stamp) / 1e9
    assert before <= stamp <= time.time()
    assert -0.1 <= ears.done[0].latency < 60


def test_a_camera_that_stops_is_told_and_is_welcome_back(start, camera, wait_for, capfd):
    node, ears = start(frame_timeout=0.2)
    source, log = camera(node), []

    def logged(text):
        log.append(capfd.readouterr().err)
        return text in ''.join(log)

    source.seconds(0, 1)
    wait_for(lambda: logged(' s on /image (publishers: 1)'), 'a warning')
    wait_for(lambda: ears.statuses[-1].frame_age > 0.2, 'the status')
    assert ears.statuses[-1].state == Status.WAITING
    source.seconds(50, 1)
    wait_for(lambda: ears.done[-1].sequence == 50, 'a caption after the silence')
    wait_for(lambda: logged('frames again on /image after'), 'the good news')


def test_who_comes_late_still_learns_what_runs(start, camera, graph, wait_for):
    node, _ = start(FakeEngine(trained=False), query='What moves?')
    late = []
    other = graph.add(rclpy.create_node('late'))
    for timer in node._timers:
        timer.cancel()  # so that only a kept status can reach it
    other.create_subscription(Status, 'captioner/status', late.append, LATCHED)
    wait_for(lambda: late, 'the latched status')
    status = late[0]
    assert not status.trained
    assert (status.model, status.query, status.preset) == ('fake', 'What moves?', 'robot')
    assert (status.policy, status.image_backend) == ('streaming', node._converter.name)
    assert (status.tokens_capacity, status.memory_bytes) == (1000, 4096)
    assert status.state in (Status.WAITING, Status.RUNNING)
    assert math.isnan(status.latency)


def test_an_engine_error_is_told_and_the_node_goes_on(start, camera, wait_for):
    def fails_once(number, frames):
        if number == 0:
            raise MemoryFull('the memory is full: reset it')
        return 'back again'

    node, ears = start(FakeEngine(fails_once))
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: 'the memory is full' in ears.statuses[-1].last_error, 'the error')
    source.seconds(1, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert (ears.done[0].sequence, ears.done[0].text) == (1, 'back again')
    assert node.cameras[0].stream.resets == 1


def test_an_engine_beyond_repair_ends_the_node_with_status_one(start, camera, wait_for):
    def fails(number, frames):
        raise RuntimeError('device lost')

    node, ears = start(FakeEngine(fails))
    node.cameras[0].stream.reset = lambda: fails(0, None)
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: node.cameras[0].activity.last_error, 'the first error')
    source.seconds(1, 1)
    wait_for(node.finished.done, 'the end')
    assert node.finished.result() == 1
    wait_for(lambda: ears.statuses[-1].state == Status.FAILED, 'the status')


def test_the_node_answers_while_the_model_thinks(start, camera, graph, wait_for):
    from rclpy.parameter_client import AsyncParameterClient

    node, _ = start(FakeEngine(lambda number, frames: 'word ' * 500, pause=0.02))
    camera(node).seconds(0, 1)
    wait_for(lambda: node.cameras[0].stream.words > 0, 'the model to begin')
    client = AsyncParameterClient(graph.add(rclpy.create_node('client')), 'captioner')
    assert client.wait_for_services(10)
    answer = client.get_parameters(['fps'])
    wait_for(answer.done, 'the answer')
    assert answer.result().values[0].double_value == 2
    assert node.cameras[0].stream.words < 501  # it was still thinking


def test_deactivate_keeps_the_model_and_activate_goes_on(start, camera, wait_for):
    node, ears = start()
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    stream = node.cameras[0].stream
    node.trigger_deactivate()
    wait_for(lambda: source.publisher.get_subscription_count() == 0, 'the subscription to end')
    node.trigger_activate()
    wait_for(lambda: source.publisher.get_subscription_count() == 1, 'the subscription')
    source.seconds(9, 1)
    wait_for(lambda: len(ears.done) == 2, 'a caption')
    assert node.cameras[0].stream is stream


def test_relative_names_follow_the_namespace(start, camera, wait_for):
    node, ears = start(namespace='/robot1')
    camera(node, topic='/robot1/image').seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].camera == '/robot1/image'


def test_a_model_that_cannot_be_loaded_is_the_users_error(graph):
    def load(node):
        raise CheckpointError(f'{node.settings.model}: no such folder')

    node = graph.add(Captioner(load, parameter_overrides=[Parameter('model', value='/nowhere')]))
    with pytest.raises(CheckpointError, match='/nowhere: no such folder'):
        node.start()


def test_the_real_engine_captions_what_the_camera_shows(graph, camera, wait_for):
    ears = Ears(graph)
    overrides = [
        Parameter('model', value=str(CHECKPOINT)),
        Parameter('device', value='cpu'),
        Parameter('max_new_tokens', value=4),
    ]
    node = graph.add(Captioner(captioner.load_engine, parameter_overrides=overrides))
    node.start()
    source = camera(node)
    wait_for(lambda: node.count_subscribers('captioner/caption') == 1, 'the ears')
    for second in range(3):
        source.seconds(second, 1)
        wait_for(lambda wanted=second + 1: len(ears.done) == wanted, 'a caption')
    assert [caption.sequence for caption in ears.done] == [0, 1, 2]
    assert all(1 <= caption.tokens <= 4 for caption in ears.done)
    wait_for(lambda: ears.statuses[-1].rounds == 3, 'the status')
    status = ears.statuses[-1]
    assert 0 < status.tokens_held <= status.tokens_capacity
    assert status.device == 'cpu'
