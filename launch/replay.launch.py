# SPDX-License-Identifier: Apache-2.0
"""Captions of a bag, as the live node writes them: `ros2 launch svlm replay.launch.py bag:=DIR`.

The bag begins when the model is loaded; when it is over and captioned, everything ends. Takes the
arguments of captioner.launch.py too. Without ROS: `svlm replay`.
"""

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CAPTIONER = str(Path(__file__).absolute().with_name('captioner.launch.py'))
DISCOVERY = '1.0'  # seconds in which the captioner finds the player; what it plays before is lost


def play(context: LaunchContext) -> list[Action]:
    """Play the camera alone: what else is in a bag may move a robot."""
    names = ('bag', 'topic', 'transport', 'rate', 'loop')
    bag, topic, transport, rate, loop = (
        LaunchConfiguration(name).perform(context) for name in names
    )
    suffix = '/compressed' if transport == 'compressed' else ''
    command = ['ros2', 'bag', 'play', bag, '--clock', '--rate', rate, '--delay', DISCOVERY]
    command += ['--disable-keyboard-controls', *(['--loop'] if loop == 'true' else [])]
    command += ['--topics', topic + suffix]
    return [ExecuteProcess(cmd=command, name='bag', output='screen', on_exit=played)]


def played(event: ProcessExited, context: LaunchContext) -> list[Action] | None:
    """When the bag is over, wait until its last seconds are captioned; then end everything."""
    if event.returncode:
        return ended(event, context)
    return [wait('idle', [Shutdown(reason='all of the bag is captioned')])]


def ended(event: ProcessExited, context: LaunchContext) -> None:
    """End everything with an error, where it is not ending already."""
    if not context.is_shutdown:
        raise RuntimeError(f'{event.process_name} ended with status {event.returncode}')


def wait(until: str, then: list[Action]) -> Node:
    """A process that ends when the captioner is ready for frames, or has no more to say."""

    def waited(event: ProcessExited, context: LaunchContext) -> list[Action] | None:
        return ended(event, context) if event.returncode else then

    quiet = ParameterValue(LaunchConfiguration('quiet'), value_type=float)
    return Node(
        package='svlm',
        executable='await_captioner',
        namespace=LaunchConfiguration('namespace'),
        parameters=[{'until': until, 'quiet': quiet}],
        output='screen',
        on_exit=waited,
    )


def is_captioner(action: Action) -> bool:
    """Whether a process is that of the captioner."""
    return isinstance(action, Node) and action.node_executable == 'captioner'


def generate_launch_description() -> LaunchDescription:
    """Arguments with their meaning; the captioner, its viewer, and the bag when both are ready."""
    declare = DeclareLaunchArgument
    usual, topic = '/camera/image_raw', LaunchConfiguration('topic')
    return LaunchDescription(
        [
            declare('bag', description='folder of the bag'),
            declare('topic', default_value=usual, description='camera topic; it alone is played'),
            declare('rate', default_value='1.0', description='speed; 2.0 is twice as fast'),
            declare('loop', default_value='false', description='true: play it again and again'),
            declare('quiet', default_value='5.0', description='seconds without captions: the end'),
            declare('image', default_value=topic, description='camera topic to caption'),
            declare('mailbox', default_value='lossless', description='or newest, as a live node'),
            declare(
                'cameras', default_value='', choices=[''], description='none: one is replayed'
            ),
            declare('use_sim_time', default_value='true', description='take time from the bag'),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(CAPTIONER)),
            Node(
                package='svlm',
                executable='caption_viewer',
                name='caption_viewer',
                namespace=LaunchConfiguration('namespace'),
                output='screen',
            ),
            RegisterEventHandler(OnProcessExit(target_action=is_captioner, on_exit=ended)),
            wait('ready', [OpaqueFunction(function=play)]),
        ]
    )
