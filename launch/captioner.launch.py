# SPDX-License-Identifier: Apache-2.0
"""Captions of one camera topic: `ros2 launch svlm captioner.launch.py image:=/camera/image_raw`.

An argument that is given wins over the same parameter in params_file; one left empty changes
nothing.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PARAMETERS = ('model', 'device', 'preset', 'query', 'camera', 'transport')
CONFIG = PathJoinSubstitution([FindPackageShare('svlm'), 'config', 'captioner.yaml'])
PROFILES = PathJoinSubstitution([FindPackageShare('svlm'), 'config', 'fastdds_large_images.xml'])
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')  # Fast DDS 2, 3


def captioner(context: LaunchContext) -> list[Node]:
    """The node, with those parameters that were given as arguments."""
    values = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    given = {name: ParameterValue(text, value_type=str) for name, text in values.items() if text}
    switches = {
        name: ParameterValue(LaunchConfiguration(name), value_type=bool)
        for name in ('use_sim_time', 'autostart')
    }
    return [
        Node(
            package='svlm',
            executable='captioner',
            name='captioner',
            namespace=LaunchConfiguration('namespace'),
            parameters=[LaunchConfiguration('params_file'), {**switches, **given}],
            remappings=[('image', LaunchConfiguration('image'))],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            respawn=LaunchConfiguration('respawn'),
            respawn_delay=2.0,
            output='screen',
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments with their meaning, then the node."""
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare('image', default_value='image', description='camera topic to caption'),
            declare('namespace', default_value='', description='namespace of node and topics'),
            declare('params_file', default_value=CONFIG, description='YAML file of parameters'),
            declare('model', default_value='', description='checkpoint folder or hub name'),
            declare('device', default_value='', description='auto, cpu, cuda, cuda:1, ...'),
            declare('preset', default_value='', description='robot or reference'),
            declare('query', default_value='', description='what the model is asked to do'),
            declare('camera', default_value='', description='name of the camera in captions'),
            declare('transport', default_value='', description='raw or compressed'),
            declare('use_sim_time', default_value='false', description='take time from /clock'),
            declare('autostart', default_value='true', description='false: leave it to a manager'),
            declare('log_level', default_value='info', description='debug, info, warn, error'),
            declare('respawn', default_value='false', description='start again after a crash'),
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=PROFILES))
                for name in VARIABLES
            ),
            OpaqueFunction(function=captioner),
        ]
    )
