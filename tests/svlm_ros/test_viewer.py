# SPDX-License-Identifier: Apache-2.0
"""The viewer prints one line for each finished caption, and says when they mean nothing."""

from __future__ import annotations

import io

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rich.console import Console  # noqa: E402
from svlm.msg import Caption, Status  # noqa: E402

from svlm_ros.outputs import LATCHED  # noqa: E402
from svlm_ros.viewer import CaptionViewer, caption_line, clock  # noqa: E402

LONG = 'a red circle ' * 12


def caption(**changes) -> Caption:
    fields = {'done': True, 'sequence': 3, 'latency': 0.25, 'frames_used': 2, 'frames_dropped': 8}
    return Caption(**{'text': 'it moves', **fields, **changes})


def test_a_line_tells_span_text_latency_and_frames():
    assert caption_line(caption()).plain == (
        '00:03-00:04  it moves  [0.25 s; 2 frames, 8 not shown]'
    )


def test_a_camera_that_shows_no_more_than_is_used_needs_no_words():
    line = caption_line(caption(frames_dropped=0)).plain
    assert line == '00:03-00:04  it moves  [0.25 s; 2 frames]'


def test_silence_repeats_and_lateness_are_told():
    line = caption_line(caption(text='', frames_repeated=1, late=True, sequence=3725)).plain
    assert line == '1:02:05-1:02:06  (silence)  [0.25 s; 2 frames, 1 repeated, 8 not shown]  LATE'


@pytest.mark.parametrize(('seconds', 'text'), [(0, '00:00'), (61, '01:01'), (36000, '10:00:00')])
def test_the_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize('trained', [True, False])
def test_finished_captions_are_printed_as_plain_lines_where_there_is_no_terminal(
    graph, wait_for, trained
):
    sheet = io.StringIO()
    node = graph.add(rclpy.create_node('captioner'))
    captions = node.create_publisher(Caption, '~/caption', 10)
    statuses = node.create_publisher(Status, '~/status', LATCHED)
    statuses.publish(Status(state=Status.LOADING))
    viewer = graph.add(CaptionViewer(Console(file=sheet, highlight=False)))
    viewer.start()
    wait_for(lambda: captions.get_subscription_count() == 1, 'the viewer')
    statuses.publish(Status(state=Status.RUNNING, model='tiny', trained=trained))
    statuses.publish(Status(state=Status.RUNNING, model='tiny', trained=trained))
    if not trained:
        wait_for(lambda: 'UNTRAINED' in sheet.getvalue(), 'the warning')
    captions.publish(caption(text='half', done=False))
    captions.publish(caption(text=LONG.strip()))
    wait_for(lambda: 'circle' in sheet.getvalue(), 'the caption')
    lines = sheet.getvalue().splitlines()
    assert lines[-1] == f'00:03-00:04  {LONG.strip()}  [0.25 s; 2 frames, 8 not shown]'
    warning = ['UNTRAINED: tiny has random weights, its captions mean nothing']
    assert lines[:-1] == ([] if trained else warning)
