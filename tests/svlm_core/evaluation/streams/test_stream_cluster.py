# SPDX-License-Identifier: Apache-2.0
"""A cluster captions a benchmark as one machine does. Needs Ray: pip install svlm[cluster]."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clerk import Clerk
from games import inf_streams
from svlm_core import cli
from svlm_core.curation import cluster

with_ray = pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='no Ray here')


@pytest.fixture
def caption(tmp_path: Path, monkeypatch) -> Callable[..., int]:
    """`svlm streams run` on two games, into a folder of the test."""
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))
    data = inf_streams(tmp_path / 'data')

    def run(output: str, *words: str) -> int:
        place = '--data', str(data), '--output', str(tmp_path / output), '--begin', '10'
        cut = '--segment', '5', '--device', 'cpu', '--max-new-tokens', '2'
        return cli.main(['streams', 'run', 'inf-streams', *place, *cut, *words])

    return run


def left(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_workers_hand_over_is_written_as_one_machine_writes_it(
    caption, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cluster, 'Cluster', Clerk)
    (tmp_path / 'data' / 'soccer' / 'b.mp4').rename(tmp_path / 'away.mp4')
    assert caption('alone') == caption('together', '--ray', 'clerk') == 1
    told = [line for line in capsys.readouterr().err.split('\n') if 'not captioned' in line]
    assert len(told) == 2
    assert told[0] == told[1]
    (tmp_path / 'away.mp4').rename(tmp_path / 'data' / 'soccer' / 'b.mp4')
    assert caption('alone') == caption('together', '--ray', 'clerk') == 0
    assert left(tmp_path / 'together') == left(tmp_path / 'alone')
    assert 'captions.jsonl' in left(tmp_path / 'together')


@with_ray
def test_a_local_cluster_leaves_the_same_bytes_as_one_machine(caption, tmp_path):
    assert caption('alone') == 0
    assert caption('together', '--ray', 'local') == 0
    assert left(tmp_path / 'together') == left(tmp_path / 'alone')


def test_where_ray_is_missing_it_is_named(caption, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.setitem(sys.modules, 'ray.data', None)
    assert caption('out', '--ray', 'local') == 1
    assert "--ray needs Ray: pip install 'svlm[cluster]'" in capsys.readouterr().err
