# SPDX-License-Identifier: Apache-2.0
"""Where ROS 2 or our messages are missing, whoever asks for the node is told so in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.base_prefix) / 'bin' / f'python3.{sys.version_info.minor}'  # finds no ROS 2


@pytest.fixture(params=['rclpy', 'svlm.msg'])
def lacking(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What is not there. Where that is the messages, a folder that bears their name is."""
    if request.param == 'svlm.msg':
        (tmp_path / 'rclpy.py').touch()
    (tmp_path / 'svlm' / 'msg').mkdir(parents=True)
    return request.param


def told(folder: Path, *command: object) -> tuple[int, str]:
    """Exit status of a Python that finds this repository and `folder`, and its standard error."""
    found = {'PATH': os.defpath, 'PYTHONPATH': f'{folder}:{ROOT}', 'PYTHONDONTWRITEBYTECODE': '1'}
    result = subprocess.run(
        [PYTHON, *map(str, command)], env=found, cwd=folder, capture_output=True, text=True
    )
    assert result.stdout == ''
    return result.returncode, result.stderr


@pytest.mark.parametrize('module', ['captioner', 'demo', 'synthetic_camera', 'viewer'])
def test_a_module_that_is_run_ends_in_one_line(module: str, lacking: str, tmp_path: Path) -> None:
    status, error = told(tmp_path, '-m', f'svlm_ros.{module}')
    assert (status, error.count('\n')) == (1, 1)
    assert error.startswith('svlm: svlm_ros needs ')
    assert f' {lacking}' in error
    assert 'make setup' in error


@pytest.mark.parametrize('script', ['captioner', 'caption_viewer', 'synthetic_camera'])
def test_an_installed_program_ends_in_one_line(script: str, lacking: str, tmp_path: Path) -> None:
    status, error = told(tmp_path, ROOT / 'install' / 'svlm' / 'lib' / 'svlm' / script)
    assert (status, error.count('\n')) == (1, 1)
    assert f' {lacking}' in error


def test_an_import_raises_what_the_importer_can_catch(lacking: str, tmp_path: Path) -> None:
    status, error = told(tmp_path, '-c', 'import svlm_ros.parameters')
    assert status == 1
    last = error.splitlines()[-1]
    assert last.startswith('ImportError: svlm_ros needs ')
    assert f' {lacking}' in last
