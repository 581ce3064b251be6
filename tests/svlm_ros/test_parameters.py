# SPDX-License-Identifier: Apache-2.0
"""Parameters are read from the engine's own settings, described, ranged, and refused in a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')

import yaml  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from svlm_core.card import suited  # noqa: E402
from svlm_core.config import PRESETS, Sampling, StreamSettings, preset  # noqa: E402
from svlm_core.errors import SettingsError  # noqa: E402
from svlm_ros.parameters import ASK_TOKENS, LIVE, declare, table  # noqa: E402

CONFIG = Path(__file__).parents[2] / 'config' / 'captioner.yaml'


@pytest.fixture
def declared(graph):
    """Read the parameters of a fresh node that was started with these values or arguments."""
    count = 0

    def read(*arguments, **values):
        nonlocal count
        count += 1
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = rclpy.create_node(
            f'node{count}',
            cli_args=['--ros-args', *arguments] if arguments else [],
            parameter_overrides=overrides,
        )
        return (*declare(graph.add(node)), node)

    return read


@pytest.mark.parametrize('name', PRESETS)
def test_without_overrides_a_node_has_the_settings_of_its_preset(declared, name):
    node_settings, settings, _ = declared(preset=name)
    assert settings == suited(name, None, ask_tokens=ASK_TOKENS)
    assert node_settings.preset == name


def test_a_node_takes_over_what_its_model_was_trained_with_unless_it_is_told_otherwise(
    declared, tmp_path
):
    (tmp_path / 'svlm.json').write_text('{"stream": {"text_sink": 33, "text_window": 44}}')
    _, settings, node = declared(model=str(tmp_path), text_window=55)
    assert (settings.text_sink, settings.text_window) == (33, 55)
    assert node.get_parameter('text_sink').value == 33
    _, published, _ = declared(model=str(tmp_path), preset='reference')
    assert published == preset('reference', ask_tokens=ASK_TOKENS)


def test_a_node_reserves_a_second_memory_unless_it_is_told_not_to(declared):
    assert declared()[1].ask_tokens == 256
    assert declared(ask_tokens=64)[1].ask_tokens == 64
    assert declared('-p', 'ask.enabled:=false')[1].ask_tokens == 0
    assert declared(**{'ask.enabled': False, 'ask_tokens': 64})[1].ask_tokens == 0


def test_every_setting_of_a_stream_is_a_parameter_but_the_quirks_of_a_preset():
    settings = {*StreamSettings.__dataclass_fields__, *Sampling.__dataclass_fields__}
    missing = settings - {row.name for row in table()}
    assert missing == {'sampling', 'published_quirks'}


def test_a_list_is_read_as_it_is_written(declared):
    settings, _, node = declared(
        '-p', 'cameras:=[front, rear/left]', '-p', "alerts:=['fire: smoke', 'door: is it open?']"
    )
    assert settings.cameras == ('front', 'rear/left')
    assert settings.alerts == ('fire: smoke', 'door: is it open?')
    assert node.get_parameter('cameras').value == ['front', 'rear/left']


@pytest.mark.parametrize('empty', ['[]', "['']", "''", None])
def test_an_empty_list_may_be_written_in_any_way(declared, empty):
    arguments = [] if empty is None else ['-p', f'cameras:={empty}', '-p', f'alerts:={empty}']
    settings, _, node = declared(*arguments)
    assert (settings.cameras, settings.alerts) == ((), ())
    for name in ('cameras', 'alerts'):
        parameter = node.get_parameter(name)
        assert (parameter.type_, parameter.value) == (Parameter.Type.STRING_ARRAY, [''])


def test_an_empty_list_in_a_file_is_none_too(declared, tmp_path):
    file = tmp_path / 'given.yaml'
    file.write_text('/**:\n  ros__parameters:\n    cameras: []\n    ask:\n      enabled: false\n')
    settings, _, _ = declared('--params-file', str(file))
    assert settings.cameras == ()
    assert not settings.ask_enabled


def test_values_reach_the_settings(declared):
    node_settings, settings, _ = declared(
        query='What moves?', vision_window=4.0, text_sink=0, seed=7, temperature=0.0, camera='left'
    )
    assert (settings.query, settings.vision_window, settings.text_sink) == ('What moves?', 4, 0)
    assert (settings.sampling.seed, settings.sampling.temperature) == (7, 0)
    assert node_settings.camera == 'left'


def test_minus_one_is_no_limit(declared):
    _, settings, _ = declared(vision_window=-1.0, text_window=-1, text_rounds=-1, capacity=500)
    assert (settings.vision_window, settings.text_window, settings.text_rounds) == (None,) * 3
    assert settings.capacity == 500


def test_a_whole_number_will_do_for_seconds_and_rates(declared):
    _, settings, _ = declared(fps=4, vision_window=8, frame_timeout=2)
    assert (settings.fps, settings.vision_window) == (4.0, 8.0)


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'preset': 'robots'}, "no preset 'robots': choose one of robot, reference"),
        ({'policy': 'streams'}, "policy='streams' is unknown: choose one of streaming"),
        ({'text_sink': -2}, 'text_sink'),
        ({'max_new_tokens': 5000}, 'max_new_tokens'),
        ({'max_new_tokens': 2.5}, 'max_new_tokens'),
        ({'vision_window': -0.5}, 'vision_window=-0.5 is out of range'),
        ({'vision_window': 'all'}, "vision_window='all' must be a number"),
        ({'fps': True}, 'fps=True must be a number'),
        ({'fps': 0.01}, 'fps'),
        ({'fps': 2.5}, 'choose them so that a round has a whole number of frames'),
        ({'fps': float('inf')}, 'fps'),
        ({'temperature': float('nan')}, 'temperature'),
        ({'capacity': 3}, 'capacity=3 is out of range'),
        ({'query': 3}, 'query'),
        ({'frame_timeout': 0}, 'frame_timeout=0'),
        ({'cameras': [1, 2]}, 'cameras=[1, 2] must be a list of texts'),
        ({'cameras': 'front'}, "cameras='front' must be a list of texts"),
        ({'cameras': ['front', 'a b']}, "cameras: 'a b' cannot be part of a topic"),
        ({'cameras': ['/front']}, "cameras: '/front' cannot be part of a topic"),
        ({'cameras': ['a', 'b', 'a']}, 'cameras: a name is there twice in a, b, a'),
        ({'cameras': ['a'], 'camera': 'b'}, 'camera and cameras are both given'),
        ({'alerts': ['smoke']}, "alerts: 'smoke' is none"),
        ({'alerts': ['fire: (']}, "alerts: 'fire: (' has no valid regular expression"),
        ({'shed': 'frames'}, "shed='frames' is unknown: choose one of skip, tokens, resolution"),
        ({'mailbox': 'all'}, "mailbox='all' is unknown: choose one of newest, lossless"),
        ({'lossless_rounds': 0}, 'lossless_rounds'),
        ({'max_frame_age': -1.0}, 'max_frame_age'),
        ({'ask.enabled': 1}, 'ask.enabled'),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(declared, values, reason):
    with pytest.raises(SettingsError) as error:
        declared(**values)
    assert reason in str(error.value)
    assert '\n' not in str(error.value)


def test_a_number_without_a_value_is_refused(declared):
    with pytest.raises(SettingsError, match='parameter seed has no value'):
        declared('-p', 'seed:=[]')


def test_every_parameter_is_described_and_ranged_where_it_is_a_number(declared):
    _, _, node = declared()
    for row in table():
        descriptor = node.describe_parameter(row.name)
        assert row.help in descriptor.description
        assert all(choice in descriptor.description for choice in row.choices)
        assert descriptor.read_only is not row.live
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert len(ranges) == (row.kind in (int, float)), row.name


def test_what_may_change_while_the_node_runs_are_parameters():
    assert {row.field for row in table() if row.live} == LIVE


def test_a_running_node_refuses_a_change_with_a_reason(declared):
    _, settings, node = declared()
    [result] = node.set_parameters([Parameter('query', value='Something else?')])
    assert not result.successful
    assert 'read-only' in result.reason
    assert node.get_parameter('query').value == settings.query


def test_the_shipped_file_names_every_parameter_with_its_default():
    lines = CONFIG.read_text(encoding='utf-8').splitlines()
    start = next(i for i, line in enumerate(lines) if 'ros__parameters' in line)
    options = [re.sub('^    # ', '    ', line) for line in lines[start:] if ': ' in line]
    values = yaml.safe_load('\n'.join(['ros__parameters:', *options]))['ros__parameters']
    del values['qos_overrides./image.subscription.reliability']
    assert values == {row.name: row.default for row in table()}


def test_the_shipped_file_is_good_as_it_is(declared):
    values = yaml.safe_load(CONFIG.read_text(encoding='utf-8'))['/**']['ros__parameters']
    assert declared(**values)[1] == suited('robot', None, ask_tokens=ASK_TOKENS)
