# SPDX-License-Identifier: Apache-2.0
"""Parameters change while the node runs: all that was asked for, or nothing and a reason."""

from __future__ import annotations

from threading import Thread

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')

from rcl_interfaces.srv import SetParametersAtomically  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from svlm_ros.live import Live  # noqa: E402
from svlm_ros.parameters import declare  # noqa: E402


@pytest.fixture
def running(graph):
    """A node whose parameters are live, and the names of each change that it was told of."""

    def start(**values):
        given = {'max_vision_tokens': 768, **values}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        node = graph.add(rclpy.create_node('captioner', parameter_overrides=overrides))
        told = []
        live = Live(node, *declare(node), told.append)
        return node, live, told

    return start


def change(node, **values):
    """Set one parameter after the other; the reasons of those that were refused."""
    results = node.set_parameters([Parameter(name, value=v) for name, v in values.items()])
    return [result.reason for result in results if not result.successful]


def together(node, **values):
    """Set all parameters or none; the reason where it is none."""
    result = node.set_parameters_atomically(
        [Parameter(name, value=value) for name, value in values.items()]
    )
    return '' if result.successful else result.reason


def test_a_change_is_in_force_at_once_and_told_by_name(running):
    node, live, told = running()
    before = live.now
    assert not change(node, publish_partial=False)
    assert not live.now.node.publish_partial
    assert before.node.publish_partial  # who read it before has it as it was
    assert told == [{'publish_partial'}]


def test_settings_of_the_stream_and_its_sampling_change_too(running):
    node, live, told = running()
    assert not together(node, max_new_tokens=8, temperature=0.5, top_k=1, alert_period=3)
    assert live.now.stream.max_new_tokens == 8
    assert (live.now.stream.sampling.temperature, live.now.stream.sampling.top_k) == (0.5, 1)
    assert live.now.node.alert_period == 3.0
    assert told == [{'max_new_tokens', 'temperature', 'top_k', 'alert_period'}]


def test_a_value_that_stays_is_not_told(running):
    node, _, told = running()
    assert not together(node, top_k=50, top_p=0.5)
    assert told == [{'top_p'}]
    assert not change(node, top_p=0.5)
    assert len(told) == 1


def test_one_bad_value_and_nothing_of_the_request_holds(running):
    node, live, told = running()
    before = live.now
    assert together(node, top_k=3, shed='frames') == (
        "shed='frames' is unknown: choose one of skip, tokens, resolution"
    )
    assert live.now is before
    assert not told
    assert node.get_parameter('top_k').value == 50


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'temperature': 'warm'}, "temperature='warm' must be a number"),
        ({'temperature': 11.0}, 'temperature out of range'),
        ({'temperature': 11}, 'temperature=11.0 is out of range'),
        ({'top_k': 'many'}, 'Wrong parameter type'),
        ({'repetition_penalty': 0}, 'repetition_penalty=0.0 is out of range'),
        ({'alerts': ['smoke']}, "alerts: 'smoke' is none"),
        ({'alerts': ['fire: (']}, "alerts: 'fire: (' has no valid regular expression"),
        ({'alerts': 'fire: smoke'}, 'must be a list of texts'),
        ({'max_new_tokens': 21}, 'more than the 20 that memory was reserved for at start'),
        ({'max_vision_tokens': 1024}, 'more than the 768 that memory was reserved for at start'),
        ({'max_new_tokens': 0}, 'max_new_tokens out of range'),
        ({'query': 'What now?'}, 'read-only'),
        ({'cameras': ['front']}, 'read-only'),
        ({'seed': 3}, 'read-only'),
    ],
)
def test_a_bad_change_is_refused_in_one_line(running, values, reason):
    node, live, told = running()
    before = live.now
    [found] = change(node, **values)
    assert reason in found
    assert '\n' not in found
    assert live.now is before
    assert not told


def test_limits_may_be_lowered_and_raised_again_to_what_they_were_at_start(running):
    node, live, _ = running(max_new_tokens=12)
    assert not change(node, max_new_tokens=4, max_vision_tokens=100)
    assert not change(node, max_new_tokens=12, max_vision_tokens=768)
    assert change(node, max_new_tokens=13)
    assert live.now.stream.max_new_tokens == 12


def test_frames_cannot_be_held_below_the_size_that_they_are_enlarged_to(running):
    node, _, _ = running(preset='reference')
    [reason] = change(node, max_vision_tokens=99)
    assert reason == 'max_vision_tokens=99 is less than min_vision_tokens=100'


@pytest.mark.parametrize('empty', [[], ['']])
def test_a_list_may_be_emptied(running, empty):
    node, live, told = running(alerts=['fire: smoke'])
    assert not change(node, alerts=empty)
    assert live.now.node.alerts == ()
    assert not change(node, alerts=['door: is it open?'])
    assert live.now.node.alerts == ('door: is it open?',)
    assert told == [{'alerts'}] * 2


@pytest.mark.parametrize('name', ['alerts', 'top_p', 'top_k'])
def test_no_parameter_can_be_deleted(running, name):
    node, _, _ = running()
    [result] = node.set_parameters([Parameter(name, Parameter.Type.NOT_SET)])
    assert not result.successful
    assert node.has_parameter(name)


def test_parameters_of_others_are_none_of_its_business(running):
    node, live, told = running()
    before = live.now
    node.declare_parameter('qos_overrides./image.subscription.depth', 5)
    assert not change(node, use_sim_time=True)
    assert live.now == before
    assert not told


def test_what_another_callback_refuses_does_not_hold(running):
    from rcl_interfaces.msg import SetParametersResult

    node, live, told = running()
    before = live.now
    node._on_set_parameters_callbacks.append(  # behind the one of Live
        lambda parameters: SetParametersResult(successful=False, reason='not today')
    )
    assert change(node, top_k=3) == ['not today']
    assert live.now is before
    assert not told


def test_a_request_over_ros_holds_as_a_whole_or_not_at_all(running, graph, wait_for):
    _, live, _ = running()
    asker = graph.add(rclpy.create_node('asker'))
    client = asker.create_client(SetParametersAtomically, 'captioner/set_parameters_atomically')
    assert client.wait_for_service(10)

    def request(**values):
        messages = [Parameter(name, value=v).to_parameter_msg() for name, v in values.items()]
        sent = client.call_async(SetParametersAtomically.Request(parameters=messages))
        wait_for(sent.done, 'the answer')
        return sent.result().result

    assert request(shed='tokens', max_frame_age=0.5).successful
    refused = request(shed='resolution', alerts=['?'])
    assert not refused.successful
    assert refused.reason.startswith("alerts: '?' is none")
    assert (live.now.node.shed, live.now.node.max_frame_age) == ('tokens', 0.5)


def test_changes_from_many_threads_all_hold(running):
    node, live, told = running()
    names = ['warn_frame_age', 'error_frame_age', 'warn_latency', 'error_latency']

    def work(name):
        for value in range(50):
            change(node, **{name: float(value)})

    threads = [Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(getattr(live.now.node, name) == 49.0 for name in names)
    assert len(told) == 4 * 50
