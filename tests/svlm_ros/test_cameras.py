# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one node, several nodes in one process: one copy of the weights, in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from robot_support import Ears  # noqa: E402
from ros_support import FakeEngine  # noqa: E402
from svlm_core.errors import MemoryFull  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402

CHECKPOINT = Path(__file__).parents[1] / 'parity' / 'checkpoint'


@pytest.fixture
def pair(graph, start, camera, wait_for):
    """A captioner with cameras front and rear; gives node, both cameras, both ears."""

    def make(engine=None, **values):
        node, _ = start(engine, cameras=['front', 'rear'], **values)
        ears = [Ears(graph, camera=name) for name in ('front', 'rear')]
        views = [
            camera(node, topic=f'{name}/image', name=f'{name}_camera', number=number)
            for number, name in enumerate(('front', 'rear'))
        ]
        for heard, name in zip(ears, ('front', 'rear'), strict=True):
            wait_for(
                lambda h=heard, n=name: h.node.count_publishers(f'captioner/{n}/caption'), name
            )
            wait_for(lambda n=name: node.count_subscribers(f'/captioner/{n}/text'), name)
        return node, views, ears

    return make


def test_each_camera_is_a_labelled_stream_of_its_own(pair, wait_for):
    node, (front, rear), (ahead, behind) = pair(publish_partial=False)
    front.seconds(0, 1)
    wait_for(lambda: ahead.done, 'a caption of front')
    front.seconds(1, 1)
    wait_for(lambda: len(ahead.done) == 2, 'two captions of front')
    rear.seconds(50, 1)
    wait_for(lambda: behind.done, 'a caption of rear')
    assert [(c.camera, c.sequence) for c in ahead.done] == [('front', 0), ('front', 1)]
    assert [(c.camera, c.sequence) for c in behind.done] == [('rear', 0)]
    assert behind.texts == ['second 0']
    assert node.cameras[0].stream is not node.cameras[1].stream


def test_a_busy_model_serves_cameras_in_turn(pair, wait_for):
    node, views, ears = pair(FakeEngine(lambda number, frames: 'word ' * 5, pause=0.03))
    order = []
    for camera in node.cameras:
        said = camera.said
        camera.said = lambda p, c=camera, s=said: (order.append(c.label) if p.done else None, s(p))
    for second in range(5):
        for view in views:
            view.seconds(second, 1)
    wait_for(lambda: all(heard.done for heard in ears), 'both')
    wait_for(lambda: not any(c.channel.mailbox.waiting for c in node.cameras), 'the rest')
    wait_for(lambda: len(order) == sum(len(heard.done) for heard in ears), 'all that was said')
    assert abs(order.count('front') - order.count('rear')) <= 1


def test_services_and_status_belong_to_one_camera(pair, graph, wait_for):
    _node, (front, rear), (ahead, behind) = pair()
    operator = graph.add(rclpy.create_node('operator'))

    def call(kind, name, **fields):
        client = operator.create_client(kind, f'captioner/{name}')
        assert client.wait_for_service(10)
        future = client.call_async(kind.Request(**fields))
        wait_for(future.done, 'the answer')
        return future.result()

    assert call(SetBool, 'front/pause', data=True).success
    assert call(Trigger, 'rear/reset').success
    front.seconds(0, 1)
    rear.seconds(0, 1)
    wait_for(lambda: behind.done, 'a caption of rear')
    assert not ahead.done
    wait_for(lambda: ahead.statuses[-1].state == 'paused', 'the status of front')
    wait_for(lambda: behind.statuses[-1].resets == 1, 'the status of rear')
    assert ahead.statuses[-1].resets == 0
    assert (ahead.statuses[-1].camera, behind.statuses[-1].camera) == ('front', 'rear')


def test_diagnostics_tell_of_every_camera(pair, graph, wait_for):
    found = []
    graph.add(rclpy.create_node('monitor')).create_subscription(
        DiagnosticArray, '/diagnostics', found.append, 10
    )
    pair()
    wait_for(lambda: found, 'diagnostics')
    names = [entry.name for entry in found[-1].status]
    assert names == ['svlm captioner: front', 'svlm captioner: rear']


def test_one_camera_that_goes_leaves_the_other_alone(pair, wait_for):
    _node, (front, rear), (ahead, behind) = pair(max_frame_age=0.5)
    front.seconds(0, 1)
    wait_for(lambda: ahead.done, 'a caption of front')
    for second in range(3):
        rear.seconds(second, 1)
        wait_for(lambda n=second + 1: len(behind.done) >= n, 'captions of rear')
    assert len(ahead.done) <= 2  # the last frame may have stood in for one more second


def test_a_memory_that_only_fits_once_is_given_back_whole(start, graph):
    class Small(FakeEngine):
        def open(self, settings):
            if self.stream is not None:
                raise MemoryFull('no room for a second memory')
            return super().open(settings)

    node = Captioner(
        lambda node: Small(),
        parameter_overrides=[
            Parameter('cameras', value=['front', 'rear']),
            Parameter('autostart', value=False),
        ],
    )
    graph.add(node)
    node.start()
    node.trigger_configure()
    assert 'no room for a second memory' in node.cameras[0].activity.last_error
    assert [camera.stream for camera in node.cameras] == [None, None]
    assert node.engine is None


def test_cameras_and_nodes_of_one_process_share_the_weights(graph):
    def make(name, **values):
        given = {'model': str(CHECKPOINT), 'device': 'cpu', 'ask.enabled': False, **values}
        node = Captioner(
            namespace=name,
            parameter_overrides=[Parameter(n, value=v) for n, v in given.items()],
        )
        graph.add(node)
        node.start()
        return node

    first = make('/one', cameras=['front', 'rear'])
    second = make('/two')
    assert first.engine is second.engine
    streams = [camera.stream for node in (first, second) for camera in node.cameras]
    assert len({id(stream) for stream in streams}) == 3
    planes = {plane.data_ptr() for stream in streams for plane in stream.planes}
    assert len(planes) == sum(len(stream.planes) for stream in streams)
    third = make('/three', dtype='bfloat16')
    assert third.engine is not first.engine
