# SPDX-License-Identifier: Apache-2.0
"""Launch files for tests: loaded with stand-ins for ROS's launch, or launched for real."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[2] / 'launch'
PATIENCE = 120  # seconds; machines that test are often busy
STOOD_IN = (
    'launch launch.actions launch.event_handlers launch.events.process '
    'launch.launch_description_sources launch.substitutions launch_ros launch_ros.actions '
    'launch_ros.parameter_descriptions'
).split()


class Recorded:
    """Stands for any class of launch: remembers what it was made with."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args, self.options = args, options

    def perform(self, context: Mapping[str, str]) -> str:
        """Of a LaunchConfiguration, in a context that is a dictionary."""
        return context[self.args[0]]


class StandIn(ModuleType):
    """A module in which every name is a class of its own."""

    def __getattr__(self, name: str) -> type:
        if name.startswith('__'):
            raise AttributeError(name)
        made = type(name, (Recorded,), {})
        setattr(self, name, made)
        return made


def load(name: str) -> ModuleType:
    """The launch file of that name, as a module."""
    path = FOLDER / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(f'{name}_launch', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_kind(actions: Iterable[Any], kind: str) -> list[Any]:
    """Those actions that are of a class of that name."""
    return [action for action in actions if type(action).__name__ == kind]


def launch(
    name: str, given: Mapping[str, str], meanwhile: Callable[[], None] | None = None
) -> int:
    """Launch a file for real with arguments; the status that `ros2 launch` would end with.

    `meanwhile` runs in a thread, and when it returns all is ended; without it, the launch has to
    end by itself.
    """
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.events import Shutdown
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(FOLDER / f'{name}.launch.py'))
    include = IncludeLaunchDescription(source, launch_arguments=given.items())
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))
    ended = Event()

    def look() -> None:
        try:
            if meanwhile is None:
                assert ended.wait(PATIENCE), f'{name} has not ended within {PATIENCE} s'
            else:
                meanwhile()
        finally:
            service.emit_event(Shutdown(reason='all seen'))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        status: int = service.run()  # handles signals: the main thread must be its own
        ended.set()
        looking.result()
    return status


def stand_in_for_rosbag2(folder: Path) -> str:
    """A `ros2` in a folder that plays bags where ROS's own cannot; the PATH that finds it."""
    if importlib.util.find_spec('rosbag2_py') is None:
        player = Path(__file__).with_name('bag_player.py')
        script = folder / 'ros2'
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{player}" "$@"\n')
        script.chmod(0o755)
    return str(folder)


def marked(word: str) -> list[str]:
    """The command lines of running processes that carry `word` in their environment."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if word.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_text().replace('\0', ' '))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended while we looked, or is another user's
    return found
