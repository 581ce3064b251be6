# SPDX-License-Identifier: Apache-2.0
"""A cluster answers a benchmark as one machine does. Needs Ray: pip install svlm[cluster]."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clerk import Clerk
from svlm_core import cli
from svlm_core.curation import cluster
from svlm_core.evaluation.vqa.answers import FILE

with_ray = pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='no Ray here')


@pytest.fixture
def vqa(published, tmp_path: Path, monkeypatch) -> Callable[..., int]:
    """`svlm vqa streamingbench` into a folder of the test; its data can be changed."""
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))
    shutil.copytree(published['streamingbench'], tmp_path / 'data')

    def run(output: str, *words: str) -> int:
        place = '--data', str(tmp_path / 'data'), '--output', str(tmp_path / output)
        return cli.main(['vqa', 'streamingbench', *place, '--device', 'cpu', *words])

    return run


def left(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_workers_hand_over_is_written_as_one_machine_writes_it(
    vqa, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cluster, 'Cluster', Clerk)
    video, away = tmp_path / 'data' / 'videos' / 'sample_17_sqa.mp4', tmp_path / 'away.mp4'
    video.rename(away)
    assert vqa('alone') == vqa('together', '--ray', 'clerk') == 1
    assert left(tmp_path / 'together') == left(tmp_path / 'alone')
    failed = [json.loads(line) for line in (tmp_path / 'together' / FILE).open()]
    assert {one['video'] for one in failed if one['error']} == {'videos/sample_17_sqa.mp4'}
    away.rename(video)
    assert vqa('alone') == vqa('together', '--ray', 'clerk') == 0
    assert left(tmp_path / 'together') == left(tmp_path / 'alone')
    # A shard of a cluster, then one of this machine.
    assert vqa('mixed', '--ray', 'clerk', '--shard', '1/2') == 0
    assert 'others are not yet' in capsys.readouterr().out
    assert vqa('mixed', '--shard', '2/2') == 0
    assert left(tmp_path / 'mixed') == left(tmp_path / 'alone')


@with_ray
def test_a_local_cluster_leaves_the_same_bytes_as_one_machine(vqa, tmp_path):
    assert vqa('alone') == 0
    assert vqa('together', '--ray', 'local') == 0
    assert left(tmp_path / 'together') == left(tmp_path / 'alone')
