# SPDX-License-Identifier: Apache-2.0
"""The health of the node: the right level for the right reason, and all figures beside it."""

from __future__ import annotations

import math
from collections import deque

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from svlm.msg import Status  # noqa: E402

from svlm_ros import diagnostics  # noqa: E402
from svlm_ros.messages import Activity, time  # noqa: E402
from svlm_ros.parameters import NodeSettings  # noqa: E402

SETTINGS = NodeSettings()


def status(seconds=0.0, state=Status.RUNNING, frame_age=0.1, **fields):
    made = Status(state=state, frame_age=frame_age, camera='front', **fields)
    made.header.stamp = time(round(seconds * 1e9))
    return made


def entry(now, before=None, latencies=(0.5,), settings=SETTINGS):
    return diagnostics.entry(now, before, Activity('', latencies=deque(latencies)), settings)


def figures(found):
    return {value.key: value.value for value in found.values}


def test_a_node_that_works_is_ok_and_tells_its_figures():
    before = status(10, frames_received=100, frames_used=20, frames_dropped=80)
    now = status(12, frames_received=160, frames_used=24, frames_dropped=136, tokens_held=70)
    found = entry(now, before, [0.1] * 98 + [1.0] * 2)
    assert (found.level, found.message) == (DiagnosticStatus.OK, 'running')
    assert found.hardware_id == 'front'
    told = figures(found)
    rates = [told[f'frames {kind} (Hz)'] for kind in ('in', 'used', 'dropped')]
    assert rates == ['30.00', '2.00', '28.00']
    assert (told['latency p50 (s)'], told['latency p99 (s)']) == ('0.100', '1.000')
    assert told['tokens held'] == '70'


@pytest.mark.parametrize(
    ('now', 'latencies', 'level', 'reason'),
    [
        (status(frame_age=3.0), [0.5], DiagnosticStatus.WARN, 'no frame for 3.0 s'),
        (status(frame_age=11.0), [0.5], DiagnosticStatus.ERROR, 'no frame for 11.0 s'),
        (status(), [3.0], DiagnosticStatus.WARN, 'captions take 3.0 s (p99)'),
        (status(), [12.0], DiagnosticStatus.ERROR, 'captions take 12.0 s (p99)'),
        (status(frame_age=math.nan), [], DiagnosticStatus.WARN, 'no frame has come yet'),
        (
            status(state=Status.FAILED, last_error='device lost'),
            [],
            DiagnosticStatus.ERROR,
            'device lost',
        ),
        (status(state=Status.PAUSED, frame_age=60.0), [], DiagnosticStatus.OK, 'paused'),
    ],
)
def test_trouble_has_a_level_and_a_reason(now, latencies, level, reason):
    found = entry(now, None, latencies)
    assert (found.level, found.message) == (level, reason)


@pytest.mark.parametrize('counter', ['frames_lost', 'frames_missing'])
def test_frames_lost_before_the_node_warn_apart_from_those_it_drops(counter):
    before = status(0, frames_received=100, frames_dropped=50)
    now = status(1, frames_received=127, frames_dropped=75, **{counter: 3})
    found = entry(now, before)
    assert found.level == DiagnosticStatus.WARN
    assert found.message == '10% of the frames are lost before the node'
    assert entry(now, now).level == DiagnosticStatus.OK  # only the latest second counts


def test_the_worst_finding_gives_the_level_and_all_bad_ones_the_message():
    found = entry(status(frame_age=3.0), None, [12.0])
    assert found.level == DiagnosticStatus.ERROR
    assert found.message == 'no frame for 3.0 s; captions take 12.0 s (p99)'


def test_a_model_that_cannot_keep_up_is_told_with_what_is_left_out():
    before = status(0, rounds_skipped=3)
    now = status(1, rounds_skipped=5, shedding='replies cut to 10 tokens')
    found = entry(now, before)
    assert found.level == DiagnosticStatus.WARN
    assert found.message == '2 rounds were skipped; replies cut to 10 tokens'
    assert figures(found)['rounds skipped'] == '5'


def test_each_stage_of_a_round_has_its_times():
    activity = Activity('', stages=deque({'vision': i / 100, 'decode': 0.5} for i in range(101)))
    told = figures(diagnostics.entry(status(), None, activity, SETTINGS))
    assert (told['vision p50 (s)'], told['vision p99 (s)']) == ('0.5000', '0.9900')
    assert told['decode p99 (s)'] == '0.5000'


def test_thresholds_are_the_users():
    patient = NodeSettings(warn_frame_age=100.0)
    assert entry(status(frame_age=9.0), settings=patient).level == DiagnosticStatus.OK


def test_time_that_stands_still_or_goes_back_gives_no_rate():
    for before in (status(5), status(9)):
        assert figures(entry(status(5), before))['frames in (Hz)'] == 'nan'


def test_the_node_reports_once_a_second_on_diagnostics(start, camera, graph, wait_for):
    node, ears = start(warn_frame_age=0.0, warn_latency=1e12, error_latency=1e12)
    heard = []
    other = graph.add(rclpy.create_node('monitor'))
    other.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')

    def reported():
        return heard and figures(heard[-1].status[0])['rounds'] == '1'

    wait_for(reported, 'the diagnostics')
    found = heard[-1].status[0]
    assert found.level == DiagnosticStatus.WARN
    assert found.name == 'svlm captioner: /image'
    told = figures(found)
    assert (told['tokens capacity'], told['frames received']) == ('1000', '4')
