# SPDX-License-Identifier: Apache-2.0
"""The Foxglove layout shows what the node publishes: its topics and fields exist."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

FILE = Path(__file__).parents[2] / 'config' / 'foxglove_layout.json'
LAYOUT = json.loads(FILE.read_text(encoding='utf-8'))
# Of the panels of Foxglove: where each names what it shows.
PANELS = {
    'DiagnosticSummary': 'topicToRender',
    'Image': 'imageMode',
    'Indicator': 'path',
    'Plot': 'paths',
    'RawMessages': 'topicPath',
    'RosOut': 'topicToRender',
    'StateTransitions': 'paths',
}
MESSAGE_PATH = re.compile(r'(?P<topic>/[a-z_/]+)(\{(?P<filter>\w+)==\w+\})?(?P<fields>(\.@?\w+)*)')


def placed(node: Any) -> Iterator[str]:
    """The panels of a layout, from the tree of splits."""
    if isinstance(node, str):
        yield node
    else:
        assert set(node) == {'direction', 'first', 'second', 'splitPercentage'}
        assert node['direction'] in ('row', 'column')
        assert 0 < node['splitPercentage'] < 100
        yield from placed(node['first'])
        yield from placed(node['second'])


def shown(panel: str, config: dict[str, Any]) -> list[str]:
    """The message paths that a panel shows."""
    what = config[PANELS[panel.split('!')[0]]]
    if isinstance(what, dict):
        return [what['imageTopic']]
    if isinstance(what, list):
        return [path['value'] for path in what]
    return [what]


PATHS = sorted({path for panel in LAYOUT['configById'].items() for path in shown(*panel)})


def test_the_file_is_a_layout_with_every_panel_in_its_place() -> None:
    assert set(LAYOUT) == {
        'configById',
        'globalVariables',
        'layout',
        'playbackConfig',
        'userNodes',
    }
    panels = list(placed(LAYOUT['layout']))
    assert len(panels) == len(set(panels))
    assert set(panels) == set(LAYOUT['configById'])
    assert {panel.split('!')[0] for panel in panels} == set(PANELS)


def test_what_an_operator_looks_for_is_there() -> None:
    wanted = '/captioner/debug_image /captioner/last_caption.text /captioner/status.frame_age'
    assert {*wanted.split(), '/captioner/caption{done==true}.latency', '/diagnostics'} <= set(
        PATHS
    )


def test_every_topic_and_field_is_one_of_a_running_node(start, wait_for) -> None:
    node, _ = start()
    matches = {path: MESSAGE_PATH.fullmatch(path) for path in PATHS}
    assert all(matches.values())

    def topics() -> dict[str, list[str]]:
        return dict(node.get_publisher_names_and_types_by_node('captioner', '/'))

    wanted = {match['topic'] for match in matches.values()}
    wait_for(lambda: wanted <= set(topics()), f'all of {wanted}')
    for path, match in matches.items():
        [kind] = topics()[match['topic']]
        package, _, name = kind.split('/')
        message = getattr(importlib.import_module(f'{package}.msg'), name)()
        if match['filter']:
            assert isinstance(getattr(message, match['filter']), bool), path
        for field in filter(None, match['fields'].split('.')):
            if not field.startswith('@'):  # a function, of the value before it
                message = getattr(message, field)
