# SPDX-License-Identifier: Apache-2.0
"""Set-up does what is due, no more; and what it cannot do it says in one line."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

import environment
import preflight
import setup_env
import steps
from preflight import SetupError

ROOT = Path(__file__).parents[2]
BASE_PYTHON = Path(sys.base_prefix) / 'bin' / f'python3.{sys.version_info.minor}'
Disk = namedtuple('Disk', 'total used free')


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that set-up reads, with nothing set up."""
    root = tmp_path / 'tree'
    for folder in ('tools', 'msg', 'launch', 'scripts'):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns('*.pyc'))
    for name in ('constraints.txt', 'pyproject.toml', 'setup.py', 'package.xml', 'Makefile'):
        shutil.copy(ROOT / name, root)
    shutil.copy(ROOT / 'CMakeLists.txt', root)
    return root


def message(check: Callable[..., object], *arguments: object) -> str:
    """What a check that must fail says, which must be one line that says what to do."""
    with pytest.raises(SetupError) as caught:
        check(*arguments)
    text = str(caught.value)
    assert '\n' not in text
    assert ': ' in text
    return text


# What the machine lacks


def test_python_of_another_version_is_refused() -> None:
    assert 'PYTHON=python3.13' in message(preflight.check_python, (3, 10))
    assert '3.14' in message(preflight.check_python, (3, 14))
    for version in ((3, 11), (3, 12), (3, 13)):
        preflight.check_python(version)


def test_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path / name))
    text = message(preflight.check_headers)
    assert str(tmp_path / 'include' / 'Python.h') in text
    assert '-dev`' in text


@pytest.mark.parametrize('module', ['venv', 'ensurepip'])
def test_missing_venv_module_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == module else real(name)
    )
    text = message(preflight.check_venv_module)
    assert module in text
    assert '-venv`' in text


def test_small_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Disk(9e9, 8e9, 1.25e9))
    text = message(preflight.check_disk, tmp_path)
    assert '1.2 GB free' in text
    assert str(tmp_path) in text


def test_machine_without_wheels_is_sent_to_installed_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('platform.machine', lambda: 'aarch64')
    assert 'install ROS 2' in message(preflight.check_machine)


@pytest.mark.parametrize('present', [[], ['make'], ['make', 'gcc']])
def test_missing_compiler_is_named(present: list[str], tmp_path: Path) -> None:
    for name in present:
        (tmp_path / name).touch(mode=0o755)
    text = message(preflight.check_compiler, {'PATH': str(tmp_path)})
    assert ('make', 'gcc', 'g++')[len(present)] in text
    (tmp_path / 'make').touch(mode=0o755)
    (tmp_path / 'mycc').touch(mode=0o755)
    preflight.check_compiler({'PATH': str(tmp_path), 'CC': 'mycc -m64', 'CXX': 'mycc'})


def test_missing_colcon_is_named(tmp_path: Path) -> None:
    assert 'no colcon' in message(preflight.check_colcon, {'PATH': str(tmp_path)})


