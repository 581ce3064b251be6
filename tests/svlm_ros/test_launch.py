# SPDX-License-Identifier: Apache-2.0
"""The launch file: every argument described, and what is given reaches the node.

With launch_ros the file is launched for real; without it, stand-ins record what it asks for.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

PROFILES = Path(__file__).parents[2] / 'config' / 'fastdds_large_images.xml'
LAUNCH_FILE = Path(__file__).parents[2] / 'launch' / 'captioner.launch.py'


class Recorded:
    """Stands for any class of launch: remembers what it was made with."""

    def __init__(self, *args, **options):
        self.args, self.options = args, options

    def perform(self, context):
        return context[self.args[0]]


NAMES = {
    'launch': ['LaunchContext', 'LaunchDescription'],
    'launch.actions': ['DeclareLaunchArgument', 'OpaqueFunction', 'SetEnvironmentVariable'],
    'launch.substitutions': ['EnvironmentVariable', 'LaunchConfiguration', 'PathJoinSubstitution'],
    'launch_ros': [],
    'launch_ros.actions': ['Node'],
    'launch_ros.parameter_descriptions': ['ParameterValue'],
    'launch_ros.substitutions': ['FindPackageShare'],
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('captioner_launch', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stood_in(monkeypatch):
    """The launch file, loaded with stand-ins for the packages it imports."""
    for name, classes in NAMES.items():
        module = ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    return load(LAUNCH_FILE)


def declared(module: ModuleType) -> dict[str, dict]:
    actions = module.generate_launch_description().args[0]
    return {a.args[0]: a.options for a in actions if type(a).__name__ == 'DeclareLaunchArgument'}


def test_every_argument_has_a_default_and_a_description(stood_in):
    arguments = declared(stood_in)
    wanted = 'image namespace params_file model preset query device use_sim_time autostart'
    assert {*wanted.split(), 'log_level', 'respawn'} <= set(arguments)
    for name, options in arguments.items():
        assert options['description'], name
        assert 'default_value' in options, name


def test_only_parameters_that_were_given_override_the_file(stood_in):
    from svlm_ros.parameters import table

    assert set(stood_in.PARAMETERS) <= {row.name for row in table()}
    context = dict.fromkeys(stood_in.PARAMETERS, '') | {'query': 'What moves?'}
    [node] = stood_in.captioner(context)
    file, overrides = node.options['parameters']
    assert file.args == ('params_file',)
    assert set(overrides) == {'use_sim_time', 'autostart', 'query'}
    assert overrides['query'].args == ('What moves?',)
    assert overrides['query'].options == {'value_type': str}
    assert (node.options['package'], node.options['executable']) == ('svlm', 'captioner')


def test_large_images_get_shared_memory_unless_the_user_has_a_profile_of_his_own(stood_in):
    actions = stood_in.generate_launch_description().args[0]
    given = {a.args[0]: a.args[1] for a in actions if type(a).__name__ == 'SetEnvironmentVariable'}
    assert set(given) == {'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'}
    for name, value in given.items():
        assert (type(value).__name__, value.args) == ('EnvironmentVariable', (name,))
        assert value.options['default_value'].args[0][1:] == ['config', PROFILES.name]
    assert PROFILES.is_file()


def test_launched_for_real_the_node_captions_the_topic_it_was_given(graph, wait_for):
    pytest.importorskip('launch_ros', reason='needs launch_ros, which only comes with ROS 2')
    import rclpy
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.events import Shutdown
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from rclpy.parameter_client import AsyncParameterClient
    from svlm.msg import Caption

    from svlm_ros.synthetic_camera import SyntheticCamera

    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    given = {'namespace': 'front', 'query': 'yes', 'image': '/cam/raw', 'device': 'cpu'}
    include = IncludeLaunchDescription(source, launch_arguments=given.items())
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))
    found: list[str] = []
    captions: list[Caption] = []
    asker = graph.add(rclpy.create_node('asker'))
    asker.create_subscription(Caption, '/front/captioner/caption', captions.append, 10)
    client = AsyncParameterClient(asker, '/front/captioner')
    camera = SyntheticCamera(cli_args=['--ros-args', '-r', 'image:=/cam/raw'])
    camera.start()
    graph.add(camera)

    def ask() -> None:
        wait_for(client.services_are_ready, 'the node', patience=60)
        answer = client.get_parameters(['query', 'preset', 'device'])
        wait_for(answer.done, 'the answer')
        found.extend(value.string_value for value in answer.result().values)
        wait_for(lambda: any(caption.done for caption in captions), 'a caption', patience=60)
        service.emit_event(Shutdown(reason='all seen'))

    asking = Thread(target=ask)
    asking.start()
    status = service.run()
    asking.join()
    assert status == 0
    assert found == ['yes', 'robot', 'cpu']
    assert captions[-1].camera == '/cam/raw'
