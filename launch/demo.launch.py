# SPDX-License-Identifier: Apache-2.0
"""A synthetic camera, the captioner and a viewer that prints: `ros2 launch svlm demo.launch.py`.

Takes the arguments of captioner.launch.py too. Ends with its camera, after `duration` seconds.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CAPTIONER = str(Path(__file__).absolute().with_name('captioner.launch.py'))
OF_CAMERA = {'rate': float, 'width': int, 'height': int, 'seed': int, 'duration': float}


def generate_launch_description() -> LaunchDescription:
    """Arguments with their meaning, then three nodes."""
    declare, value = DeclareLaunchArgument, LaunchConfiguration
    camera = {
        name: ParameterValue(value(name), value_type=kind) for name, kind in OF_CAMERA.items()
    }
    return LaunchDescription(
        [
            declare('rate', default_value='10.0', description='frames per second of the camera'),
            declare('width', default_value='224', description='pixels of a frame'),
            declare('height', default_value='224', description='pixels of a frame'),
            declare('seed', default_value='0', description='which synthetic world is shown'),
            declare('duration', default_value='0.0', description='seconds of camera; 0: no end'),
            declare('image', default_value='camera/image_raw', description='topic of the camera'),
            declare('cameras', default_value='', choices=[''], description='none: there is one'),
            # The captioner first: its launch file sets the profile of Fast DDS for all.
            IncludeLaunchDescription(PythonLaunchDescriptionSource(CAPTIONER)),
            Node(
                package='svlm',
                executable='synthetic_camera',
                name='synthetic_camera',
                namespace=value('namespace'),
                # The world waits for the captioner: what is told first is asked for later.
                parameters=[camera, {'listeners': 1}],
                remappings=[('image', value('image'))],
                output='screen',
                on_exit=[Shutdown(reason='the camera has ended')],
            ),
            Node(
                package='svlm',
                executable='caption_viewer',
                name='caption_viewer',
                namespace=value('namespace'),
                output='screen',
            ),
        ]
    )
