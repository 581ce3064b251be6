# SPDX-License-Identifier: Apache-2.0
"""The launch files, launched: real processes, real topics, and nothing left over.

These need launch_ros, which comes with an installed ROS 2 and not with the wheels.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')
pytest.importorskip('launch_ros', reason='needs launch_ros, which only comes with ROS 2')

from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.parameter_client import AsyncParameterClient  # noqa: E402
from svlm.msg import Caption  # noqa: E402

from asking import answer  # noqa: E402
from launch_support import launch, marked, stand_in_for_rosbag2  # noqa: E402
from robot_support import Ears  # noqa: E402
from svlm_core.bags.demo import DemoBag, record_demo_bag  # noqa: E402
from svlm_ros.synthetic_camera import SyntheticCamera  # noqa: E402

PATIENCE = 60  # seconds for a process to load the model
LIGHT = {'preset': 'cpu_tiny'}


@pytest.fixture(autouse=True)
def _nothing_is_left_over(monkeypatch):
    """Every process that a launch starts has ended when its test has."""
    word = f'launch-test-{uuid.uuid4().hex}'
    monkeypatch.setenv('SVLM_TEST_MARK', word)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    before = dict(os.environ)  # a launch file sets variables of the process that it runs in
    yield
    os.environ.clear()
    os.environ.update(before)
    assert not marked(word)


@pytest.fixture
def show(graph):
    """Start a synthetic camera on a topic."""

    def make(topic: str, name: str = 'synthetic_camera') -> None:
        ros = ['--ros-args', '-r', f'image:={topic}', '-r', f'__node:={name}']
        graph.add(SyntheticCamera(cli_args=ros)).start()

    return make


@pytest.fixture
def parameters_of(graph, wait_for):
    """Ask a node for the values of some of its parameters."""
    asker = graph.add(rclpy.create_node('asker'))

    def ask(node: str, *names: str) -> list:
        client = AsyncParameterClient(asker, node)
        found = answer(
            wait_for, client.services_are_ready, lambda: client.get_parameters(list(names))
        )
        return [rclpy.parameter.parameter_value_to_python(each) for each in found.values]

    return ask


@pytest.fixture
def bag(tmp_path: Path, monkeypatch) -> Path:
    """Four seconds of the synthetic camera; `ros2 bag play` plays it."""
    player = tmp_path / 'bin'
    player.mkdir()
    path = stand_in_for_rosbag2(player)
    monkeypatch.setenv('PATH', path + os.pathsep + os.environ['PATH'])
    return record_demo_bag(tmp_path / 'bag', DemoBag(seconds=4, width=56, height=56))


def test_the_node_captions_the_topic_it_was_given(graph, wait_for, show, parameters_of) -> None:
    ears = Ears(graph, '/front')
    show('/cam/raw')
    found: list = []

    def meanwhile() -> None:
        found.extend(parameters_of('/front/captioner', 'query', 'preset', 'device', 'autostart'))
        wait_for(lambda: ears.done, 'a caption', PATIENCE)

    given = {'namespace': 'front', 'query': 'yes', 'image': '/cam/raw', 'device': 'cpu'}
    assert launch('captioner', given, meanwhile) == 0
    assert found == ['yes', 'robot', 'cpu', True]
    assert ears.done[0].camera == '/cam/raw'


def test_arguments_win_over_the_file_and_the_file_over_the_preset(
    tmp_path: Path, parameters_of
) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text("/**: {ros__parameters: {max_new_tokens: 7, query: 'no', device: cuda}}\n")
    names = ['max_vision_tokens', 'max_new_tokens', 'query', 'device', 'shed']
    found: list = []

    def meanwhile() -> None:
        found.extend(parameters_of('/captioner', *names))

    given = {**LIGHT, 'params_file': str(file), 'device': 'cpu'}
    assert launch('captioner', given, meanwhile) == 0
    assert found == [64, 7, 'no', 'cpu', 'tokens']


def test_several_cameras_each_have_captions_of_their_own(graph, wait_for, show) -> None:
    heard: dict[str, str] = {}
    node = graph.add(rclpy.create_node('ears'))
    for name in ('front', 'rear'):
        show(f'/{name}/image_raw', f'{name}_camera')
        node.create_subscription(
            Caption,
            f'/captioner/{name}/caption',
            lambda caption, name=name: heard.setdefault(name, caption.camera),
            10,
        )

    def meanwhile() -> None:
        wait_for(lambda: len(heard) == 2, 'captions of both', PATIENCE)

    given = {**LIGHT, 'cameras': 'front,rear', 'image': 'image_raw'}
    assert launch('captioner', given, meanwhile) == 0
    assert heard == {'front': 'front', 'rear': 'rear'}


def test_without_autostart_the_node_waits_for_its_manager(graph, wait_for) -> None:
    node = graph.add(rclpy.create_node('manager'))
    state = node.create_client(GetState, '/captioner/get_state')
    found: list[str] = []

    def meanwhile() -> None:
        request = GetState.Request()
        response = answer(wait_for, state.service_is_ready, lambda: state.call_async(request))
        found.append(response.current_state.label)

    assert launch('captioner', {'autostart': 'false'}, meanwhile) == 0
    assert found == ['unconfigured']


def test_a_preset_that_does_not_exist_starts_nothing(caplog) -> None:
    assert launch('captioner', {'preset': 'h300'}) == 1
    assert "no preset 'h300'" in caplog.text


def test_the_demo_has_a_camera_a_captioner_and_a_viewer(graph, wait_for) -> None:
    ears = Ears(graph)

    def meanwhile() -> None:
        wait_for(lambda: ears.done, 'a caption', PATIENCE)
        wait_for(lambda: ears.node.count_subscribers('/captioner/caption') == 2, 'the viewer')

    assert launch('demo', {**LIGHT, 'seed': '3', 'rate': '4'}, meanwhile) == 0
    assert ears.done[0].camera == '/camera/image_raw'


def test_the_demo_ends_with_its_camera() -> None:
    assert launch('demo', {**LIGHT, 'duration': '1.0'}) == 0


def test_a_bag_is_captioned_from_its_first_second_to_its_last(graph, bag: Path) -> None:
    ears = Ears(graph)
    given = {**LIGHT, 'bag': str(bag), 'rate': '2', 'quiet': '2'}
    assert launch('replay', given) == 0
    assert [caption.sequence for caption in ears.done] == [0, 1, 2, 3]
    assert [caption.window_start.sec - 1_700_000_000 for caption in ears.done] == [0, 1, 2, 3]
    assert all(caption.frames_used == 2 and not caption.frames_repeated for caption in ears.done)


def test_a_bag_that_is_not_there_ends_the_launch_with_an_error(bag: Path, caplog) -> None:
    assert launch('replay', {**LIGHT, 'bag': str(bag / 'nowhere')}) == 1
    assert re.search(r'bag-\d+ ended with status', caplog.text)


def test_a_captioner_that_cannot_start_ends_the_replay_with_an_error(bag: Path, caplog) -> None:
    assert launch('replay', {'bag': str(bag), 'model': str(bag / 'no_model')}) == 1
    assert re.search(r'captioner-\d+ ended with status 1', caplog.text)


@pytest.mark.parametrize('name', ['captioner', 'demo', 'replay'])
def test_show_args_names_every_argument_once(name: str) -> None:
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch_support import FOLDER

    source = PythonLaunchDescriptionSource(str(FOLDER / f'{name}.launch.py'))
    description = source.try_get_launch_description_without_context()
    found = [each.name for each in description.get_launch_arguments()]
    assert len(found) == len(set(found))
    assert {'image', 'model', 'preset', 'params_file', 'namespace', 'log_level'} <= set(found)
