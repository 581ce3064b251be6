# SPDX-License-Identifier: Apache-2.0
"""The captioner as a process that writes down what Python's audit hooks tell of it.

python watched_captioner.py REPORT [--ros-args ...]: one line of JSON an event, [name, arguments].
"""

from __future__ import annotations

import json
import os
import sys

GROUPS = {'ftplib', 'http', 'pickle', 'smtplib', 'socket', 'subprocess', 'urllib', 'webbrowser'}
SINGLE = {
    'os.exec',
    'os.fork',
    'os.forkpty',
    'os.posix_spawn',
    'os.spawn',
    'os.system',
    'pty.spawn',
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def watch(path: str) -> None:
    """From now on, append to the file whatever this process does that a robot should know."""
    with open(path, 'w', buffering=1, encoding='utf-8') as report:
        descriptor = os.dup(report.fileno())

    def hook(event: str, arguments: tuple) -> None:
        noted = event in SINGLE or event.split('.')[0] in GROUPS
        if event == 'open' and isinstance(arguments[2], int):
            noted = bool(arguments[2] & WRITING)
        if noted:
            line = json.dumps([event, [str(argument) for argument in arguments]])
            os.write(descriptor, line.encode() + b'\n')

    sys.addaudithook(hook)


if __name__ == '__main__':
    watch(sys.argv.pop(1))
    from svlm_ros.captioner import main

    sys.exit(main(sys.argv))
