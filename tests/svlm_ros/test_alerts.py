# SPDX-License-Identifier: Apache-2.0
"""An operator is told when a caption or an answer meets a condition, and not too often."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from svlm_core.errors import SettingsError
from svlm_ros.alerts import Alerts, parse


def names(rules):
    return [rule.name for rule in rules]


def test_a_pattern_is_searched_anywhere_in_a_caption_whatever_the_case():
    alerts = Alerts(parse(['fire: smoke|flames', 'person: someone']), 10)
    assert names(alerts.heard('Thick Smoke rises.', 0)) == ['fire']
    assert names(alerts.heard('A box moves.', 20)) == []


def test_a_caption_may_meet_several():
    alerts = Alerts(parse(['fire: smoke', 'any: .']), 10)
    assert names(alerts.heard('smoke', 0)) == ['fire', 'any']
    assert alerts.heard('', 100) == []


@pytest.mark.parametrize(
    ('condition', 'asked'),
    [
        ('is the door open?', True),
        ('Is ratio 3:2 kept?', True),
        ('people?', False),  # one word: a pattern, in which the last letter may be missing
        ('/is the door open?/', False),
        ('a person (falls|lies)', False),
        ('/', False),
        ('//', False),
    ],
)
def test_a_question_has_a_blank_and_a_question_mark_and_no_slashes(condition, asked):
    [rule] = parse([f'door: {condition}'])
    assert (rule.pattern is None) == asked
    assert rule.condition == condition
    assert names(Alerts((rule,), 10).due(0)) == ['door'] * asked


def test_slashes_are_no_part_of_the_expression():
    alerts = Alerts(parse(['door: /open doors?/']), 0)
    assert alerts.heard('two Open Door frames', 0)
    assert not alerts.heard('/open/', 1)


def test_the_first_colon_ends_the_name_and_blanks_around_are_nothing():
    [rule] = parse(['  near gate :  time: \\d+  '])
    assert (rule.name, rule.condition) == ('near gate', 'time: \\d+')
    assert rule.pattern.search('Time: 12')


def test_the_model_is_asked_for_yes_or_no():
    [rule] = parse(['door: is the door open?'])
    assert rule.question == 'is the door open? Answer yes or no.'


@pytest.mark.parametrize(
    ('answer', 'met'),
    [
        ('Yes.', True),
        (' **yes**, it is', True),
        ('YES', True),
        ('No, yes was wrong', False),
        ('Yesterday', False),
        ('', False),
    ],
)
def test_an_answer_that_begins_with_yes_is_an_alert(answer, met):
    rules = parse(['door: is the door open?'])
    assert Alerts(rules, 10).answered(rules[0], answer, 0) is met


def test_one_name_is_not_told_again_before_its_period_is_over():
    alerts = Alerts(parse(['fire: smoke', 'person: someone']), 10)
    assert names(alerts.heard('smoke', 5)) == ['fire']
    assert names(alerts.heard('smoke, someone', 14.9)) == ['person']
    assert names(alerts.heard('smoke, someone', 15)) == ['fire']


def test_a_question_that_was_met_rests_and_one_that_was_not_is_asked_again():
    rules = parse(['door: is the door open?', 'gate: is the gate open?'])
    alerts = Alerts(rules, 10)
    assert alerts.answered(rules[0], 'yes', 0)
    assert not alerts.answered(rules[1], 'no', 0)
    assert names(alerts.due(1)) == ['gate']
    assert names(alerts.due(10)) == ['door', 'gate']


def test_where_one_question_at_a_time_has_room_each_has_its_turn():
    rules = parse([f'{name}: is {name} there?' for name in 'abc'])
    alerts, order = Alerts(rules, 10), []
    for now in (0, 1, 2, 500, 3, 4, 5):  # at 3 the stream has begun anew
        rule = alerts.due(now)[0]
        order.append(rule.name)
        alerts.answered(rule, 'no', now)
    assert order == [*'abcabca']


def test_a_stream_that_began_anew_does_not_wait_for_its_old_time():
    alerts = Alerts(parse(['fire: smoke']), 10)
    assert alerts.heard('smoke', 5000)
    assert alerts.heard('smoke', 3)
    assert not alerts.heard('smoke', 4)


def test_other_rules_hold_at_once_and_a_name_that_stays_keeps_its_rest():
    alerts = Alerts(parse(['fire: smoke', 'door: is the door open?']), 10)
    [door] = alerts.due(0)
    assert alerts.heard('smoke', 0)
    alerts.change(parse(['fire: flames', 'person: someone']), 10)
    assert names(alerts.heard('someone sees flames and smoke', 5)) == ['person']
    assert not alerts.answered(door, 'yes', 6)
    alerts.change(parse(['fire: flames']), 4)
    assert names(alerts.heard('flames', 7)) == ['fire']


@pytest.mark.parametrize(
    ('entries', 'reason'),
    [
        (['is there smoke?'], "'is there smoke?' is none: write a name, a colon"),
        ([': smoke'], "': smoke' is none"),
        (['fire: '], "'fire: ' is none"),
        (['fire: smoke', 'fire : flames'], "the name 'fire' is there twice"),
        (['fire: (smoke'], "'fire: (smoke' has no valid regular expression (missing )"),
        (['fire: /[a-/'], "'fire: /[a-/' has no valid regular expression"),
        (['fire: a{99999999999}'], 'has no valid regular expression'),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line_that_names_it(entries, reason):
    with pytest.raises(SettingsError) as caught:
        parse(entries)
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)
