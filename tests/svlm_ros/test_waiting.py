# SPDX-License-Identifier: Apache-2.0
"""Who plays a bag waits until the captioner is ready for it, and afterwards until it is done."""

from __future__ import annotations

import time

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.parameter import Parameter  # noqa: E402
from svlm.msg import Status  # noqa: E402

from svlm_core.errors import SettingsError  # noqa: E402
from svlm_ros.outputs import LATCHED  # noqa: E402
from svlm_ros.waiting import AwaitCaptioner  # noqa: E402


@pytest.fixture
def tell(graph):
    """Publish a status as a captioner does."""
    node = graph.add(rclpy.create_node('captioner'))
    publisher = node.create_publisher(Status, 'captioner/status', LATCHED)
    return lambda **values: publisher.publish(Status(**values))


def waiting(graph, **values) -> AwaitCaptioner:
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = graph.add(AwaitCaptioner(parameter_overrides=overrides))
    node.start()
    return node


@pytest.mark.parametrize('state', [Status.WAITING, Status.RUNNING, Status.PAUSED])
def test_a_captioner_that_has_its_model_is_ready(graph, tell, wait_for, state) -> None:
    tell(state=Status.LOADING)
    node = waiting(graph)
    time.sleep(0.5)
    assert not node.finished.done()
    tell(state=state)
    wait_for(node.finished.done, 'the end')
    assert node.finished.result() == 0


def test_who_comes_late_still_hears_that_it_is_ready(graph, tell, wait_for) -> None:
    tell(state=Status.WAITING)
    node = waiting(graph)
    wait_for(node.finished.done, 'the end')


@pytest.mark.parametrize('sign', ['rounds', 'tokens_held'])
def test_a_captioner_that_still_speaks_is_not_idle(graph, tell, wait_for, sign) -> None:
    node = waiting(graph, until='idle', quiet=1.5)
    for number in range(1, 11):
        tell(state=Status.RUNNING, **{sign: number})
        time.sleep(0.25)
        assert not node.finished.done()
    for _ in range(10):
        tell(state=Status.RUNNING, **{sign: number})
        time.sleep(0.25)
    wait_for(node.finished.done, 'the end')
    assert node.finished.result() == 0


def test_a_captioner_that_has_gone_says_no_more(graph, wait_for) -> None:
    node = waiting(graph, until='idle', quiet=1.5)
    wait_for(node.finished.done, 'the end')


def test_what_cannot_be_waited_for_is_refused(graph) -> None:
    with pytest.raises(SettingsError, match='choose one of ready, idle'):
        AwaitCaptioner(parameter_overrides=[Parameter('until', value='tomorrow')])
