# SPDX-License-Identifier: Apache-2.0
"""Threads are as many as the scheduler and the container let run at once."""

from __future__ import annotations

import os

import pytest
import torch

from svlm_core import cores


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 8 cores, for which torch takes 8 threads; a container may have a quota."""
    chosen = []
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 8)
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    monkeypatch.setattr(cores, 'CPU_MAX', tmp_path / 'cpu.max')
    return chosen


@pytest.mark.parametrize(
    ('quota', 'threads'),
    [
        ('max 100000', 8),
        ('200000 100000', 2),
        ('250000 100000', 2),
        ('50000 100000', 1),
        ('3200000 100000', 8),
    ],
)
def test_a_quota_bounds_the_threads(machine, quota, threads):
    cores.CPU_MAX.write_text(f'{quota}\n')
    cores.keep_to_cores()
    assert machine == [threads]


def test_without_a_container_the_scheduler_alone_bounds_them(machine, monkeypatch):
    cores.keep_to_cores()
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {3, 5})
    cores.keep_to_cores()
    assert machine == [8, 2]


def test_a_number_that_the_user_gives_stays(machine, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '16')
    cores.CPU_MAX.write_text('100000 100000\n')
    cores.keep_to_cores()
    assert machine == []
