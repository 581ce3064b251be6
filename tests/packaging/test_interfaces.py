# SPDX-License-Identifier: Apache-2.0
"""The interfaces are what bags expect, say what they mean, and are built as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import svlm.action
import svlm.msg
import svlm.srv
from rclpy.serialization import deserialize_message, serialize_message

ROOT = Path(__file__).parents[2]
MESSAGES = sorted((ROOT / 'msg').glob('*.msg'))
ACTIONS = sorted((ROOT / 'action').glob('*.action'))
SERVICES = sorted((ROOT / 'srv').glob('*.srv'))
IDL = {'bool': 'boolean', 'float32': 'float'}  # other names that generated code has for types
# Frozen: a change of this table makes every bag recorded before it unreadable.
CAPTION = [
    ('uint8', 'CAPTION=0'),
    ('uint8', 'ANSWER=1'),
    ('uint8', 'ALERT=2'),
    ('uint8', 'SILENCE=3'),
    ('std_msgs/Header', 'header'),
    ('string', 'camera'),
    ('builtin_interfaces/Time', 'window_start'),
    ('uint64', 'sequence'),
    ('uint8', 'kind'),
    ('string', 'text'),
    ('string', 'delta'),
    ('bool', 'done'),
    ('bool', 'late'),
    ('uint32', 'frames_used'),
    ('uint32', 'frames_repeated'),
    ('uint32', 'frames_dropped'),
    ('uint32', 'tokens'),
    ('float32', 'latency'),
]


def definition(path: Path) -> list[tuple[str, str, str]]:
    """Type, name and comment of every line of a message file that defines something."""
    found = []
    for line in path.read_text(encoding='utf-8').splitlines():
        code, _, comment = line.partition('#')
        if code.strip() and code.strip() != '---':
            kind, name = code.split(maxsplit=1)
            found.append((kind, name.strip(), comment.strip()))
    return found


def idl(kind: str) -> str:
    """A type as the generated code names it."""
    plain = kind.removesuffix('[]')
    name = IDL.get(plain, plain)
    return name if plain == kind else f'sequence<{name}>'


def test_caption_has_the_fields_that_bags_were_recorded_with() -> None:
    found = [(kind, name) for kind, name, _ in definition(ROOT / 'msg' / 'Caption.msg')]
    assert found == CAPTION


@pytest.mark.parametrize('path', MESSAGES, ids=lambda path: path.stem)
def test_every_field_says_what_it_means_and_the_build_is_of_this_definition(path: Path) -> None:
    fields = definition(path)
    assert all(comment for _, _, comment in fields)
    plain = {name: idl(kind) for kind, name, _ in fields if '=' not in name}
    assert getattr(svlm.msg, path.stem).get_fields_and_field_types() == plain


@pytest.mark.parametrize('path', ACTIONS, ids=lambda path: path.stem)
def test_every_part_of_an_action_says_what_it_means_and_is_built(path: Path) -> None:
    fields = definition(path)
    assert all(comment for _, _, comment in fields)
    built = getattr(svlm.action, path.stem)
    assert {name: idl(kind) for kind, name, _ in fields} == {
        **built.Goal.get_fields_and_field_types(),
        **built.Result.get_fields_and_field_types(),
        **built.Feedback.get_fields_and_field_types(),
    }


@pytest.mark.parametrize('path', SERVICES, ids=lambda path: path.stem)
def test_every_part_of_a_service_says_what_it_means_and_is_built(path: Path) -> None:
    fields = definition(path)
    assert all(comment for _, _, comment in fields)
    built = getattr(svlm.srv, path.stem)
    assert {name: idl(kind) for kind, name, _ in fields} == {
        **built.Request.get_fields_and_field_types(),
        **built.Response.get_fields_and_field_types(),
    }


@pytest.mark.parametrize('path', [*ACTIONS, *MESSAGES, *SERVICES], ids=lambda path: path.stem)
def test_cmake_builds_the_interface(path: Path) -> None:
    generated = re.search(
        r'rosidl_generate_interfaces\((.*?)\)', (ROOT / 'CMakeLists.txt').read_text(), re.DOTALL
    )
    assert generated
    assert f'{path.parent.name}/{path.name}' in generated[1].split()


def test_a_caption_survives_the_wire() -> None:
    sent = svlm.msg.Caption(
        text='Ein Männchen läuft 🚶', kind=svlm.msg.Caption.ALERT, latency=0.25
    )
    sent.header.stamp.sec = 2**31 - 1
    sent.sequence = 2**63
    assert deserialize_message(serialize_message(sent), svlm.msg.Caption) == sent
