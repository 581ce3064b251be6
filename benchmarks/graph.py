# SPDX-License-Identifier: Apache-2.0
"""A ROS graph for one benchmark: child processes, and one node that watches them.

It has a domain of its own and stays on this machine, so it neither hears nor disturbs a robot.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from svlm.msg import Status

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / 'config' / 'fastdds_large_images.xml'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START_UP = 60.0  # seconds in which a process must be ready


@dataclass(frozen=True)
class Usage:
    """What a process holds at one moment; `cpu_s` is what it has computed since it began."""

    resident_mib: float
    threads: int
    descriptors: int
    cpu_s: float


class Process:
    """A running Python program; what it prints goes to `log`."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open('wb') as sink:
            self._child = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, 'PYTHONPATH': str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends them in order
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._child.poll() is not None

    def usage(self) -> Usage:
        """What it holds now. Raises OSError when it has ended."""
        folder = Path('/proc', str(self._child.pid))
        # The second field is a name in brackets, which may hold blanks.
        fields = (folder / 'stat').read_text().rpartition(')')[2].split()
        return Usage(
            resident_mib=int(fields[21]) * os.sysconf('SC_PAGE_SIZE') / 2**20,
            threads=int(fields[17]),
            descriptors=len(list((folder / 'fd').iterdir())),
            cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK'),
        )

    def end(self) -> int:
        """Ask it to end and wait; its exit status, negative where it had to be killed."""
        with suppress(ProcessLookupError):
            self._child.send_signal(SIGINT)
        try:
            return self._child.wait(15)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


class Graph:
    """Use it in a `with` statement: processes end with it, whatever happens.

    `profiles` is a file for Fast DDS, of all processes; None leaves it as it comes.
    """

    def __init__(self, profiles: Path | None) -> None:
        os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        os.environ['RMW_IMPLEMENTATION'] = 'rmw_fastrtps_cpp'
        for variable in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ.pop(variable, None)
            if profiles:
                os.environ[variable] = str(profiles)
        self._scratch = tempfile.TemporaryDirectory(prefix='svlm-benchmark-')
        self.folder = Path(self._scratch.name)
        self._processes: list[Process] = []

    def __enter__(self) -> Graph:
        rclpy.init()
        self.node = rclpy.create_node('benchmark')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.status: Status | None = None  # the newest of the captioner
        self.node.create_subscription(Status, 'captioner/status', self._heard, LATCHED)
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self._processes:
            process.end()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()
        self._scratch.cleanup()

    def _heard(self, status: Status) -> None:
        self.status = status

    @property
    def state(self) -> str:
        """What the captioner is doing, as its status says; empty before there is one."""
        return self.status.state if self.status else ''

    def start(self, *command: str) -> Process:
        """Run a Python program with these arguments."""
        log = self.folder / f'{len(self._processes)}.log'
        self._processes.append(Process(list(command), log))
        return self._processes[-1]

    def spin(self, seconds: float) -> None:
        """Let the node work for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(left)

    def until(self, done: Callable[[], Any], what: str, patience: float = START_UP) -> None:
        """Let the node work until `done()`.

        Ends the program, with the reason, where that takes too long or a process ends meanwhile.
        """
        end = time.monotonic() + patience
        while not done():
            gone = next((process for process in self._processes if process.ended), None)
            if gone or time.monotonic() > end:
                lines = gone.log.read_text(errors='replace').splitlines() if gone else []
                reason = 'a process ended' if gone else f'not within {patience:g} s'
                sys.exit('\n  '.join([f'{what}: {reason}', *lines[-5:]]))
            self._executor.spin_once(0.1)

    def call(self, kind: type, service: str, request: Any) -> Any:
        """The answer of a service of the captioner."""
        client = self.node.create_client(kind, f'captioner/{service}')
        self.until(client.service_is_ready, service)
        future = client.call_async(request)
        self.until(future.done, service)
        self.node.destroy_client(client)
        return future.result()
