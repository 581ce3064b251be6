# SPDX-License-Identifier: Apache-2.0
"""A running node follows its live parameters, slow cameras and a model that cannot keep up."""

from __future__ import annotations

import time

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.parameter import Parameter  # noqa: E402

from ros_support import FakeEngine  # noqa: E402


def put(node, **values):
    """Set parameters of a node as `ros2 param set` does; the answers."""
    return node.set_parameters([Parameter(name, value=value) for name, value in values.items()])


def test_limits_and_sampling_are_in_force_from_the_next_round_on(start, wait_for):
    node, _ears = start()
    before = node.cameras[0].publish_status().config
    stream = node.cameras[0].stream
    assert put(node, max_new_tokens=5)[0].successful
    wait_for(lambda: stream.adjusted[-1]['max_new_tokens'] == 5, 'the new limit')
    assert put(node, temperature=0.0)[0].successful
    wait_for(lambda: stream.adjusted[-1]['sampling'].temperature == 0, 'the new temperature')
    assert node.cameras[0].publish_status().config != before


def test_more_than_was_reserved_at_start_is_refused_with_a_reason(start):
    node, _ = start(max_new_tokens=10)
    [answer] = put(node, max_new_tokens=11)
    assert not answer.successful
    assert 'reserved' in answer.reason
    assert node.stream_settings.max_new_tokens == 10


def test_what_needs_a_restart_cannot_be_changed(start):
    node, _ = start()
    [answer] = put(node, policy='window')
    assert not answer.successful
    assert 'read-only' in answer.reason


def test_silence_may_be_muted_while_the_node_runs(start, camera, wait_for):
    node, ears = start(FakeEngine(lambda number, frames: ''))
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a silent caption')
    put(node, publish_silence=False)
    source.seconds(1, 1)
    wait_for(lambda: node.cameras[0].activity.rounds == 2, 'the second round')
    assert len(ears.done) == 1


def test_a_camera_that_stalls_within_a_second_is_captioned_at_the_deadline(
    start, camera, wait_for
):
    node, ears = start(publish_partial=False)
    camera(node).send(0)  # and nothing ever again
    wait_for(lambda: ears.done, 'a caption')
    assert (ears.done[0].sequence, ears.done[0].frames_repeated) == (0, 1)


def test_seconds_without_a_fresh_frame_are_skipped_and_it_is_said(start, camera, wait_for, capfd):
    node, ears = start(publish_partial=False, max_frame_age=1.0)
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.statuses[-1].rounds_skipped > 0, 'skipped seconds', patience=20)
    assert [c.sequence for c in ears.done] == [0, 1]
    assert ears.done[1].frames_repeated == 1  # its newest frame was shown twice
    log = capfd.readouterr().err
    assert 'no frame of /image is younger than 1 s (max_frame_age)' in log
    skipped = ears.statuses[-1].rounds_skipped
    source.seconds(60, 1)
    wait_for(lambda: ears.done[-1].sequence == 60, 'a caption after the silence')
    assert ears.statuses[-1].rounds_skipped >= skipped


def test_nothing_is_shown_twice_where_frames_may_not_age(start, camera, wait_for):
    node, ears = start(publish_partial=False)
    put(node, max_frame_age=0.0)
    source = camera(node)
    source.send(0)
    source.send(1)
    source.send(1.5)
    wait_for(lambda: ears.done, 'a caption')
    assert [(c.sequence, c.frames_repeated) for c in ears.done] == [(1, 0)]


def test_a_lossless_mailbox_captions_every_second_of_a_burst(start, camera, wait_for):
    node, ears = start(
        FakeEngine(lambda number, frames: f'second {number}', pause=0.01),
        publish_partial=False,
        mailbox='lossless',
    )
    camera(node).seconds(0, 12)
    wait_for(lambda: len(ears.done) == 12, 'all captions')
    assert [c.sequence for c in ears.done] == list(range(12))
    counts = node.cameras[0].channel.mailbox.counts
    assert (counts.used, counts.skipped, counts.rounds_replaced) == (24, 0, 0)


def test_a_lossless_mailbox_that_overflows_says_so(start, camera, wait_for):
    node, ears = start(
        FakeEngine(lambda number, frames: 'word ' * 300, pause=0.02),
        mailbox='lossless',
        lossless_rounds=2,
    )
    camera(node).seconds(0, 6)
    wait_for(lambda: 'lossless_rounds' in ears.statuses[-1].last_error, 'the error')
    assert ears.statuses[-1].rounds_skipped == 3  # one is being captioned, two wait
    status = ears.statuses[-1]
    assert status.frames_received == (
        status.frames_used + status.frames_dropped + status.frames_pending
    )


def test_a_model_that_cannot_keep_up_gets_less_to_do_and_it_is_said(start, camera, wait_for):
    def slow(number, frames):
        time.sleep(0.12)
        return 'said'

    node, ears = start(FakeEngine(slow), shed='tokens', fps=20.0, chunk_seconds=0.1)
    source = camera(node)
    for tenth in range(40):
        source.send(tenth / 20)
        if tenth % 2:
            wait_for(lambda n=tenth // 2: ears.done and ears.done[-1].sequence >= n, 'a caption')
    wait_for(lambda: 'replies cut to' in ears.statuses[-1].shedding, 'the status')
    assert min(a['max_new_tokens'] for a in node.cameras[0].stream.adjusted) < 20
    put(node, shed='skip')
    wait_for(lambda: not ears.statuses[-1].shedding, 'the end of shedding')
    assert node.cameras[0].stream.adjusted[-1]['max_new_tokens'] == 20
