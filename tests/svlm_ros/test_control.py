# SPDX-License-Identifier: Apache-2.0
"""The services of the captioner answer when the thing is done, and hold up nothing meanwhile."""

from __future__ import annotations

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.srv', reason='needs the interfaces of this package, built')

from std_srvs.srv import SetBool, Trigger  # noqa: E402
from svlm.msg import Status  # noqa: E402
from svlm.srv import Pin, SetQuery, Snapshot  # noqa: E402

from ros_support import FakeEngine  # noqa: E402


@pytest.fixture
def operator(graph, wait_for):
    """Call a service of the captioner; the answer, or with `wait=False` the future of it."""
    node = graph.add(rclpy.create_node('operator'))

    def call(kind, service, wait=True, **fields):
        client = node.create_client(kind, f'captioner/{service}')
        assert client.wait_for_service(10)
        future = client.call_async(kind.Request(**fields))
        if not wait:
            return future
        wait_for(future.done, 'the answer')
        return future.result()

    return call


def test_a_reset_while_a_reply_is_written_cuts_it_and_says_so(start, camera, operator, wait_for):
    node, ears = start(FakeEngine(lambda number, frames: 'word ' * 500, pause=0.02))
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.captions, 'the reply to begin')
    answer = operator(Trigger, 'reset')
    assert (answer.success, answer.message) == (
        True,
        'memory is empty; the reply being written was cut',
    )
    wait_for(lambda: ears.done, 'the end of the reply that was cut')
    assert 0 < ears.done[0].tokens < 500
    assert node.cameras[0].stream.resets == 1
    source.seconds(1, 1)
    wait_for(lambda: not ears.captions[-1].done, 'the next reply')
    assert ears.captions[-1].sequence == 0
    wait_for(lambda: ears.statuses[-1].resets == 1, 'the status')


def test_a_paused_node_says_so_drops_frames_and_goes_on(start, camera, operator, wait_for):
    node, ears = start()
    source = camera(node)
    assert operator(SetBool, 'pause', data=True).message == 'paused'
    source.seconds(0, 3)
    wait_for(lambda: ears.statuses[-1].state == Status.PAUSED, 'the status')
    assert not ears.captions
    assert operator(SetBool, 'pause', data=False).message == 'running'
    wait_for(lambda: ears.done, 'a caption')
    assert ears.done[0].sequence == 2
    wait_for(lambda: ears.statuses[-1].state == Status.RUNNING, 'the status')


def test_a_new_query_is_in_force_and_in_the_status(start, operator, wait_for):
    node, ears = start()
    answer = operator(SetQuery, 'set_query', query=' What moves? ')
    assert (answer.success, answer.message) == (True, 'in force from the next second on')
    assert node.cameras[0].stream.queries == ['What moves?']
    wait_for(lambda: ears.statuses[-1].query == 'What moves?', 'the status')


@pytest.mark.parametrize(
    ('query', 'reason'),
    [('', 'the query is empty'), ('very ' * 30, 'the query is longer than its room')],
)
def test_a_bad_query_is_refused_with_a_reason_and_the_old_one_stays(
    start, operator, wait_for, query, reason
):
    _, ears = start(query='What moves?')
    answer = operator(SetQuery, 'set_query', query=query)
    assert not answer.success
    assert answer.message.startswith(reason)
    wait_for(lambda: ears.statuses, 'the status')
    assert ears.statuses[-1].query == 'What moves?'


def test_a_pinned_sentence_stays_until_all_are_taken_away(start, operator, wait_for):
    _, ears = start()
    first = operator(Pin, 'pin', sentence=' The red box is fragile. ')
    assert (first.success, first.sentences) == (True, ['The red box is fragile.'])
    both = operator(Pin, 'pin', sentence='Gate 3 is closed.')
    assert both.sentences == ['The red box is fragile.', 'Gate 3 is closed.']
    wait_for(lambda: ears.statuses[-1].pinned == both.sentences, 'the status')
    refused = operator(Pin, 'pin', sentence='very ' * 30)
    assert not refused.success
    assert 'raise query_tokens' in refused.message
    assert refused.sentences == both.sentences
    none = operator(Pin, 'pin', sentence='')
    assert (none.success, none.message, none.sentences) == (True, 'nothing is pinned', [])
    wait_for(lambda: not ears.statuses[-1].pinned, 'the status')


@pytest.mark.parametrize('name', ['', '../escape', 'a/b', '.hidden', 'a b', 'x' * 101])
def test_a_memory_is_named_by_a_plain_name_alone(start, operator, name):
    start()
    for service in ('save_memory', 'load_memory'):
        answer = operator(Snapshot, service, name=name)
        assert not answer.success
        assert answer.message.endswith('is no name: take letters, digits, - and _')
        assert answer.path == ''


def test_frames_and_other_services_pass_while_an_order_waits(start, camera, operator, wait_for):
    node, _ = start(FakeEngine(lambda number, frames: 'word ' * 200, pause=0.02))
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: node.cameras[0].stream.words > 0, 'the model to begin')
    waiting = operator(SetQuery, 'set_query', wait=False, query='What moves?')
    source.seconds(1, 1)  # each frame is waited for
    assert operator(SetQuery, 'set_query', query='').message.startswith('the query is empty')
    assert operator(SetBool, 'pause', data=True).success  # holds back what comes after
    assert not waiting.done()
    wait_for(waiting.done, 'the answer')
    assert waiting.result().success


def test_an_inactive_node_refuses(start, operator):
    node, _ = start()
    node.trigger_deactivate()
    answer = operator(Trigger, 'reset')
    assert (answer.success, answer.message) == (False, 'the node is not active')
