# SPDX-License-Identifier: Apache-2.0
"""An hour of stream through the node leaves nothing behind; benchmarks/hour.py lets it pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

PROGRAM = Path(__file__).parents[2] / 'benchmarks' / 'hour.py'


@pytest.fixture(scope='module')
def hour(tmp_path_factory):
    """What a captioner held in the course of an hour of stream, and of five life cycles after."""
    output = tmp_path_factory.mktemp('hour') / 'hour.json'
    subprocess.run(
        [sys.executable, str(PROGRAM), '--output', str(output)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        timeout=540,
        check=True,
    )
    return json.loads(output.read_text())


def test_memory_is_flat_from_the_second_minute_to_the_sixtieth(hour):
    resident = [moment['usage']['resident_mib'] for moment in hour['moments']]
    assert len(resident) == 60
    first_half, second_half = resident[29] - resident[1], max(resident[29:]) - resident[29]
    # What is kept with every frame grows by 2.5 in either half; an allocator may take a step once.
    assert min(first_half, second_half) < 1
    assert max(first_half, second_half) < 4


def test_threads_and_descriptors_are_the_same_all_the_time(hour):
    usages = [*(moment['usage'] for moment in hour['moments']), *hour['cycles']]
    assert len({usage['threads'] for usage in usages}) == 1
    assert len({usage['descriptors'] for usage in usages}) == 1


def test_life_cycles_leave_no_memory_behind(hour):
    resident = [usage['resident_mib'] for usage in hour['cycles']]
    assert len(resident) == 5
    assert resident[-1] - resident[0] < 16  # the memory of one stream alone is 45


def test_the_node_ends_as_it_should(hour):
    assert hour['exit_status'] == 0
