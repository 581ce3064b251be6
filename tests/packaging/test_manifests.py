# SPDX-License-Identifier: Apache-2.0
"""package.xml, pyproject.toml, constraints.txt and CMakeLists.txt tell one story."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
PACKAGE = ElementTree.parse(ROOT / 'package.xml').getroot()
CMAKE = (ROOT / 'CMakeLists.txt').read_text()
SCRIPTS = sorted(path for path in (ROOT / 'scripts').iterdir() if path.is_file())
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT['dependencies'], *PROJECT['optional-dependencies'].values())
    for line in lines
]


def pins() -> list[tuple[str, str]]:
    """Name and version of each line of the constraints, as written."""
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    return [
        (name, version)
        for name, _, version in (
            line.partition('==') for line in lines if line and not line.startswith('#')
        )
    ]


def test_constraints_name_one_exact_version_each() -> None:
    names = [name for name, _ in pins()]
    assert names == [canonicalize_name(name) for name in names]
    assert len(names) == len(set(names))
    assert all(Version(version) for _, version in pins())


@pytest.mark.parametrize('requirement', REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_to_a_version_it_accepts(requirement: Requirement) -> None:
    version = dict(pins())[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_what_is_pinned_is_installed_here_in_that_version() -> None:
    pinned = dict(pins())
    wrong = {}
    for distribution in importlib.metadata.distributions(path=[path_of_packages()]):
        name = canonicalize_name(distribution.name)
        by_pip = (distribution.read_text('INSTALLER') or '').strip() == 'pip'
        if by_pip and name in pinned and name != 'setuptools':  # venv brings one of its own
            installed = Version(distribution.version).public
            if pinned[name] != installed:
                wrong[name] = (installed, pinned[name])
    assert not wrong, f'installed and pinned versions differ: {wrong}'


def path_of_packages() -> str:
    """The folder that packages of this environment are in."""
    return str(next(Path(sys.prefix).glob('lib/python*/site-packages')))


def test_pip_and_ros_know_the_same_version() -> None:
    assert importlib.metadata.version('svlm') == PACKAGE.findtext('version')


def test_the_manifest_names_what_cmake_finds() -> None:
    found = set(re.findall(r'^find_package\((\w+)', CMAKE, re.MULTILINE))
    tags = ('buildtool_depend', 'depend')
    assert found == {element.text for tag in tags for element in PACKAGE.iter(tag)}


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_take_the_active_python_and_are_installed(script: Path) -> None:
    assert script.read_text().startswith('#!/usr/bin/env python3\n')
    assert os.access(script, os.X_OK)
    assert f'scripts/{script.name}' in CMAKE
    installed = ROOT / 'install' / 'svlm' / 'lib' / 'svlm' / script.name
    assert os.access(installed, os.X_OK)


def test_a_wheel_holds_both_packages_and_every_asset(tmp_path: Path) -> None:
    tree = tmp_path / 'tree'
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('svlm_core', 'svlm_ros'):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in ('pyproject.toml', 'setup.py', 'package.xml', 'LICENSE', 'README.md'):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index']
    subprocess.run([*pip, '-w', tmp_path, tree], check=True, capture_output=True)
    [wheel] = tmp_path.glob('svlm-*.whl')
    names = {name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}
    files = (path for package in ('svlm_core', 'svlm_ros') for path in (tree / package).rglob('*'))
    assert names == {str(path.relative_to(tree)) for path in files if path.is_file()}
    assert any(name.startswith('svlm_core/assets/svlm-tiny/') for name in names)
