# SPDX-License-Identifier: Apache-2.0
"""The real processes: they end at once and cleanly whenever they are told to, with status 0."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.parameter import Parameter  # noqa: E402
from svlm.msg import Caption  # noqa: E402

from svlm_ros.synthetic_camera import SyntheticCamera  # noqa: E402

HERE = Path(__file__).parent
# ROS itself may have been found through the variable.
PATH = os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get('PYTHONPATH'))))
FAKE = str(HERE / 'fake_captioner.py')


class Process:
    """A child whose standard error can be waited on, line by line."""

    def __init__(self, *command: str, log: Path) -> None:
        self._log = log
        with log.open('wb') as sink:
            self._child = subprocess.Popen(
                [sys.executable, *command],
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': PATH, 'OMP_NUM_THREADS': '1'},
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding='utf-8')

    def ended(self) -> bool:
        return self._child.poll() is not None

    def send(self, *signals: int) -> None:
        for number in signals:
            self._child.send_signal(number)
            time.sleep(0.02)

    def status(self, patience: float = 15) -> int:
        return self._child.wait(patience)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()


@pytest.fixture
def launch(tmp_path):
    """Start a child process; none outlives its test."""
    children = []

    def start(*command: str) -> Process:
        children.append(Process(*command, log=tmp_path / f'{len(children)}.log'))
        return children[-1]

    yield start
    for child in children:
        child.kill()


@pytest.fixture
def captions(graph):
    """A camera on the graph, and the captions that come of it."""
    heard = []
    node = graph.add(rclpy.create_node('ears'))
    node.create_subscription(Caption, 'captioner/caption', heard.append, 50)
    source = SyntheticCamera(parameter_overrides=[Parameter('width', value=64)])
    source.start()
    graph.add(source)
    return heard


def clean(child: Process) -> bool:
    """Whether the log of a child holds no sign of an accident."""
    return not any(word in child.log for word in ('Traceback', 'Error', 'error', 'Exception'))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_the_process(launch, wait_for, number):
    child = launch(FAKE, '60', '0')
    wait_for(lambda: 'loading' in child.log, 'loading to begin')
    child.send(number)
    assert child.status() == 0
    assert clean(child)


def test_a_signal_before_the_first_frame_ends_the_process(launch, wait_for):
    child = launch(FAKE, '0', '0')
    wait_for(lambda: 'waiting for images' in child.log, 'the node')
    child.send(signal.SIGINT, signal.SIGINT)
    assert child.status() == 0
    assert clean(child)


@pytest.mark.parametrize('seed', range(3))
def test_signals_at_any_moment_of_inference_end_the_process(launch, wait_for, captions, seed):
    chance = random.Random(seed)
    child = launch(FAKE, '0', '0.03')
    wait_for(lambda: captions, 'a caption')
    time.sleep(chance.uniform(0, 0.7))  # anywhere in a second of stream
    child.send(*chance.choices([signal.SIGINT, signal.SIGTERM], k=1 + seed))
    assert child.status() == 0
    assert clean(child)


def test_a_node_killed_in_the_middle_of_a_reply_can_be_started_again(launch, wait_for, captions):
    first = launch(FAKE, '0', '0.2')
    wait_for(lambda: captions, 'a caption')
    first.kill()
    captions.clear()
    launch(FAKE, '0', '0')
    wait_for(lambda: any(caption.done for caption in captions), 'a caption from the second')


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['-p', 'max_new_tokens:=0'], 'max_new_tokens'),
        (['-p', 'fps:=fast'], "parameter fps='fast' must be a number"),
        (['--params-file', '/nowhere.yaml'], "Couldn't parse params file"),
        (['-p', 'qos_overrides./image.subscription.reliability:=certain'], 'qos_overrides'),
        (['-p', 'model:=/nowhere', '-p', 'device:=cpu'], '/nowhere'),
    ],
)
def test_what_the_user_got_wrong_ends_in_one_line_and_status_one(launch, arguments, reason):
    real = 'device:=cpu' in arguments
    command = ['-m', 'svlm_ros.captioner'] if real else [FAKE, '0', '0']
    child = launch(*command, '--ros-args', *arguments)
    assert child.status(60) == 1
    told = [line for line in child.log.splitlines() if '[FATAL]' in line]
    assert len(told) == 1
    assert reason in told[0]
    assert 'Traceback' not in child.log


def test_a_misspelt_parameter_is_not_passed_over_in_silence(launch, wait_for):
    child = launch(FAKE, '0', '0', '--ros-args', '-p', 'modle:=tiny')
    wait_for(lambda: 'no parameter is called modle' in child.log, 'a warning')


def test_the_camera_ends_by_itself_after_its_duration(launch):
    child = launch('-m', 'svlm_ros.synthetic_camera', '--ros-args', '-p', 'duration:=0.3')
    assert child.status() == 0
    assert clean(child)


@pytest.mark.parametrize('module', ['synthetic_camera', 'viewer'])
def test_the_other_nodes_end_cleanly_too(launch, wait_for, module, graph):
    name = {'synthetic_camera': 'synthetic_camera', 'viewer': 'caption_viewer'}[module]
    watcher = graph.add(rclpy.create_node('watcher'))
    child = launch('-m', f'svlm_ros.{module}')
    wait_for(lambda: name in watcher.get_node_names(), 'the node')
    child.send(signal.SIGINT)
    assert child.status() == 0
    assert clean(child)
