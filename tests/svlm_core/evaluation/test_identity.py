# SPDX-License-Identifier: Apache-2.0
"""How a number came about: nothing that it depends on can change without being seen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from svlm_core import StreamingVLM
from svlm_core.card import EMBEDDED
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.evaluation import identity as module
from svlm_core.evaluation.identity import (
    RUN,
    Identity,
    begin_folder,
    file_hash,
    model_identity,
    revision,
    versions,
)

ONE = Identity(
    mode='streaming',
    policy='streaming',
    frames='2 fps',
    pixels='768',
    positions='contiguous',
    model={'name': 'm', 'sha256': 'abc'},
    data={'name': 'd'},
    seed=42,
    settings={'vision_window': 8},
    judge=None,
    versions={'torch': '2'},
    revision='1234',
)


@pytest.mark.parametrize(
    'change',
    [
        {'mode': 'offline'},
        {'policy': None},
        {'frames': '1 fps'},
        {'pixels': '4'},
        {'positions': 'native'},
        {'model': {'name': 'm', 'sha256': 'abd'}},
        {'data': {'name': 'e'}},
        {'seed': 43},
        {'settings': {}},
        {'judge': 'gpt-5'},
        {'versions': {'torch': '3'}},
        {'revision': '1234+changes'},
    ],
)
def test_whatever_changes_gives_another_digest_and_another_folder(tmp_path, change):
    other = replace(ONE, **change)
    assert other.digest != ONE.digest
    begin_folder(tmp_path / 'run', ONE.row())
    with pytest.raises(SettingsError, match='holds a run with other settings') as caught:
        begin_folder(tmp_path / 'run', other.row())
    assert next(iter(change)) in str(caught.value)
    begin_folder(tmp_path / 'run', ONE.row())


def test_every_field_is_part_of_a_row():
    assert ONE.row().keys() == Identity.__dataclass_fields__.keys()


def test_a_run_that_was_killed_while_it_began_its_folder_can_begin_again(tmp_path):
    (tmp_path / '.run.json.0a1b2c3d.part').write_text('{"mode": "str')
    begin_folder(tmp_path, ONE.row())
    assert json.loads((tmp_path / 'run.json').read_text()) == ONE.row()


def test_a_folder_that_another_shard_begins_at_the_same_instant_is_gone_on_with(
    tmp_path, monkeypatch
):
    list_files = Path.iterdir

    def slow(folder):
        monkeypatch.undo()
        begin_folder(folder, ONE.row())
        return list_files(folder)

    monkeypatch.setattr(Path, 'iterdir', slow)
    begin_folder(tmp_path / 'run', ONE.row())
    assert json.loads((tmp_path / 'run' / 'run.json').read_text()) == ONE.row()


def test_a_run_that_grows_adds_what_the_folder_does_not_tell_of_and_keeps_the_rest(tmp_path):
    begin_folder(tmp_path, {'a': 1, 'b': 2}, grows=True)
    begin_folder(tmp_path, {'b': 2, 'c': 3}, grows=True)
    assert json.loads((tmp_path / RUN).read_text()) == {'a': 1, 'b': 2, 'c': 3}
    with pytest.raises(SettingsError, match='b: 2 there, 4 now'):
        begin_folder(tmp_path, {'b': 4, 'd': 5}, grows=True)
    assert json.loads((tmp_path / RUN).read_text()) == {'a': 1, 'b': 2, 'c': 3}
    with pytest.raises(SettingsError, match='c: 3 there, null now'):
        begin_folder(tmp_path, {'a': 1, 'b': 2})


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / 'a.txt').write_text('')
    with pytest.raises(SettingsError, match='holds something else'):
        begin_folder(tmp_path, ONE.row())
    (tmp_path / RUN).write_text('{')
    with pytest.raises(OutputError, match='cannot be read'):
        begin_folder(tmp_path, ONE.row())
    with pytest.raises(OutputError, match='cannot be made'):
        begin_folder(tmp_path / 'a.txt' / 'run', ONE.row())


def test_a_model_is_told_from_another_by_a_single_bit_of_its_weights(tmp_path):
    shutil.copytree(EMBEDDED, tmp_path / 'copy')
    found = model_identity(StreamingVLM.from_pretrained(tmp_path / 'copy', device='cpu'))
    assert found == model_identity(StreamingVLM.from_pretrained(device='cpu'))
    assert found['name'] == 'svlm-tiny'
    assert found['device'] == 'cpu'
    assert found['dtype'] == 'float32'
    weights = tmp_path / 'copy/model.safetensors'
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = model_identity(StreamingVLM.from_pretrained(tmp_path / 'copy', device='cpu'))
    assert other['sha256'] != found['sha256']


def test_a_hash_covers_files_in_order_and_a_missing_one_is_told(tmp_path):
    a, b = tmp_path / 'a', tmp_path / 'b'
    a.write_text('one')
    b.write_text('two')
    assert file_hash([a, b]) != file_hash([b, a]) != file_hash([b])
    with pytest.raises(SourceError, match='cannot be read'):
        file_hash([a, tmp_path / 'c'])


def test_versions_are_those_of_what_computes():
    import torch

    found = versions()
    assert found['torch'] == torch.__version__
    assert {'python', 'svlm', 'av', 'numpy', 'tokenizers', 'transformers'} <= found.keys()


def git(folder: Path, *words: str) -> str:
    name = ['-c', 'user.name=a', '-c', 'user.email=a@example.org']
    done = subprocess.run(
        ['git', '-C', str(folder), *name, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def edited(file: Path, content: bytes) -> str | None:
    file.write_bytes(content)
    return revision()


def test_the_revision_is_the_commit_and_tells_of_changes(tmp_path, monkeypatch):
    folder = tmp_path / 'project/inner'
    folder.mkdir(parents=True)
    file = folder / 'identity.py'
    file.write_text('1')
    monkeypatch.setattr(module, '__file__', str(file))
    assert revision() is None
    git(tmp_path / 'project', 'init', '-q')
    (tmp_path / 'project/other.txt').write_text('1')
    git(tmp_path / 'project', 'add', 'other.txt')
    git(tmp_path / 'project', 'commit', '-qm', 'one')
    assert revision() is None  # the code lies in another project's checkout
    git(tmp_path / 'project', 'add', '.')
    git(tmp_path / 'project', 'commit', '-qm', 'two')
    commit = git(tmp_path / 'project', 'rev-parse', 'HEAD')
    assert revision() == commit
    edits = (b'2', b'3', b'\xff', b'2')
    told = [edited(tmp_path / 'project/other.txt', content) for content in edits]
    assert all(re.fullmatch(rf'{commit}\+[0-9a-f]{{8}}', one) for one in told)
    assert len(set(told)) == 3  # two edits are two codes, and the same one is the same
    assert told[0] == told[3]


def test_without_git_there_is_no_revision(monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert revision() is None


def test_a_row_is_plain_json():
    assert json.loads(json.dumps(ONE.row())) == ONE.row()
