# SPDX-License-Identifier: Apache-2.0
"""Real ROS 2 for tests, kept to this machine and to this session."""

from __future__ import annotations

import os
import random
import time
from itertools import cycle
from threading import Thread

import pytest

DOMAINS = cycle(random.SystemRandom().sample(range(1, 101), 100))
os.environ['ROS_DOMAIN_ID'] = str(next(DOMAINS))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(autouse=True)
def domain(monkeypatch):
    """A domain for each test: nodes of those before may live on in a graph for a while."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))


class Graph:
    """Nodes that spin in one background thread until the test ends."""

    def __init__(self) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.task import Future

        self._executor = SingleThreadedExecutor()
        self._done = Future()
        self._nodes: list = []
        self._thread = Thread(
            target=self._executor.spin_until_future_complete, args=(self._done,), name='graph'
        )
        self._thread.start()

    def add(self, node):
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def close(self) -> None:
        self._done.set_result(None)
        self._thread.join(10)
        self._executor.shutdown()
        for node in self._nodes:
            getattr(node, 'close', node.destroy_node)()


@pytest.fixture
def graph():
    """A running ROS graph; `graph.add(node)` lets a node spin."""
    import rclpy

    rclpy.init()
    made = Graph()
    yield made
    made.close()
    rclpy.shutdown()


@pytest.fixture(scope='session')
def wait_for():
    """Wait until a condition holds; the test fails if it does not in `patience` seconds."""

    def wait(condition, what: str = 'the condition', patience: float = 15) -> None:
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f'{what}: not within {patience} s'
            time.sleep(0.01)

    return wait


@pytest.fixture
def start(graph, wait_for):
    """Start a captioner with a fake engine; returns it and who hears its only camera."""
    from rclpy.parameter import Parameter

    from robot_support import Ears
    from ros_support import FakeEngine
    from svlm_ros.captioner import Captioner

    def make(engine=None, namespace='', **values):
        ears = Ears(graph, namespace)
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = Captioner(
            lambda node: engine or FakeEngine(),
            namespace=namespace,
            parameter_overrides=overrides,
        )
        node.start()
        graph.add(node)
        if not node.settings.cameras:
            wait_for(lambda: ears.node.count_publishers('captioner/caption'), 'the captioner')
            wait_for(lambda: node.count_subscribers(f'{namespace}/captioner/text'), 'the ears')
        return node, ears

    return make


@pytest.fixture
def camera(graph, wait_for):
    """Connect a camera to a captioner."""
    from robot_support import Camera

    return lambda node, **options: Camera(graph, node, wait_for, **options)
