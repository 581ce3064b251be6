# SPDX-License-Identifier: Apache-2.0
"""Shards answer the questions about different videos; together they are as one run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from svlm_core import cli
from svlm_core.card import suited
from svlm_core.curation.manifest import Shard
from svlm_core.evaluation.identity import RUN
from svlm_core.evaluation.vqa import answers
from svlm_core.evaluation.vqa.answers import FILE, Answered, AnswerFile
from svlm_core.evaluation.vqa.protocol import Reading
from svlm_core.evaluation.vqa.run import RESULTS, Job, Outcome, gather, prepare
from svlm_core.timeline import as_line

# Dies of SIGKILL when it has written an answer and the half of another one.
MORTAL = """
import os, signal, sys
from dataclasses import asdict
from svlm_core import cli
from svlm_core.evaluation.vqa.answers import AnswerFile
from svlm_core.timeline import as_line

add = AnswerFile.add

def last(self, answer):
    add(self, answer)
    with self._path.open('a') as file:
        file.write(as_line(asdict(answer))[:100])
    os.kill(os.getpid(), signal.SIGKILL)

AnswerFile.add = last
cli.main(sys.argv[1:])
"""


def said(who: str, response: str | None = 'A', error: str = '') -> Answered:
    read = Reading('A', True)
    return Answered(
        who, 'streaming', 'OCR', 'a.mp4', 'What?', ('x', 'y'), 'A', response, read, read, 'r',
        error=error,
    )  # fmt: skip


@pytest.fixture
def asked(published, tiny, tmp_path, monkeypatch):
    """Answers the questions of a shard of StreamingBench into a folder of the test."""
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))

    def run(shard: str, output: str = 'out') -> Outcome:
        job = Job(
            benchmark='streamingbench',
            data=published['streamingbench'],
            output=tmp_path / output,
            mode='streaming',
            protocol='official',
            shard=Shard.parse(shard),
        )
        panel = prepare(job, tiny, suited('robot', None))
        return gather(job, panel.questions, panel.identities, panel.answers, lambda done, of: None)

    return run


def left(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_shard_that_was_killed_goes_on_and_all_shards_leave_what_one_run_does(
    asked, published, tmp_path
):
    whole = asked('1/1', 'whole')
    data, out = published['streamingbench'], tmp_path / 'out'
    words = 'vqa', 'streamingbench', '--data', str(data), '--output', str(out)
    command = [sys.executable, '-c', MORTAL, *words, '--device', 'cpu', '--shard', '1/2']
    killed = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    [first, half] = (out / 'answers.1-of-2.jsonl').read_bytes().split(b'\n')
    assert (json.loads(first)['error'], len(half)) == ('', 100)

    assert asked('2/2') == Outcome([], 0)
    assert not (out / RESULTS).exists()
    untouched = (out / 'answers.1-of-2.jsonl').read_bytes()
    assert untouched == first + b'\n' + half
    assert asked('1/2') == whole
    assert left(out) == left(tmp_path / 'whole')
    official = {
        f'official/{who}/questions_{of}.json'
        for who in ('streaming', 'last-4-frames')
        for of in ('real', 'sqa', 'proactive')
    }
    assert left(out).keys() == {FILE, RESULTS, RUN, *official}


def test_one_run_goes_on_with_what_shards_have_answered(asked, tmp_path, monkeypatch):
    whole = asked('1/1', 'whole')
    asked('2/2')
    others = {(a['id'], a['by']) for a in map(json.loads, (tmp_path / 'out').joinpath(
        'answers.2-of-2.jsonl').open())}  # fmt: skip
    added, add = list[tuple[str, str]](), AnswerFile.add
    monkeypatch.setattr(
        AnswerFile, 'add', lambda file, a: (added.append((a.id, a.by)), add(file, a))[1]
    )
    assert asked('1/1') == whole
    assert not others & set(added)
    assert len(added) + len(others) == 2 * 5
    assert left(tmp_path / 'out') == left(tmp_path / 'whole')


def test_a_failure_of_one_shard_is_asked_again_by_it_and_others_wait_for_nobody(tmp_path):
    first, second = (AnswerFile(tmp_path, Shard(number, 2)) for number in (1, 2))
    order = [('a', 'streaming'), ('b', 'streaming')]
    first.add(said('a', None, 'the disk is gone'))
    assert first.together(order) == []
    second.add(said('b'))
    assert [a.error for a in second.together(order)] == ['the disk is gone', '']
    assert [path.name for path in tmp_path.iterdir()] == [FILE]

    again = AnswerFile(tmp_path, Shard(1, 2))
    assert again.answers.keys() == {order[1]}
    again.add(said('a'))
    # What another shard put together in between does not bring the failure back.
    assert [a.error for a in AnswerFile(tmp_path, Shard(2, 2)).together(order)] == ['', '']
    assert [a.error for a in again.together(order)] == ['', '']


def test_what_another_shard_answers_meanwhile_is_not_removed(tmp_path, monkeypatch):
    first, second = (AnswerFile(tmp_path, Shard(number, 2)) for number in (1, 2))
    first.add(said('a', None, 'the disk is gone'))
    second.add(said('b'))
    order, write = [('a', 'streaming'), ('b', 'streaming')], answers.write_lines

    def slowly(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write(path, rows)
        first.add(said('a'))

    monkeypatch.setattr(answers, 'write_lines', slowly)
    assert [a.error for a in second.together(order)] == ['the disk is gone', '']
    monkeypatch.undo()
    assert [a.error for a in first.together(order)] == ['', '']


def test_a_line_that_another_shard_is_writing_is_not_waited_for(tmp_path):
    first, second = (AnswerFile(tmp_path, Shard(number, 2)) for number in (1, 2))
    first.add(said('a'))
    second.add(said('b'))
    path = tmp_path / 'answers.2-of-2.jsonl'
    with path.open('a') as file:
        file.write(as_line(asdict(replace(said('b'), id='c')))[:50])
    order = [(name, 'streaming') for name in 'abc']
    assert first.together(order) == []
    assert [a.id for a in first.together(order[:2])] == ['a', 'b']


def test_a_shard_that_is_none_is_told_before_the_model_loads(tmp_path, capsys):
    words = ['--data', str(tmp_path), '--output', str(tmp_path / 'out'), '--shard', '3/2']
    assert cli.main(['vqa', 'mvbench', *words]) == 1
    assert capsys.readouterr().err == "svlm: --shard '3/2': give i/n with i from 1 to n, as 2/4\n"
