# SPDX-License-Identifier: Apache-2.0
"""The captioner lives by the node's clock, which may be simulated, stand still and jump back."""

from __future__ import annotations

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rosgraph_msgs.msg import Clock  # noqa: E402

from robot_support import T0  # noqa: E402


@pytest.fixture
def set_clock(graph, wait_for):
    """Set the simulated time of a node, in seconds after T0, and wait until it knows."""
    publisher = graph.add(rclpy.create_node('bag')).create_publisher(Clock, '/clock', 5)

    def set_to(node, seconds):
        nanoseconds = round((T0 + seconds) * 1e9)
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(nanoseconds, 10**9)

        def arrived():
            publisher.publish(message)
            return node.get_clock().now().nanoseconds == nanoseconds

        wait_for(arrived, 'the time')

    return set_to


def test_latency_and_age_are_those_of_simulated_time(start, camera, set_clock, wait_for):
    node, ears = start(use_sim_time=True, publish_partial=False)
    source = camera(node)
    set_clock(node, 0.75)
    source.send(0)
    source.send(0.5)
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].latency == pytest.approx(0.25, abs=1e-5)
    set_clock(node, 3.75)
    wait_for(lambda: abs(ears.statuses[-1].frame_age - 3) < 1e-3, 'the status')
    set_clock(node, 0)
    wait_for(lambda: ears.statuses[-1].frame_age == 0, 'an age that is not negative')


def test_a_bag_that_begins_again_is_a_new_stream(start, camera, set_clock, wait_for):
    node, ears = start(use_sim_time=True)
    source = camera(node)
    for lap in range(2):
        for second in range(2):
            set_clock(node, second)
            source.seconds(second, 1)
            wait_for(lambda wanted=2 * lap + second: len(ears.done) > wanted, 'a caption')
    assert [caption.sequence for caption in ears.done] == [0, 1, 0, 1]
    assert [start for start, _ in node.cameras[0].stream.seen] == [0, 1, 0, 1]
    assert node.cameras[0].stream.resets == 1
    wait_for(lambda: ears.statuses[-1].resets == 1, 'the status')
    assert 'time jumped to' in ears.statuses[-1].last_error
    assert node.cameras[0].channel.mailbox.counts.stale == 0


def test_time_that_goes_back_less_than_a_second_is_disorder(start, camera, wait_for):
    node, ears = start()
    source = camera(node)
    source.seconds(0, 1)
    source.send(0.5)
    wait_for(lambda: 'is not after the one before' in ears.statuses[-1].last_error, 'the status')
    source.seconds(1, 1)
    wait_for(lambda: len(ears.done) == 2, 'a caption')
    assert node.cameras[0].stream.resets == 0
