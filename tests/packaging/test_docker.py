# SPDX-License-Identifier: Apache-2.0
"""The Dockerfiles name files that exist, take all that the package needs, and run as no root."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ['docker/Dockerfile', 'docker/Dockerfile.jetson']
PACKAGE = ElementTree.parse(ROOT / 'package.xml').getroot()
CMAKE = (ROOT / 'CMakeLists.txt').read_text()
# apt packages that bring what rosdep has no part in: the tools to build with, and rosdep itself.
BY_APT = {
    'build-essential',
    'python3-colcon-common-extensions',
    'python3-rosdep',
    'python3-venv',
    'ros-jazzy-ros-base',
}


def instructions(file: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, comments and line ends removed."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith('#')]
    whole = re.sub(r'\\\n\s*', ' ', '\n'.join(lines))
    pairs = (line.split(maxsplit=1) for line in whole.splitlines() if line.strip())
    return [(name, ' '.join(rest.split())) for name, rest in pairs]


def arguments(file: str, instruction: str) -> list[str]:
    """The arguments of every instruction of one kind."""
    return [rest for name, rest in instructions(file) if name == instruction]


def copied(file: str) -> list[str]:
    """What is copied from the repository."""
    return [source for rest in arguments(file, 'COPY') for source in rest.split()[:-1]]


@pytest.mark.parametrize('file', FILES)
def test_what_is_copied_exists(file: str) -> None:
    for source in copied(file):
        assert (ROOT / source).exists(), source


@pytest.mark.parametrize('file', FILES)
def test_all_that_is_built_and_installed_is_copied(file: str) -> None:
    sources = set(copied(file))
    interfaces = set(re.findall(r'^  (\w+)/\w+\.(?:msg|srv|action)$', CMAKE, re.MULTILINE))
    packages = set(re.findall(r'ament_python_install_package\((\w+)\)', CMAKE))
    installed = re.search(r'install\(DIRECTORY ([\w ]+) DESTINATION', CMAKE)
    assert installed
    assert interfaces | packages | {*installed[1].split(), 'scripts'} <= sources
    assert {'CMakeLists.txt', 'package.xml', 'pyproject.toml', 'setup.py', 'README.md'} <= sources


@pytest.mark.parametrize('file', FILES)
def test_ros_packages_are_those_of_the_manifest(file: str) -> None:
    runs = arguments(file, 'RUN')
    [rosdep] = [run for run in runs if 'rosdep install' in run]
    assert re.search(
        r'rosdep update --rosdistro jazzy && rosdep install .*--from-paths \.', rosdep
    )
    listed = [
        word
        for run in runs
        for command in re.findall(r'apt-get install ([^&]*)', run)
        for word in shlex.split(command)
        if not word.startswith('-')
    ]
    assert set(listed) <= BY_APT
    needed = {element.text for element in PACKAGE.iter('exec_depend')}
    assert {'rclpy', 'ros2launch', 'ros2bag', 'rosbag2_storage_mcap'} <= needed


@pytest.mark.parametrize('file', FILES)
def test_layers_keep_no_lists_of_apt_and_nothing_that_is_only_recommended(file: str) -> None:
    for run in arguments(file, 'RUN'):
        if 'apt-get update' in run:
            assert run.endswith('rm -rf /var/lib/apt/lists/*')
        for command in re.findall(r'apt-get install ([^&]*)', run):
            assert '--no-install-recommends' in command
        for command in re.findall(r'pip install ([^&;]*)', run):
            assert '--no-cache-dir' in command


@pytest.mark.parametrize('file', FILES)
def test_a_base_has_a_version(file: str) -> None:
    defaults = dict(rest.split('=', 1) for rest in arguments(file, 'ARG'))
    for base in arguments(file, 'FROM'):
        image = re.sub(r'\$\{(\w+)\}', lambda match: defaults[match[1]], base)
        assert re.fullmatch(r'[\w./-]+:(?!latest)[\w.-]+', image)


@pytest.mark.parametrize('file', FILES)
def test_it_runs_as_no_root_without_the_network_and_starts_the_captioner(file: str) -> None:
    assert arguments(file, 'USER') == ['1000']
    assert 'HF_HUB_OFFLINE=1' in arguments(file, 'ENV')
    [entry] = arguments(file, 'ENTRYPOINT')
    assert entry == '["/entrypoint.sh"]'
    assert 'docker/entrypoint.sh' in copied(file)
    assert os.access(ROOT / 'docker' / 'entrypoint.sh', os.X_OK)
    [command] = arguments(file, 'CMD')
    assert yaml.safe_load(command) == ['ros2', 'launch', 'svlm', 'captioner.launch.py']


def test_versions_are_the_tested_ones_where_torch_is_ours_to_choose() -> None:
    runs = arguments('docker/Dockerfile', 'RUN')
    commands = [c for run in runs for c in re.findall(r'pip install ([^&;]*)', run)]
    assert commands
    assert all('--constraint constraints.txt' in command for command in commands)
    assert 'constraints.txt' in copied('docker/Dockerfile')


def test_both_differ_only_in_what_a_jetson_needs() -> None:
    tails = []
    for file in FILES:
        text = (ROOT / file).read_text()
        tail = text[text.index('# The package, built by') :]
        tails.append(re.sub(r'RUN id 1000 .*\n', '', tail))
    assert tails[0] == tails[1]


def test_compose_gives_the_captioner_what_it_needs_and_no_more() -> None:
    path = ROOT / 'docker' / 'compose.yaml'
    [service] = yaml.safe_load(path.read_text())['services'].values()
    assert (path.parent / service['build']['context']).resolve() == ROOT
    assert service['build']['dockerfile'] in FILES
    assert (service['network_mode'], service['ipc']) == ('host', 'host')
    assert service['read_only'] is True
    assert service['cap_drop'] == ['ALL']
    assert '/model:ro' in service['volumes'][0]
    launch = (ROOT / 'launch' / 'captioner.launch.py').read_text()
    for argument in re.findall(r'(\w+):=', service['command']):
        assert f"declare('{argument}'" in launch
