# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a large camera runs, and leaves no image unexplained. Asserts no times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

PROGRAM = Path(__file__).parents[2] / 'benchmarks' / 'camera.py'
SECONDS = 3


@pytest.fixture(scope='module')
def camera_run(tmp_path_factory):
    """The table and the figures of a short run."""
    output = tmp_path_factory.mktemp('camera') / 'camera.json'
    command = [sys.executable, str(PROGRAM), '--seconds', str(SECONDS), '--output', str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout, json.loads(output.read_text())


def test_the_table_shows_the_targets_beside_both_engines(camera_run):
    table, figures = camera_run
    head = table.splitlines()[0]
    assert all(name in head for name in ('target', 'engine that sleeps 0.4 s', 'embedded model'))
    for target in ('under 40 ms', 'within 30 ms', 'at least 98 %', 'none'):
        assert target in table
    assert f'targets missed: {", ".join(figures["missed"]) or "none"}' in table


@pytest.mark.parametrize('engine', ['sleeps', 'embedded'])
def test_what_was_received_was_used_dropped_or_waits(camera_run, engine):
    found = camera_run[1][engine]
    assert found['published'] == 30 * SECONDS
    counts = found['counts']
    assert 0 < counts['received'] <= found['published']
    assert counts['received'] == counts['used'] + counts['dropped'] + counts['pending']


@pytest.mark.parametrize('engine', ['sleeps', 'embedded'])
def test_frames_had_an_age_and_services_answered_meanwhile(camera_run, engine):
    found = camera_run[1][engine]
    assert found['age']['count'] == found['took']['count'] > 0
    assert 0 < found['age']['p50'] <= found['age']['p99'] <= found['age']['longest']
    assert all(found['services'][name]['count'] > 2 for name in ('get_parameters', 'pause'))
