# SPDX-License-Identifier: Apache-2.0
"""The real engine behind the services: a memory outlives its node, a pinned sentence stays."""

from __future__ import annotations

from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.srv', reason='needs the interfaces of this package, built')

from rclpy.action import ActionClient  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from svlm.action import Ask  # noqa: E402
from svlm.srv import Pin, Snapshot  # noqa: E402

from robot_support import Ears  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402

CHECKPOINT = Path(__file__).parents[1] / 'parity' / 'checkpoint'


@pytest.fixture
def real(graph, camera, wait_for, tmp_path):
    """Start a captioner with the real engine; gives node, camera, ears and a caller."""
    started = []

    def make(**values):
        given = {
            'model': str(CHECKPOINT),
            'device': 'cpu',
            'max_new_tokens': 4,
            'publish_partial': False,
            'memory_folder': str(tmp_path / 'memories'),
            **values,
        }
        name = f'/robot{len(started)}'
        node = Captioner(
            namespace=name, parameter_overrides=[Parameter(n, value=v) for n, v in given.items()]
        )
        started.append(node)
        node.start()
        graph.add(node)
        ears = Ears(graph, name)
        wait_for(lambda: ears.statuses, 'the status')
        wait_for(lambda: node.count_subscribers(f'{name}/captioner/text'), 'the ears')
        source = camera(node, topic=f'{name}/image', name=f'camera{len(started)}')
        operator = graph.add(rclpy.create_node(f'operator{len(started)}', namespace=name))

        def call(kind, service, **fields):
            client = operator.create_client(kind, f'captioner/{service}')
            assert client.wait_for_service(10)
            future = client.call_async(kind.Request(**fields))
            wait_for(future.done, 'the answer')
            return future.result()

        def seconds(first, count):
            for second in range(first, first + count):
                before = len(ears.done)
                source.seconds(second, 1)
                wait_for(lambda n=before: len(ears.done) > n, 'a caption')

        return node, seconds, ears, call

    return make


def test_a_memory_that_was_saved_goes_on_in_another_node_word_for_word(real, tmp_path, wait_for):
    _, seconds, ears, call = real()
    assert call(Pin, 'pin', sentence='Gate 3 is closed.').success
    seconds(0, 3)
    saved = call(Snapshot, 'save_memory', name='patrol')
    assert saved.success, saved.message
    assert saved.message == 'saved: the stream stands at 3 s'
    assert Path(saved.path) == tmp_path / 'memories' / 'patrol.safetensors'
    seconds(3, 3)

    other, again, heard, operate = real()
    loaded = operate(Snapshot, 'load_memory', name='patrol')
    assert loaded.success, loaded.message
    again(3, 3)
    assert [c.sequence for c in heard.done] == [3, 4, 5]
    assert [c.text for c in heard.done] == [c.text for c in ears.done[3:]]
    assert other.cameras[0].activity.pinned == ('Gate 3 is closed.',)
    wait_for(lambda: heard.statuses[-1].pinned == ['Gate 3 is closed.'], 'the status')


def test_a_memory_that_is_not_there_or_damaged_is_refused_and_the_stream_goes_on(real, tmp_path):
    _, seconds, ears, call = real()
    seconds(0, 1)
    missing = call(Snapshot, 'load_memory', name='nothing')
    assert not missing.success
    assert 'nothing.safetensors' in missing.message
    saved = call(Snapshot, 'save_memory', name='torn')
    data = Path(saved.path).read_bytes()
    Path(saved.path).write_bytes(data[: len(data) // 2])
    torn = call(Snapshot, 'load_memory', name='torn')
    assert not torn.success
    assert 'torn.safetensors' in torn.message
    seconds(1, 1)
    assert [c.sequence for c in ears.done] == [0, 1]


def test_before_the_first_second_there_is_nothing_to_save(real):
    _, _, _, call = real()
    answer = call(Snapshot, 'save_memory', name='empty')
    assert not answer.success
    assert not Path(answer.path).exists()


def test_a_pinned_sentence_outlives_a_reset(real):
    node, seconds, _, call = real()
    seconds(0, 1)
    held = node.cameras[0].stream.held
    assert call(Pin, 'pin', sentence='The red box is fragile.').success
    assert node.cameras[0].stream.held > held
    assert call(Trigger, 'reset').success
    assert node.cameras[0].stream.pins == ('The red box is fragile.',)


def test_an_answer_may_be_kept_and_the_next_rounds_go_on(real, graph, wait_for):
    _, seconds, ears, _ = real(ask_tokens=64)
    seconds(0, 2)
    client = ActionClient(graph.add(rclpy.create_node('asker')), Ask, '/robot0/captioner/ask')
    assert client.wait_for_server(10)
    sent = client.send_goal_async(Ask.Goal(question='what?', into_memory=True))
    wait_for(sent.done, 'the goal')
    done = sent.result().get_result_async()
    wait_for(done.done, 'the answer')
    result = done.result().result
    assert result.kept, result.message
    assert result.seen_to.sec - result.seen_from.sec == 2
    seconds(2, 20)
    assert ears.done[-1].sequence == 21
    client.destroy()
