# SPDX-License-Identifier: Apache-2.0
"""Processes that a program starts, and that never outlive it.

Each runs in a session of its own, so that a Ctrl-C at the terminal reaches the program alone and
the program ends its children in order. On Linux the kernel ends them even where it is killed.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = ((signal.SIGINT, 12.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))  # seconds each
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Child:
    """A running process by name; what it prints goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of what it printed, blank lines left out."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


class Children:
    """The processes of one program; logs are written to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process. Raises OSError when that cannot be done."""
        path = self._folder / f'{name}.log'
        with path.open('wb') as log:
            process = subprocess.Popen(
                command,
                env={**environment, 'PYTHONUNBUFFERED': '1'},  # its last words come last
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_prepare,
            )
        self._running.append(Child(name, process, path))

    def dead(self) -> Child | None:
        """The first child that has ended by itself, if any."""
        return next((child for child in self._running if child.process.poll() is not None), None)

    def stop(self) -> None:
        """End every process: ask, insist, kill; then wait until it is gone."""
        for number, patience in PATIENCE:
            left = [child for child in self._running if child.process.poll() is None]
            for child in left:
                child.process.send_signal(number)
            deadline = time.monotonic() + patience
            while any(child.process.poll() is None for child in left):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        self._running.clear()


def _prepare() -> None:
    """In the child: hear SIGINT, which a background job ignores; end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
