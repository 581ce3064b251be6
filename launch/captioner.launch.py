# SPDX-License-Identifier: Apache-2.0
"""Captions of a camera topic: `ros2 launch svlm captioner.launch.py image:=/camera/image_raw`.

What is given as an argument wins over params_file, and that over a preset of config/presets. An
argument left empty changes nothing.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).absolute().parents[1] / 'config'
DEFAULTS = str(CONFIG / 'captioner.yaml')
PROFILES = str(CONFIG / 'fastdds_large_images.xml')
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')  # Fast DDS 2, 3
OF_STREAMS = ('robot', 'reference')  # presets that the node itself knows
OF_MACHINES = {path.stem: str(path) for path in sorted(CONFIG.glob('presets/*.yaml'))}
PRESETS = ', '.join([*OF_STREAMS, *OF_MACHINES])
TEXTS = ('model', 'device', 'preset', 'query', 'camera', 'transport', 'mailbox')
SWITCHES = ('use_sim_time', 'autostart')


def captioner(context: LaunchContext) -> list[Node]:
    """The node, with its files of parameters and those that were given as arguments."""
    names = (*TEXTS, *SWITCHES, 'cameras', 'image')
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    image = given.pop('image')
    cameras = [name.strip() for name in given.pop('cameras').split(',') if name.strip()]
    preset = preset_file(given)
    values = {
        name: ParameterValue(
            LaunchConfiguration(name), value_type=bool if name in SWITCHES else str
        )
        for name, text in given.items()
        if text
    }
    return [
        Node(
            package='svlm',
            executable='captioner',
            name='captioner',
            namespace=LaunchConfiguration('namespace'),
            parameters=[
                *preset,
                LaunchConfiguration('params_file'),
                {**values, **({'cameras': cameras} if cameras else {})},
            ],
            remappings=[(f'{name}/image', f'{name}/{image}') for name in cameras]
            or [('image', image)],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            respawn=LaunchConfiguration('respawn'),
            respawn_delay=2.0,
            output='screen',
        )
    ]


def preset_file(given: dict[str, str]) -> list[str]:
    """The file of a preset for a machine, which the node need not hear of; none for others."""
    if given['preset'] in OF_MACHINES:
        return [OF_MACHINES[given.pop('preset')]]
    if given['preset'] not in ('', *OF_STREAMS):
        raise ValueError(f'there is no preset {given["preset"]!r}: choose one of {PRESETS}')
    return []


def generate_launch_description() -> LaunchDescription:
    """Arguments with their meaning, then the node."""
    declare = DeclareLaunchArgument
    several = 'several cameras, as front,rear: each on NAME/image, with a stream of its own'
    return LaunchDescription(
        [
            declare('image', default_value='image', description='camera topic to caption'),
            declare('namespace', default_value='', description='namespace of node and topics'),
            declare('params_file', default_value=DEFAULTS, description='YAML file of parameters'),
            declare('model', default_value='', description='checkpoint folder or hub name'),
            declare('device', default_value='', description='auto, cpu, cuda, cuda:1, ...'),
            declare('preset', default_value='', description=f'one of {PRESETS}'),
            declare('query', default_value='', description='what the model is asked to do'),
            declare('camera', default_value='', description='name of the camera in captions'),
            declare('cameras', default_value='', description=several),
            declare('transport', default_value='', description='raw or compressed'),
            declare('mailbox', default_value='', description='newest, or lossless for bags'),
            declare('use_sim_time', default_value='', description='true: take time from /clock'),
            declare('autostart', default_value='', description='false: leave it to a manager'),
            declare('log_level', default_value='info', description='debug, info, warn, error'),
            declare('respawn', default_value='false', description='start again after a crash'),
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=PROFILES))
                for name in VARIABLES
            ),
            OpaqueFunction(function=captioner),
        ]
    )
