# SPDX-License-Identifier: Apache-2.0
"""The environment in which ROS 2 and this package's messages are found.

The libraries of a message type load each other by name, so the dynamic linker has to know their
folders before a process starts. Set-up therefore copies this file into the virtual environment,
where it runs whenever Python starts: `.venv/bin/python` and `.venv/bin/svlm` work from any shell,
with nothing sourced. For other programs:

    .venv/bin/python tools/environment.py COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

# The ROS 2 wheels restart Python once to set library paths, unless they find this mark.
WHEELS_MARK = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'
# `source install/setup.bash` asks this script what to change: it must see variables as they are.
SHELL_HELPER = '_local_setup_util_sh.py'


def variables(venv: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables of the environment of `venv`, search paths before the `inherited` ones."""
    package = venv.parent / 'install' / 'svlm'
    prefixes = [package]
    libraries = [package / 'lib']
    if (venv / 'share' / 'ament_index').is_dir():  # ROS 2 came from wheels, into the venv
        prefixes.append(venv)
        libraries += [venv / 'lib', *sorted(venv.glob('lib/python*/site-packages/ros_*.libs'))]
    return {
        'AMENT_PREFIX_PATH': _prepend(prefixes, inherited.get('AMENT_PREFIX_PATH', '')),
        'LD_LIBRARY_PATH': _prepend(libraries, inherited.get('LD_LIBRARY_PATH', '')),
        'PATH': _prepend([venv / 'bin'], inherited.get('PATH', os.defpath)),
        'VIRTUAL_ENV': str(venv),
        WHEELS_MARK: '1',
    }


def enter() -> None:
    """Give this process the environment of its `.venv`, restarting Python if that is needed."""
    if any(argument.endswith(SHELL_HELPER) for argument in sys.orig_argv[1:2]):
        return
    wanted = variables(Path(sys.prefix), os.environ)
    # The linker read its variable when the process started.
    restart = wanted['LD_LIBRARY_PATH'] != os.environ.get('LD_LIBRARY_PATH')
    os.environ.update(wanted)
    if restart:
        os.execv(sys.executable, sys.orig_argv)


def _prepend(folders: Iterable[Path], value: str) -> str:
    """Put `folders` at the front of a search path, each entry once."""
    entries = [*map(str, folders), *filter(None, value.split(os.pathsep))]
    return os.pathsep.join(dict.fromkeys(entries))


def main() -> None:
    """Run the command on the command line in the environment of the Python that runs this."""
    if len(sys.argv) < 2:
        sys.exit('usage: .venv/bin/python tools/environment.py COMMAND [ARGUMENT...]')
    os.environ.update(variables(Path(sys.prefix), os.environ))
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f'{sys.argv[1]}: {error.strerror}')


if __name__ == '__main__':
    main()
