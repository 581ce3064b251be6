# SPDX-License-Identifier: Apache-2.0
"""Children never outlive their program, however it or they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from svlm_ros import children
from svlm_ros.children import Children

POLITE = 'import time; print("up", flush=True); time.sleep(60)'
STUBBORN = 'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); ' + POLITE


def python(code: str) -> list[str]:
    return [sys.executable, '-S', '-c', code]


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in (path.read_text() if path.exists() else ''):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_child_is_gone_after_stop_stubborn_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, 'PATIENCE', ((signal.SIGINT, 0.5), (signal.SIGTERM, 20.0)))
    family = Children(tmp_path)
    for name, code in (('polite', POLITE), ('stubborn', STUBBORN)):
        family.start(name, python(code), os.environ)
        wait_for(tmp_path / f'{name}.log', 'up')
    processes = [child.process for child in family._running]
    assert family.dead() is None
    family.stop()
    assert [process.returncode for process in processes] == [-signal.SIGINT, -signal.SIGTERM] or (
        processes[0].returncode == 1  # an interpreter that turns the signal into an exception
        and processes[1].returncode == -signal.SIGTERM
    )
    family.stop()  # once more changes nothing


def test_a_child_that_ends_is_found_with_its_last_words(tmp_path: Path) -> None:
    family = Children(tmp_path)
    family.start('steady', python(POLITE), os.environ)
    family.start(
        'failing',
        python('import sys; print("\\n".join(map(str, range(9)))); sys.exit("no model")'),
        os.environ,
    )
    deadline = time.monotonic() + 30
    while (dead := family.dead()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert dead.name == 'failing'
    assert dead.process.returncode == 1
    assert 'no model' in dead.last_lines()
    assert len(dead.last_lines(3)) == 3
    family.stop()


@pytest.mark.skipif(sys.platform != 'linux', reason='only the kernel of Linux does this')
def test_a_child_ends_even_when_its_program_is_killed(tmp_path: Path) -> None:
    program = (
        'import os, sys, time; from pathlib import Path; from svlm_ros.children import Children; '
        f'family = Children(Path({str(tmp_path)!r})); '
        f'family.start("child", {python(POLITE)!r}, os.environ); '
        'print(family._running[0].process.pid, flush=True); time.sleep(60)'
    )
    with subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(tmp_path / 'child.log', 'up')
        parent.kill()
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
