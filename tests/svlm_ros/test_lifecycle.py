# SPDX-License-Identifier: Apache-2.0
"""The captioner as a managed node: what each transition holds and frees, and how it fails."""

from __future__ import annotations

import gc
import weakref

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from svlm.msg import Status  # noqa: E402

from robot_support import Ears  # noqa: E402
from ros_support import FakeEngine  # noqa: E402
from svlm_core.errors import CheckpointError  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402


class Manager:
    """Drives a node through its lifecycle services alone, as nav2's manager does."""

    def __init__(self, graph, wait_for):
        self._node, self._wait = graph.add(rclpy.create_node('manager')), wait_for
        self._change = self._node.create_client(ChangeState, 'captioner/change_state')
        self._get = self._node.create_client(GetState, 'captioner/get_state')
        assert self._change.wait_for_service(10)
        assert self._get.wait_for_service(10)

    def _call(self, client, request):
        future = client.call_async(request)
        self._wait(future.done, 'the answer')
        return future.result()

    def change(self, number: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=number))
        return self._call(self._change, request).success

    @property
    def state(self) -> str:
        return self._call(self._get, GetState.Request()).current_state.label


@pytest.fixture
def managed(graph, wait_for):
    """A captioner that waits for its manager; returns it, the manager, and who hears it."""

    def make(load=lambda node: FakeEngine(), **values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        overrides.append(Parameter('autostart', value=False))
        node = Captioner(load, parameter_overrides=overrides)
        node.start()
        ears = Ears(graph)
        graph.add(node)
        return node, Manager(graph, wait_for), ears

    return make


def test_a_manager_leads_it_from_nothing_to_captions_and_back(managed, camera, wait_for):
    node, manager, ears = managed()
    assert manager.state == 'unconfigured'
    wait_for(lambda: ears.statuses, 'the status')
    assert (ears.statuses[-1].state, ears.statuses[-1].tokens_capacity) == (Status.INACTIVE, 0)
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state == 'inactive'
    wait_for(lambda: ears.statuses[-1].tokens_capacity == 1000, 'the memory')
    assert ears.statuses[-1].state == Status.INACTIVE
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    wait_for(lambda: node.count_subscribers('captioner/caption'), 'the ears')
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert node.cameras[0].stream.held == 0
    assert manager.change(Transition.TRANSITION_CLEANUP)
    wait_for(lambda: ears.statuses[-1].tokens_capacity == 0, 'the freed memory')
    assert manager.state == 'unconfigured'
    assert manager.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert manager.state == 'finalized'


def test_cleanup_lets_go_of_weights_and_memory_and_configure_brings_them_back(managed):
    node, manager, _ = managed()
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    engine, stream = weakref.ref(node.engine), weakref.ref(node.cameras[0].stream)
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert engine() is not None
    assert manager.change(Transition.TRANSITION_CLEANUP)
    gc.collect()
    assert (engine(), stream()) == (None, None)
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert node.cameras[0].stream is not None


def test_a_model_that_cannot_be_loaded_fails_configure_and_may_be_tried_again(managed, wait_for):
    found = []

    def load(node):
        if not found:
            raise CheckpointError('model: no such folder')
        return FakeEngine()

    _, manager, ears = managed(load)
    assert not manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state == 'unconfigured'
    wait_for(lambda: 'no such folder' in ears.statuses[-1].last_error, 'the reason')
    found.append('the model')
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state == 'inactive'


def test_a_broken_engine_is_an_error_that_frees_everything(managed, wait_for):
    def load(node):
        raise RuntimeError('driver too old')

    _, manager, ears = managed(load)
    assert not manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state == 'unconfigured'
    wait_for(lambda: 'driver too old' in ears.statuses[-1].last_error, 'the reason')


def test_bad_qos_overrides_fail_activate_and_leave_it_inactive(managed):
    topic = {'qos_overrides./image.subscription.reliability': 'certain'}
    _, manager, _ = managed(**topic)
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert not manager.change(Transition.TRANSITION_ACTIVATE)
    assert manager.state == 'inactive'


def test_shutdown_ends_a_node_in_the_middle_of_a_reply(managed, camera, wait_for):
    node, manager, _ = managed(
        lambda node: FakeEngine(lambda number, frames: 'word ' * 500, pause=0.02)
    )
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    camera(node).seconds(0, 1)
    wait_for(lambda: node.cameras[0].stream.words, 'the reply to begin')
    assert manager.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert manager.state == 'finalized'
    assert node.engine is None


def test_a_node_that_cannot_start_raises_what_went_wrong_whatever_it_is(graph):
    def broken(node):
        raise ImportError('no module named flash')

    node = graph.add(Captioner(broken))
    with pytest.raises(ImportError, match='no module named flash'):
        node.start()
