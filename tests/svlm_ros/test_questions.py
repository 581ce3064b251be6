# SPDX-License-Identifier: Apache-2.0
"""Questions are answered token by token beside the commentary, and may be cancelled."""

from __future__ import annotations

from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.action', reason='needs the interfaces of this package, built')

from action_msgs.msg import GoalStatus  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from svlm.action import Ask  # noqa: E402

from robot_support import T0, Ears  # noqa: E402
from ros_support import FakeEngine  # noqa: E402
from svlm_ros.captioner import Captioner  # noqa: E402

CHECKPOINT = Path(__file__).parents[1] / 'parity' / 'checkpoint'


class Asked:
    """One question on its way: the goal, the feedback that came, the result to be."""

    def __init__(self, client, question, wait_for, **fields):
        self.feedback, self._wait = [], wait_for
        sent = client.send_goal_async(
            Ask.Goal(question=question, **fields),
            lambda message: self.feedback.append(message.feedback),
        )
        wait_for(sent.done, 'the goal to be accepted')
        self.goal = sent.result()
        assert self.goal.accepted
        self._future = self.goal.get_result_async()

    def result(self):
        self._wait(self._future.done, 'the result')
        answer = self._future.result()
        return answer.status, answer.result


@pytest.fixture
def ask(graph, wait_for):
    client = ActionClient(graph.add(rclpy.create_node('asker')), Ask, 'captioner/ask')

    def send(question, **fields):
        assert client.wait_for_server(10)
        return Asked(client, question, wait_for, **fields)

    yield send
    client.destroy()


def test_an_answer_grows_token_by_token_and_ends_whole(start, ask, wait_for):
    start(ask_tokens=64)
    asked = ask('how many?')
    status, result = asked.result()
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (result.answer, result.tokens, result.message) == ('You asked: how many?', 4, '')
    wait_for(lambda: len(asked.feedback) == 4, 'the feedback')
    assert ''.join(message.delta for message in asked.feedback) == result.answer


def test_an_answer_names_the_stretch_of_camera_that_it_rests_on(start, camera, ask, wait_for):
    node, ears = start()
    source = camera(node)
    for second in range(2):
        source.seconds(second, 1)
        wait_for(lambda n=second: ears.done and ears.done[-1].sequence == n, 'a caption')
    _, result = ask('how many?').result()
    assert (result.seen_from.sec, result.seen_to.sec) == (T0, T0 + 2)
    assert result.text_tokens == 7
    assert not result.kept


def test_an_exchange_is_kept_in_memory_where_that_is_asked_for(start, camera, ask, wait_for):
    node, ears = start()
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    status, result = ask('how many?', into_memory=True).result()
    assert (status, result.kept) == (GoalStatus.STATUS_SUCCEEDED, True)
    assert node.cameras[0].stream.kept == [('how many?', 'You asked: how many?')]
    status, result = ask('and now?', into_memory=True).result()
    assert (status, result.kept) == (GoalStatus.STATUS_SUCCEEDED, False)  # answered all the same
    assert result.answer == 'You asked: and now?'
    assert result.message == 'not kept: an exchange is still in memory'


def test_a_round_that_becomes_ready_is_captioned_in_the_middle_of_an_answer(
    start, camera, ask, wait_for
):
    node, ears = start(FakeEngine(pause=0.02), ask_tokens=64)
    asked = ask('word ' * 200)
    wait_for(lambda: asked.feedback, 'the answer to begin')
    camera(node).seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    assert len(asked.feedback) < 202  # the answer was still being given
    assert ears.done[0].text == 'second 0'
    asked.goal.cancel_goal_async()
    assert asked.result()[0] == GoalStatus.STATUS_CANCELED


def test_a_cancelled_question_ends_at_its_next_token_and_another_may_be_asked(
    start, ask, wait_for
):
    start(FakeEngine(pause=0.02), ask_tokens=64)
    asked = ask('word ' * 500)
    wait_for(lambda: asked.feedback, 'the answer to begin')
    second = ask('me too?')
    status, result = second.result()
    assert status == GoalStatus.STATUS_ABORTED
    assert result.message.startswith('another question is being answered')
    asked.goal.cancel_goal_async()
    status, result = asked.result()
    assert status == GoalStatus.STATUS_CANCELED
    assert 0 < result.tokens < 500
    assert ask('now?').result()[1].answer == 'You asked: now?'


def test_without_room_for_questions_the_reason_is_told(start, ask):
    start(**{'ask.enabled': False})
    status, result = ask('how many?').result()
    assert status == GoalStatus.STATUS_ABORTED
    assert 'ask_tokens' in result.message


def test_a_node_that_is_deactivated_ends_the_answer(start, ask, wait_for):
    node, _ = start(FakeEngine(pause=0.02), ask_tokens=64)
    asked = ask('word ' * 500)
    wait_for(lambda: asked.feedback, 'the answer to begin')
    node.trigger_deactivate()
    assert asked.result()[0] == GoalStatus.STATUS_ABORTED
    assert ask('still there?').result()[1].message == 'the node is not active'


def test_the_real_engine_answers_from_what_the_camera_showed(graph, camera, ask, wait_for):
    ears = Ears(graph)
    values = {'model': str(CHECKPOINT), 'device': 'cpu', 'max_new_tokens': 4, 'ask_tokens': 48}
    node = Captioner(parameter_overrides=[Parameter(n, value=v) for n, v in values.items()])
    node.start()
    graph.add(node)
    assert 'after its first round' in ask('what?').result()[1].message
    source = camera(node)
    source.seconds(0, 1)
    wait_for(lambda: ears.done, 'a caption')
    status, result = ask('what?').result()
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert 0 < result.tokens < 48
    source.seconds(1, 1)
    wait_for(lambda: len(ears.done) == 2, 'the commentary to go on')
