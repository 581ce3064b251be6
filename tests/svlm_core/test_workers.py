# SPDX-License-Identifier: Apache-2.0
"""Workers end with the process that they work for, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
import os
from {module} import {name}

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == '__main__':
    {begin}
"""
POOL = (
    "pool = __import__('concurrent.futures').futures.ProcessPoolExecutor("
    "2, __import__('multiprocessing').get_context('forkserver'), workers.begin); "
    '[f.result() for f in [pool.submit(work, sys.argv[1])] * 2]'
)


def alive(process: int) -> bool:
    try:
        state = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


@pytest.mark.parametrize(
    ('module', 'name', 'begin'),
    [
        ('svlm_core.evaluation.sitting', 'spread', '[*spread(work, [sys.argv[1]] * 2, 2)]'),
        ('svlm_core', 'workers', POOL),
    ],
    ids=['spawned', 'of a fork server'],
)
def test_workers_end_when_their_parent_is_killed(tmp_path, module, name, begin):
    script, pids = tmp_path / 'script.py', tmp_path / 'pids'
    script.write_text(PROGRAM.format(module=module, name=name, begin=begin))
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, script, pids], cwd=Path(__file__).parents[2])
    try:
        until = time.monotonic() + 60
        while not (begun := [int(path.name) for path in pids.iterdir()]):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert all(map(alive, begun))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while any(map(alive, begun)):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        parent.kill()
        for process in begun:
            if alive(process):
                os.kill(process, signal.SIGKILL)
