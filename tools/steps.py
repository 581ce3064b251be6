# SPDX-License-Identifier: Apache-2.0
"""How set-up takes a step: visible progress, a log, and a memory of what is done."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight import explain

REPORT_EVERY = 15.0  # seconds between signs of life where the output is not a terminal


def run(
    step: str, command: Sequence[str], *, log: Path, environ: Mapping[str, str] = os.environ
) -> None:
    """Run `command`, showing how it gets on and appending what it prints to `log`.

    Raises SetupError, with the cause in one line, if it fails.
    """
    progress = Progress(step)
    log.parent.mkdir(exist_ok=True)
    printed = []
    with (
        log.open('a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            printed.append(line)
            progress.show(line.strip())
    succeeded = process.returncode == 0
    progress.finish('done' if succeeded else 'failed')
    if not succeeded:
        raise explain(step, ''.join(printed), log)


@dataclass
class Progress:
    """One line about one step: rewritten in a terminal, repeated now and then elsewhere."""

    step: str
    started: float = field(default_factory=time.monotonic)
    reported: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._print('...')

    def show(self, detail: str) -> None:
        """Show the latest thing the step said."""
        now = time.monotonic()
        if sys.stdout.isatty() or now - self.reported > REPORT_EVERY:
            self._print(f'... {detail[:60]}')
            self.reported = now

    def finish(self, result: str) -> None:
        """End the line with the result and the time the step took."""
        self._print(f'{result}, {time.monotonic() - self.started:.0f} s')
        if sys.stdout.isatty():
            print()

    def _print(self, text: str) -> None:
        line = f'svlm set-up: {self.step} {text}'
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f'\r\033[K{line[:width]}', end='', flush=True)
        else:
            print(line, flush=True)


@dataclass(frozen=True)
class Stamp:
    """A file that says for which inputs a stage was last finished."""

    path: Path
    inputs: Iterable[str]

    def is_current(self) -> bool:
        """Whether the stage was finished with these very inputs."""
        return self.path.is_file() and self.path.read_text(encoding='utf-8') == self._digest()

    def write(self) -> None:
        """Remember that the stage is finished."""
        partial = self.path.with_suffix('.partial')
        partial.write_text(self._digest(), encoding='utf-8')
        partial.replace(self.path)

    def _digest(self) -> str:
        return hashlib.sha256('\0'.join(self.inputs).encode()).hexdigest()
