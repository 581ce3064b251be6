# SPDX-License-Identifier: Apache-2.0
"""What continuous integration runs exists: targets, files, launch files and their arguments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import preflight

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / '.github' / 'workflows' / 'test.yml').read_text())
JOBS = WORKFLOW['jobs']


def commands(job: str) -> str:
    """All that a job runs."""
    return '\n'.join(step['run'] for step in JOBS[job]['steps'] if 'run' in step)


def test_the_tests_run_on_every_python_that_setup_takes() -> None:
    versions = [
        tuple(map(int, v.split('.'))) for v in JOBS['test']['strategy']['matrix']['python']
    ]
    assert versions == [
        (3, minor) for minor in range(preflight.OLDEST[1], preflight.NEWEST[1] + 1)
    ]
    assert 'make test' in commands('test')


def test_a_robot_with_ros_from_apt_builds_tests_and_launches() -> None:
    assert JOBS['ros']['container'] == 'ros:jazzy'
    wanted = ['rosdep install', 'colcon build', 'colcon test', '--show-args', 'demo.launch.py']
    text = commands('ros')
    assert [word for word in wanted if word not in text] == []
    assert text.index('colcon build') < text.index('colcon test') < text.index('--show-args')


def test_the_image_is_built_and_needs_no_network() -> None:
    text = commands('docker')
    [file] = re.findall(r'docker build -f (\S+)', text)
    assert (ROOT / file).is_file()
    assert '--network none' in text


@pytest.mark.parametrize('job', JOBS)
def test_what_a_job_calls_exists(job: str) -> None:
    text = commands(job)
    targets = set(
        re.findall(r'^\.PHONY: (.*)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[0].split()
    )
    assert set(re.findall(r'\bmake (\w+)', text)) <= targets
    declared = ''.join(path.read_text() for path in (ROOT / 'launch').iterdir())
    for call in re.findall(r'ros2 launch svlm (.*)', text):
        name, *arguments = call.split('|')[0].split()
        stem = name.removesuffix('.launch.py')
        assert stem == '$file' or (ROOT / 'launch' / name).is_file()
        for argument in arguments:
            assert argument == '--show-args' or f"'{argument.split(':=')[0]}'" in declared
    assert JOBS[job]['timeout-minutes'] <= 120
