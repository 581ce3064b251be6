# SPDX-License-Identifier: Apache-2.0
"""Alerts on a real ROS graph: what is said, or answered, against the operator's rules."""

from __future__ import annotations

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.parameter import Parameter  # noqa: E402
from svlm.msg import Caption  # noqa: E402

from ros_support import FakeEngine  # noqa: E402
from svlm_core.errors import SettingsError  # noqa: E402


class Says(FakeEngine):
    """Comments with `said` by the number of the round, and answers with `answers` in turn."""

    def __init__(self, said, answers=()):
        super().__init__(lambda number, frames: said[min(number, len(said) - 1)])
        self.asked, self._answers = [], iter(answers)

    def open(self, settings):
        stream = super().open(settings)

        def answer(question):
            self.asked.append(question)
            return next(self._answers, 'No.')

        stream.answer = answer
        return stream


@pytest.fixture
def guarded(graph, start, camera, wait_for):
    """A captioner with alerts; gives its camera, its ears, and the list of alerts."""

    def make(engine, *rules, **values):
        node, ears = start(engine, alerts=list(rules), **values)
        alerts = []
        other = graph.add(rclpy.create_node('guard'))
        other.create_subscription(Caption, 'captioner/alert', alerts.append, 10)
        wait_for(lambda: node.count_subscribers('/captioner/alert'), 'the guard')
        source = camera(node)

        def second(number):
            source.seconds(number, 1)
            wait_for(lambda: ears.done and ears.done[-1].sequence == number, 'a caption')

        return node, second, alerts

    return make


def test_words_that_meet_a_rule_are_an_alert_of_their_second(guarded, wait_for):
    engine = Says(['All is calm.', 'Smoke rises behind the shelf.'])
    _, second, alerts = guarded(engine, 'fire: smoke|flames', 'door: open door')
    second(0)
    second(1)
    wait_for(lambda: alerts, 'the alert')
    [alert] = alerts
    assert (alert.kind, alert.sequence, alert.camera) == (Caption.ALERT, 1, '/image')
    assert alert.text == 'fire: Smoke rises behind the shelf.'
    assert alert.header.frame_id == 'front_optical'
    assert alert.header.stamp.nanosec == 500_000_000
    assert alert.done


def test_the_same_alert_comes_again_only_after_its_period(guarded, wait_for):
    engine = Says(['Smoke.'])
    _, second, alerts = guarded(engine, 'fire: smoke', 'any: .', alert_period=3.0)
    for number in range(5):
        second(number)
    wait_for(lambda: len(alerts) == 4, 'the alerts')
    assert [(a.text, a.sequence) for a in alerts] == [
        ('fire: Smoke.', 0),
        ('any: Smoke.', 0),
        ('fire: Smoke.', 3),
        ('any: Smoke.', 3),
    ]


def test_a_question_is_asked_behind_a_caption_and_yes_is_an_alert(guarded, wait_for):
    engine = Says(['A person walks.'], answers=['No, nobody.', 'Yes, at the door.'])
    _, second, alerts = guarded(engine, 'person: Is a person near the door?')
    second(0)
    wait_for(lambda: len(engine.asked) == 1, 'the first question')
    second(1)
    wait_for(lambda: alerts, 'the alert')
    assert engine.asked[0].startswith('Is a person near the door?')
    assert alerts[0].text == 'person: Yes, at the door.'
    assert alerts[0].sequence == 1


def test_rules_may_change_while_the_node_runs_and_bad_ones_are_refused(guarded, wait_for):
    node, second, alerts = guarded(Says(['Smoke.']), 'door: open')
    second(0)
    [refused] = node.set_parameters([Parameter('alerts', value=['fire: (smoke'])])
    assert not refused.successful
    assert 'fire' in refused.reason
    [taken] = node.set_parameters([Parameter('alerts', value=['fire: smoke'])])
    assert taken.successful
    second(1)
    wait_for(lambda: alerts, 'the alert')
    assert alerts[0].sequence == 1


def test_questions_as_rules_need_room_for_questions(start):
    with pytest.raises(SettingsError, match=r'ask\.enabled'):
        start(alerts=['person: Is anybody there?'], **{'ask.enabled': False})
