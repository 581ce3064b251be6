# SPDX-License-Identifier: Apache-2.0
"""A cluster does what one machine does. Needs Ray, which `pip install svlm[cluster]` brings."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from chat_server import chat_server
from matches import contents, editor, film
from svlm_core import cli

with_ray = pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='no Ray here')


@with_ray
def test_a_local_cluster_leaves_the_same_bytes_as_one_machine(curate, finished, tmp_path):
    with chat_server(editor) as server:
        assert curate(server.url, '--ray', 'local') == 0
    assert contents(tmp_path / 'out') == finished


@with_ray
def test_a_local_cluster_captions_an_archive_as_one_machine_does(tmp_path, monkeypatch):
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))
    for seconds, name in ((3, 'one.mp4'), (2, 'cup/two.mkv')):
        film(tmp_path / 'videos' / name, seconds)
    words = ['caption', str(tmp_path / 'videos'), '--device', 'cpu', '--output']
    assert cli.main([*words, str(tmp_path / 'alone')]) == 0
    assert cli.main([*words, str(tmp_path / 'together'), '--ray', 'local']) == 0
    assert contents(tmp_path / 'together') == contents(tmp_path / 'alone')


@with_ray
def test_what_a_worker_cannot_do_is_told_in_a_line(curate, tmp_path, capsys, monkeypatch):
    for step in ('probe', 'transcribe', 'align'):
        assert curate('', step=step) == 0
    capsys.readouterr()
    with chat_server(editor, *[401] * 9) as server:
        assert curate(server.url, '--ray', 'local', step='clean') == 1
    [line] = capsys.readouterr().err.splitlines()
    assert 'answered 401: name the variable of its key' in line


def test_where_ray_is_missing_it_is_named(curate, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.setitem(sys.modules, 'ray.data', None)
    assert curate('', '--ray', 'local', step='probe') == 1
    assert "--ray needs Ray: pip install 'svlm[cluster]'" in capsys.readouterr().err


@with_ray
@pytest.mark.parametrize('address', ['auto', 'localhost:1', 'ray://localhost:1'])
def test_an_address_without_a_cluster_is_told(address, curate, capsys):
    assert curate('', '--ray', address, step='probe') == 1
    assert f'--ray {address}: there is no cluster: ' in capsys.readouterr().err