def test_set_up_without_a_compiler_stops_before_it_makes_anything(tree: Path) -> None:
    (tree / 'bin').mkdir()
    (tree / 'bin' / 'make').symlink_to('/bin/true')
    result = subprocess.run(
        [BASE_PYTHON, tree / 'tools' / 'setup_env.py'],
        env={'PATH': str(tree / 'bin')},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert result.stderr.count('\n') == 1
    assert result.stderr.startswith('svlm set-up: found no cc or gcc')
    assert not (tree / '.venv').exists()


def test_set_up_without_network_says_so_and_keeps_the_log(tree: Path) -> None:
    offline = dict.fromkeys(('PIP_FIND_LINKS', 'PIP_EXTRA_INDEX_URL'), '')
    offline |= {'PIP_INDEX_URL': 'http://127.0.0.1:9/simple', 'PIP_CONFIG_FILE': os.devnull}
    result = subprocess.run(
        [BASE_PYTHON, tree / 'tools' / 'setup_env.py'],
        env={'PATH': os.environ['PATH'], 'HOME': str(tree), **offline},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert result.stderr.count('\n') == 1
    assert 'no network' in result.stderr
    assert '127.0.0.1' in (tree / 'log' / 'setup.log').read_text()


def test_missing_interpreter_is_named_by_make(tree: Path) -> None:
    result = subprocess.run(
        ['make', 'setup', 'PYTHON=python0.1'], cwd=tree, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith('svlm set-up: found no python0.1')


# Steps


@pytest.mark.parametrize(
    ('printed', 'reason'),
    [
        ("OSError: [Errno 28] No space left on device: '/x'", 'no space left'),
        ('NewConnectionError: [Errno -3] Temporary failure in name resolution', 'no network'),
        ('ERROR: No matching distribution found for torch==0', 'No matching distribution'),
        ('msg.h:3:1: error: unknown type\nmake: *** [all] Error 1', 'unknown type'),
        ('', 'it printed nothing'),
    ],
)
def test_failed_step_gives_its_reason_and_its_log(
    printed: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / 'log' / 'setup.log'
    script = 'import sys; print(sys.argv[1]); sys.exit(3)'
    command = [sys.executable, '-c', script, printed]
    with pytest.raises(SetupError) as caught:
        steps.run('building', command, log=log)
    text = str(caught.value)
    assert '\n' not in text
    assert text.startswith('building failed: ')
    assert reason in text
    assert str(log) in text
    assert printed in log.read_text()
    assert re.search(r'^svlm set-up: building failed, \d+ s$', capsys.readouterr().out, re.M)


def test_stamp_is_current_only_for_its_own_inputs(tmp_path: Path) -> None:
    stamp = steps.Stamp(tmp_path / 'stamp', ['a', 'b'])
    assert not stamp.is_current()
    stamp.write()
    assert stamp.is_current()
    assert not steps.Stamp(tmp_path / 'stamp', ['ab']).is_current()


# Stages


@pytest.fixture
def stages(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs set-up in the tree with commands that do nothing; gives the steps it took."""
    taken: list[str] = []
    monkeypatch.setattr(preflight, 'check_colcon', lambda environ: None)

    def pretend(step: str, command: list[str], **_: object) -> None:
        taken.append(step.split()[1])
        (tree / '.venv').mkdir(exist_ok=True)
        (tree / 'install').mkdir(exist_ok=True)

    monkeypatch.setattr(setup_env, 'ROOT', tree)
    monkeypatch.setattr(setup_env, 'VENV', tree / '.venv')
    monkeypatch.setattr(setup_env, 'run', pretend)
    monkeypatch.setattr(setup_env, 'relocate_wheels', lambda: None)
    monkeypatch.setattr(setup_env, 'install_environment', lambda: None)

    def set_up(ros: str = '', torch_index: str = '') -> list[str]:
        taken.clear()
        setup_env.create_environment(ros)
        setup_env.install_packages(ros, torch_index)
        setup_env.build_messages(ros)
        return list(taken)

    return set_up


EVERYTHING = ['.venv', 'packages', 'svlm', 'messages']


def test_second_set_up_does_nothing(stages: Callable[..., list[str]]) -> None:
    assert stages() == EVERYTHING
    assert stages() == []


@pytest.mark.parametrize(
    ('changed', 'due'),
    [
        ('constraints.txt', ['packages', 'svlm']),
        ('pyproject.toml', ['packages', 'svlm']),
        ('setup.py', ['packages', 'svlm']),
        ('msg/Caption.msg', ['messages']),
        ('msg/New.msg', ['messages']),
        ('CMakeLists.txt', ['messages']),
        ('package.xml', ['messages']),
        ('launch/new.launch.py', ['messages']),
        ('Makefile', []),
    ],
)
def test_a_change_runs_what_depends_on_it(
    changed: str, due: list[str], stages: Callable[..., list[str]], tree: Path
) -> None:
    stages()
    with (tree / changed).open('a') as file:
        file.write('\n')
    assert stages() == due
    assert stages() == []


def test_another_ros_or_another_place_starts_afresh(stages: Callable[..., list[str]]) -> None:
    stages()
    assert stages(ros='jazzy') == EVERYTHING


def test_torch_index_serves_torch_alone_and_is_remembered(
    stages: Callable[..., list[str]],
) -> None:
    assert stages(torch_index='file:///nowhere') == ['.venv', 'torch', *EVERYTHING[1:]]
    assert stages() == []


def test_installed_ros_brings_its_own_packages(tree: Path) -> None:
    wheels = [line for line in setup_env.requirements('') if line.startswith('ros-')]
    assert wheels
    rest = setup_env.requirements('jazzy')
    assert not set(wheels) & set(rest)
    names = {line.partition('>=')[0] for line in rest}
    assert {'rosbags', 'rosbags-image[opencv-headless]'} <= names


def test_wheels_name_the_headers_of_this_machine_whatever_its_folders_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / 'my robots' / '.venv'
    (venv / 'numpy').mkdir(parents=True)
    source = f'def get_include(): return {str(venv / "numpy")!r}\n'
    (venv / 'numpy' / '__init__.py').write_text(source)
    cmake = venv / 'share' / 'x' / 'x.cmake'
    cmake.parent.mkdir(parents=True)
    cmake.write_text(
        'set(a "/opt/python/cp311/include/python3.11;/opt/python/cp311/lib/numpy/_core/include")'
    )
    monkeypatch.setenv('PYTHONPATH', str(venv))
    monkeypatch.setattr(setup_env, 'VENV', venv)
    monkeypatch.setattr(setup_env, 'PYTHON', BASE_PYTHON)
    setup_env.relocate_wheels()
    assert cmake.read_text() == f'set(a "{sysconfig.get_path("include")};{venv / "numpy"}")'


def test_a_python_without_numpy_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'numpy.py').write_text('raise ImportError("numpy is broken")\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(sys, 'argv', ['setup_env.py'])
    monkeypatch.setattr(setup_env, 'ROOT', ROOT)
    monkeypatch.setattr(setup_env, 'PYTHON', BASE_PYTHON)
    for stage in ('create_environment', 'build_messages'):
        monkeypatch.setattr(setup_env, stage, lambda *_: None)
    monkeypatch.setattr(setup_env, 'install_packages', lambda *_: setup_env.relocate_wheels())
    with pytest.raises(SystemExit) as caught:
        setup_env.main()
    text = str(caught.value)
    assert text.startswith(f'svlm set-up: {BASE_PYTHON} ended with status 1: ')
    assert text.endswith('numpy is broken')
    assert '\n' not in text


def test_ros_sourced_for_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    assert setup_env.installed_ros() == 'jazzy'
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert '/usr/bin/python3' in message(setup_env.installed_ros)


def test_own_environment_is_not_taken_for_installed_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [str(setup_env.ROOT / 'install' / 'svlm'), str(setup_env.VENV)]
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(own))
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert setup_env.installed_ros() == ''


# The environment


def test_search_paths_keep_what_was_there_and_do_not_grow(tmp_path: Path) -> None:
    first = environment.variables(tmp_path / '.venv', {'LD_LIBRARY_PATH': '/a:/b', 'PATH': '/bin'})
    library = str(tmp_path / 'install' / 'svlm' / 'lib')
    assert first['LD_LIBRARY_PATH'] == f'{library}:/a:/b'
    assert environment.variables(tmp_path / '.venv', first) == first


@pytest.mark.parametrize('inherited', [{}, {environment.WHEELS_MARK: '1'}])
def test_messages_are_found_where_no_workspace_is_sourced(
    inherited: dict[str, str], tmp_path: Path
) -> None:
    wheels = Path(sys.prefix, 'share', 'ament_index').is_dir()
    shell = {'PATH': os.defpath} if wheels else {**os.environ, 'LD_LIBRARY_PATH': installed_ros()}
    code = 'import rclpy, svlm_core; from svlm.msg import Caption; Caption(); print("found")'
    result = subprocess.run(
        [sys.executable, '-c', code],
        env={**shell, **inherited},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr) == ('found\n', '')


def installed_ros() -> str:
    """The library path of an installed ROS 2, less this workspace's own folders."""
    folders = os.environ['LD_LIBRARY_PATH'].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not folder.startswith(str(ROOT)))


def test_any_program_runs_in_the_environment() -> None:
    launcher = [sys.executable, str(ROOT / 'tools' / 'environment.py')]
    shell = ['sh', '-c', 'echo "$AMENT_PREFIX_PATH"; command -v python3; exit 7']
    result = subprocess.run([*launcher, *shell], env={}, capture_output=True, text=True)
    prefixes, python = result.stdout.splitlines()
    assert result.returncode == 7
    assert prefixes.split(':')[0] == str(ROOT / 'install' / 'svlm')
    assert python == f'{sys.prefix}/bin/python3'
    wrong = subprocess.run([*launcher, 'no-such-program'], capture_output=True, text=True)
    assert wrong.stderr == 'no-such-program: No such file or directory\n'


@pytest.mark.skipif(' ' in str(ROOT), reason='the scripts that colcon writes know no spaces')
def test_sourcing_the_workspace_sets_its_paths() -> None:
    script = f'. "{ROOT}/install/setup.sh" && echo "$AMENT_PREFIX_PATH" && echo "$LD_LIBRARY_PATH"'
    result = subprocess.run(
        ['sh', '-c', script], env={'PATH': os.defpath}, capture_output=True, text=True
    )
    first = [path.split(os.pathsep)[0] for path in result.stdout.splitlines()]
    assert first == [f'{ROOT}/install/svlm', f'{ROOT}/install/svlm/lib']
