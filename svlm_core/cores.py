# SPDX-License-Identifier: Apache-2.0
"""How many processors this process may use at once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

CPU_MAX = Path('/sys/fs/cgroup/cpu.max')  # of the container that this runs in: quota and period


def keep_to_cores() -> None:
    """Compute with no more threads than may run at once, unless the user has chosen a number.

    Torch counts the machine's cores. Where a container may use few of them, threads that wait for
    their turn hold up all others at the end of every product.
    """
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), allowed()))


def allowed() -> int:
    """Processors that the scheduler and the container's quota leave to this process."""
    known = hasattr(os, 'sched_getaffinity')  # on Linux alone
    count = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no file outside of containers, and 'max' is no number
        quota, period = map(int, CPU_MAX.read_text().split())
        count = min(count, quota // period)
    return max(count, 1)
