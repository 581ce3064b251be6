# SPDX-License-Identifier: Apache-2.0
"""docs/security.md, held true: what the node never does, and what its SROS 2 policy allows."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('svlm.msg', reason='needs the messages of this package, built')

from rclpy.action import get_action_server_names_and_types_by_node  # noqa: E402
from svlm.srv import Snapshot  # noqa: E402

from asking import answer  # noqa: E402
from robot_support import Ears  # noqa: E402
from svlm_ros.synthetic_camera import SyntheticCamera  # noqa: E402

ROOT = Path(__file__).parents[2]
POLICY = ROOT / 'config' / 'sros2' / 'captioner.policy.xml'
SOURCES = sorted(
    path
    for folder in ('svlm_core', 'svlm_ros', 'scripts', 'launch')
    for path in (ROOT / folder).rglob('*')
    if path.is_file() and (path.suffix == '.py' or folder == 'scripts')
)
# What runs code that came from outside, or goes where nobody sent it; and the one file that may.
MODULES: dict[str, str | tuple[str, ...]] = {
    'pickle': '',
    'marshal': '',
    'shelve': '',
    'dill': '',
    'joblib': '',
    'requests': '',
    'urllib': 'svlm_core/endpoints/',  # a server that the user names
    'http': 'svlm_core/endpoints/',
    'ftplib': '',
    'smtplib': '',
    'httpx': '',
    'aiohttp': '',
    # Exams, and trainings of the laboratory, in processes of their own.
    'multiprocessing': (
        'svlm_core/evaluation/sitting.py',
        'svlm_core/training/lab.py',
        'svlm_core/workers.py',
    ),
    'pty': '',
    'huggingface_hub': 'svlm_core/hub.py',  # a model that is named org/name
    # The camera of a URL, for `svlm caption`; whether the cluster of an address is there.
    'socket': ('svlm_core/video/cameras.py', 'svlm_core/curation/cluster.py'),
    # The nodes of the demo; git, for the revision that a result was made with.
    'subprocess': ('svlm_ros/children.py', 'svlm_core/evaluation/identity.py'),
}
CALLS = {'eval', 'exec', 'compile', 'os.system', 'os.popen', 'torch.load', 'torch.hub.load'}
OPTIONS = {'shell', 'allow_pickle', 'trust_remote_code', 'weights_only'}


def risks(path: Path) -> Iterator[str]:
    """What a source file does that it must not."""
    here = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or '']
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in CALLS:
                yield ast.unparse(node.func)
            yield from (
                f'{option.arg}={ast.unparse(option.value)}'
                for option in node.keywords
                if option.arg in OPTIONS and ast.unparse(option.value) != 'False'
            )
        for name in names:
            allowed = MODULES.get(name.split('.')[0], here)
            if not allowed or not here.startswith(allowed):
                yield f'import {name}'


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_code_from_outside_or_talks_to_the_network(path: Path) -> None:
    assert not list(risks(path))


def test_a_file_that_did_would_be_seen(tmp_path: Path) -> None:
    guilty = tmp_path / 'guilty.py'
    guilty.write_text(
        'import pickle\nfrom urllib.request import urlopen\nimport subprocess\n'
        'def f():\n    os.system("ls")\n    eval("1")\n    model.eval()\n'
        '    numpy.load(x, allow_pickle=False)\n    numpy.load(x, allow_pickle=True)\n'
    )
    assert set(risks(guilty)) == {
        'import pickle',
        'import urllib.request',
        'import subprocess',
        'os.system',
        'eval',
        'allow_pickle=True',
    }


def test_a_captioner_at_work_opens_no_socket_starts_no_process_and_leaves_only_its_memory(
    graph, wait_for, tmp_path: Path
) -> None:
    report, memory = tmp_path / 'report', tmp_path / 'memory'
    ears = Ears(graph)
    graph.add(SyntheticCamera()).start()
    ros = ['--ros-args', '-p', f'memory_folder:={memory}', '-p', 'max_vision_tokens:=16']
    command = [sys.executable, Path(__file__).with_name('watched_captioner.py'), report, *ros]
    environment = os.environ | {'PYTHONDONTWRITEBYTECODE': '1', 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen([*map(str, command)], env=environment)
    try:
        wait_for(lambda: ears.done, 'a caption', 60)
        client = ears.node.create_client(Snapshot, '/captioner/save_memory')
        request = Snapshot.Request(name='noon')
        saved = answer(wait_for, client.service_is_ready, lambda: client.call_async(request))
        assert saved.success, saved.message
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert (memory / 'noon.safetensors').is_file()
    events = [json.loads(line) for line in report.read_text().splitlines()]
    written = {Path(arguments[0]) for name, arguments in events if name == 'open'}
    assert [name for name, _ in events if name != 'open'] == []
    left = {path for path in written if path.exists()}  # a file in /tmp may come and go
    assert left <= set(memory.iterdir())


def policy() -> dict[str, set[str]]:
    """What the policy allows the node at /captioner: kinds of things, with absolute names."""
    [profile] = ElementTree.parse(POLICY).getroot().iter('profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', 'captioner')
    allowed: dict[str, set[str]] = {}
    for group in profile:
        [(verb, permission)] = group.attrib.items()
        assert permission == 'ALLOW'
        for entry in group:
            name = str(entry.text)
            name = name.replace('~', '/captioner', 1) if name.startswith('~') else name
            name = name if name.startswith('/') else f'/{name}'
            assert name not in allowed.setdefault(f'{verb} {group.tag}', set()), 'once each'
            allowed[f'{verb} {group.tag}'].add(name)
    return allowed


def in_use(node) -> dict[str, set[str]]:
    """The same, as the graph sees a running node."""
    asked = (node.get_name(), node.get_namespace())
    found = {
        'publish topics': node.get_publisher_names_and_types_by_node(*asked),
        'subscribe topics': node.get_subscriber_names_and_types_by_node(*asked),
        'reply services': node.get_service_names_and_types_by_node(*asked),
        'request services': node.get_client_names_and_types_by_node(*asked),
        'execute actions': get_action_server_names_and_types_by_node(node, *asked),
    }
    return {
        kind: {name for name, _ in entries if '/_action/' not in name}
        for kind, entries in found.items()
    }


def test_the_policy_allows_what_a_running_node_does_and_no_more(start, wait_for) -> None:
    start()
    node, _ = start(transport='compressed', use_sim_time=True)  # one of the same name beside it
    allowed = policy()
    wait_for(  # the graph is told of a node bit by bit
        lambda: all(names <= in_use(node)[kind] for kind, names in allowed.items()),
        f'all of {POLICY.name}',
        60,
    )
    assert {kind: names for kind, names in in_use(node).items() if names} == allowed
