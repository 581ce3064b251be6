# SPDX-License-Identifier: Apache-2.0
"""The engine runs where there is no ROS 2, and leans on nothing the project has ruled out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = sorted((ROOT / 'svlm_core').rglob('*.py'))
ROS = {'rclpy', 'svlm', 'svlm_ros', 'launch', 'launch_ros', 'cv_bridge', 'ament_index_python'}
MESSAGES = {'std_msgs', 'sensor_msgs', 'diagnostic_msgs', 'builtin_interfaces', 'std_srvs'}
RULED_OUT = {'torchvision', 'decord', 'pickle', 'cPickle', 'dill', 'joblib'}


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split('.')[0])
    return names


@pytest.mark.parametrize('path', ENGINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_engine_file_imports_nothing_it_must_not(path: Path) -> None:
    assert not imported(path) & (ROS | MESSAGES | RULED_OUT)


def test_an_import_inside_a_function_would_be_seen(tmp_path: Path) -> None:
    guilty = tmp_path / 'guilty.py'
    guilty.write_text('def f():\n    from rclpy.node import Node\n    import torchvision.io\n')
    assert imported(guilty) == {'rclpy', 'torchvision'}
