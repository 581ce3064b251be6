# SPDX-License-Identifier: Apache-2.0
"""The launch files: every argument described, and what is given reaches the nodes.

Stand-ins for ROS's launch record what is asked of it; test_launch_for_real.py has the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from launch_support import FOLDER, STOOD_IN, StandIn, load, of_kind
from svlm_core.config import PRESETS

CONFIG = FOLDER.with_name('config')
FILES = sorted(path.name.removesuffix('.launch.py') for path in FOLDER.iterdir())
SHARED = (
    'namespace params_file model device preset query camera cameras transport mailbox '
    'use_sim_time autostart log_level respawn image'
).split()
OWN = {
    'captioner': [],
    'demo': 'rate width height seed duration'.split(),
    'replay': 'bag topic rate loop quiet'.split(),
}


@pytest.fixture(autouse=True)
def _stood_in(monkeypatch):
    """Launch files find stand-ins for the packages they import."""
    for name in STOOD_IN:
        monkeypatch.setitem(sys.modules, name, StandIn(name))


@pytest.fixture
def captioner():
    return load('captioner')


def actions(name: str) -> list:
    return load(name).generate_launch_description().args[0]


def given(module, **values: str) -> dict[str, str]:
    """All arguments of captioner.launch.py, empty but for `values`."""
    return dict.fromkeys([*SHARED], '') | {'image': 'image'} | values


def node_of(module, **values: str):
    [node] = module.captioner(given(module, **values))
    return node


def test_there_is_a_test_for_every_file() -> None:
    assert set(OWN) == set(FILES)


@pytest.mark.parametrize('name', FILES)
def test_every_argument_is_described_and_has_a_default_where_there_is_one(name: str) -> None:
    declared = {
        each.args[0]: each.options for each in of_kind(actions(name), 'DeclareLaunchArgument')
    }
    included = SHARED if name == 'captioner' else OWN[name]
    assert set(included) <= set(declared) <= {*SHARED, *OWN[name]}
    for argument, options in declared.items():
        assert options['description'], argument
        assert 'default_value' in options or argument == 'bag'


@pytest.mark.parametrize('name', ['demo', 'replay'])
def test_the_arguments_of_the_captioner_are_there_by_inclusion(name: str) -> None:
    [include] = of_kind(actions(name), 'IncludeLaunchDescription')
    assert include.args[0].args == (str(FOLDER / 'captioner.launch.py'),)
    assert not include.options, 'what is declared before it is heard by it'


@pytest.mark.parametrize('name', FILES)
def test_every_program_that_is_launched_is_installed(name: str) -> None:
    module = load(name)
    nodes = of_kind(module.generate_launch_description().args[0], 'Node')
    if name == 'captioner':
        nodes = [node_of(module)]
    assert nodes
    for node in nodes:
        assert node.options['package'] == 'svlm'
        assert (FOLDER.with_name('scripts') / node.options['executable']).is_file()


def test_only_parameters_that_were_given_override_the_file(captioner) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from svlm_ros.parameters import table

    assert {*captioner.TEXTS, *captioner.SWITCHES} <= {row.name for row in table()} | {
        'use_sim_time'
    }
    node = node_of(captioner, query='What moves?', autostart='false')
    file, overrides = node.options['parameters']
    assert file.args == ('params_file',)
    assert set(overrides) == {'query', 'autostart'}
    assert overrides['query'].args[0].args == ('query',)
    assert overrides['query'].options == {'value_type': str}
    assert overrides['autostart'].options == {'value_type': bool}
    assert (node.options['package'], node.options['executable']) == ('svlm', 'captioner')


def test_a_preset_of_a_machine_is_a_file_that_others_win_over(captioner) -> None:
    node = node_of(captioner, preset='rtx4090', device='cpu')
    preset, file, overrides = node.options['parameters']
    assert Path(preset) == CONFIG / 'presets' / 'rtx4090.yaml'
    assert file.args == ('params_file',)
    assert set(overrides) == {'device'}, 'the node is not told of a preset it does not know'


def test_a_preset_of_a_stream_is_a_parameter(captioner) -> None:
    assert set(captioner.OF_STREAMS) == set(PRESETS)
    assert not set(captioner.OF_MACHINES) & set(PRESETS)
    _, overrides = node_of(captioner, preset='reference').options['parameters']
    assert set(overrides) == {'preset'}


def test_a_preset_that_does_not_exist_is_refused_with_those_that_do(captioner) -> None:
    with pytest.raises(ValueError, match=r"no preset 'h300': choose one of robot, .*h100, h200"):
        node_of(captioner, preset='h300')


def test_several_cameras_are_heard_below_their_names(captioner) -> None:
    node = node_of(captioner, cameras='front, arm/left', image='image_raw')
    assert node.options['remappings'] == [
        ('front/image', 'front/image_raw'),
        ('arm/left/image', 'arm/left/image_raw'),
    ]
    assert node.options['parameters'][-1] == {'cameras': ['front', 'arm/left']}
    assert node_of(captioner, image='/raw').options['remappings'] == [('image', '/raw')]


def test_large_images_get_shared_memory_unless_the_user_has_a_profile_of_his_own() -> None:
    settings = of_kind(actions('captioner'), 'SetEnvironmentVariable')
    values = {each.args[0]: each.args[1] for each in settings}
    assert set(values) == {'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'}
    for name, value in values.items():
        assert (type(value).__name__, value.args) == ('EnvironmentVariable', (name,))
        assert Path(value.options['default_value']) == CONFIG / 'fastdds_large_images.xml'
        assert Path(value.options['default_value']).is_file()


def test_what_is_launched_beside_the_captioner_has_the_profile_too() -> None:
    for name in ('demo', 'replay'):
        kinds = [type(action).__name__ for action in actions(name)]
        assert kinds.index('IncludeLaunchDescription') < kinds.index('Node')


@pytest.mark.parametrize(
    ('arguments', 'wanted'),
    [
        ({}, '--clock --rate 2 --delay 1.0 --disable-keyboard-controls --topics /eye'),
        (
            {'loop': 'true'},
            '--clock --rate 2 --delay 1.0 --disable-keyboard-controls --loop --topics /eye',
        ),
        (
            {'transport': 'compressed'},
            '--clock --rate 2 --delay 1.0 --disable-keyboard-controls --topics /eye/compressed',
        ),
    ],
)
def test_a_bag_is_played_with_its_clock_and_nothing_but_its_camera(arguments, wanted) -> None:
    context = {'bag': 'patrol', 'topic': '/eye', 'transport': '', 'rate': '2', 'loop': 'false'}
    [process] = load('replay').play(context | arguments)
    assert process.options['cmd'] == ['ros2', 'bag', 'play', 'patrol', *wanted.split()]


def test_a_bag_that_is_over_is_waited_for_and_one_that_cannot_be_played_is_an_error() -> None:
    replay = load('replay')
    running = SimpleNamespace(is_shutdown=False)
    event = SimpleNamespace(returncode=0, process_name='bag-4')
    [waiting] = replay.played(event, running)
    [values] = waiting.options['parameters']
    assert values['until'] == 'idle'
    assert of_kind(waiting.options['on_exit'](event, running), 'Shutdown')
    event.returncode = 2
    with pytest.raises(RuntimeError, match='bag-4 ended with status 2'):
        waiting.options['on_exit'](event, running)
    with pytest.raises(RuntimeError, match='bag-4 ended with status 2'):
        replay.played(event, running)
    assert replay.played(event, SimpleNamespace(is_shutdown=True)) is None
