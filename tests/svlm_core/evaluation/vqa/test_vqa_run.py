# SPDX-License-Identifier: Apache-2.0
"""Whole runs with the embedded model on seconds of video, broken off and gone on with."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import official_files as made
from svlm_core.card import suited
from svlm_core.errors import OutputError, SettingsError
from svlm_core.evaluation.identity import RUN
from svlm_core.evaluation.vqa import run as module
from svlm_core.evaluation.vqa.answers import FILE, Answered, AnswerFile
from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS
from svlm_core.evaluation.vqa.run import RESULTS, Job, run
from svlm_core.timeline import as_line

HONEST = {
    'mode', 'policy', 'frames', 'pixels', 'positions', 'model', 'data', 'judge', 'seed',
    'settings', 'versions', 'revision',
}  # fmt: skip


def carry_out(tiny, job: Job, **changes) -> list[dict]:
    return run(job, tiny, suited('robot', None, **changes), lambda done, of: None)


def job(name: str, data: Path, output: Path, **changes) -> Job:
    usual = {'mode': 'streaming', 'protocol': 'official'}
    return Job(name, data, output, **{**usual, **changes})


def answers(folder: Path) -> list[Answered]:
    return [Answered.from_json(line) for line in (folder / FILE).read_text().splitlines()]


def shortened(published: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of OVO-Bench with its first three questions."""
    shutil.copytree(published['ovobench'], tmp_path / 'data')
    made.write(tmp_path / 'data/ovo_bench_new.json', made.OVOBENCH[:2])
    return tmp_path / 'data'


@pytest.mark.parametrize('mode', ['streaming', 'offline'])
@pytest.mark.parametrize(
    ('name', 'protocol'),
    [(name, protocol) for name, of in BENCHMARKS.items() for protocol in of.rules],
)
def test_every_benchmark_is_answered_in_both_modes_beside_the_last_frames(
    tiny, published, tmp_path, name, protocol, mode
):
    wanted = job(name, published[name], tmp_path / 'out', mode=mode, protocol=protocol)
    rows = carry_out(tiny, wanted)
    questions = BENCHMARKS[name].load(published[name], False)
    found = answers(tmp_path / 'out')
    assert [(a.id, a.by) for a in found] == [
        (q.id, by) for by in (mode, 'last 4 frames') for q in questions
    ]
    assert [a.error for a in found] == [''] * len(found)
    assert json.loads((tmp_path / 'out' / RESULTS).read_text()) == {
        'rows': json.loads(json.dumps(rows))
    }
    official = tmp_path / 'out' / 'official'  # what the authors' own scripts read
    assert {folder.name for folder in official.iterdir()} == {mode, 'last-4-frames'}
    assert all([*folder.iterdir()] for folder in official.iterdir())
    for row in rows:
        assert row.keys() >= HONEST
        assert row['model']['name'] == 'svlm-tiny'
        assert len(row['model']['sha256']) == 64
        assert row['data']['protocol'] == protocol
        assert row['failed'] == 0
    seen = {row['mode']: (row['policy'], row['frames'], row['positions']) for row in rows}
    frames = '2 fps, all' if mode == 'streaming' else str(BENCHMARKS[name].rules[protocol].frames)
    policy, positions = (
        ('streaming', 'contiguous') if mode == 'streaming' else (None, 'native, as at 2 fps')
    )
    assert seen == {
        mode: (policy, frames, positions),
        'last 4 frames': (None, 'the last 4 at 2 fps', 'native, as at 2 fps'),
    }
    assert {a.run for a in found if a.by == mode} != {a.run for a in found if a.by != mode}
    assert all(a.frames == 4 for a in found if a.by == 'last 4 frames')


class Killed(BaseException):
    """What no handler is to catch."""


def killed(tiny, wanted: Job, monkeypatch, after: int) -> None:
    """Carry out a job that is ended from outside after so many answers, within a line."""
    add, count = AnswerFile.add, iter(range(after))

    def die(self, answer):
        if next(count, None) is None:
            with (wanted.output / FILE).open('a') as file:
                file.write(as_line(asdict(answer))[:100])
            raise Killed
        add(self, answer)

    with monkeypatch.context() as patched:
        patched.setattr(AnswerFile, 'add', die)
        with pytest.raises(Killed):
            carry_out(tiny, wanted)


def test_a_run_that_is_killed_goes_on_to_the_same_files_and_asks_nothing_twice(
    tiny, published, tmp_path, monkeypatch
):
    data = published['streamingbench']
    whole = job('streamingbench', data, tmp_path / 'whole')
    carry_out(tiny, whole)
    broken = job('streamingbench', data, tmp_path / 'broken')
    killed(tiny, broken, monkeypatch, after=1)
    killed(tiny, broken, monkeypatch, after=2)
    asked = []
    answered = module._answered

    def counted(question, who, rules, folder):
        asked.append((question.id, who.name))
        return answered(question, who, rules, folder)

    monkeypatch.setattr(module, '_answered', counted)
    carry_out(tiny, broken)
    for name in (FILE, RESULTS, RUN):
        assert (broken.output / name).read_bytes() == (whole.output / name).read_bytes()
    assert len(asked) == 2 * 5 - 3
    asked.clear()
    carry_out(tiny, broken)
    assert asked == []


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'seed': 7}, 'seed: 42 there, 7 now'),
        ({'vision_window': 4}, 'settings.vision_window: null there, 4 now'),
        ({'rope': 'native'}, 'positions: "contiguous" there, "native" now'),
        ({'policy': 'recompute'}, 'policy: "streaming" there, "recompute" now'),
    ],
)
def test_a_folder_of_other_settings_is_refused(tiny, published, tmp_path, change, told):
    data = shortened(published, tmp_path)
    wanted = job('ovobench', data, tmp_path / 'out', limit=1)
    carry_out(tiny, wanted)
    before = (tmp_path / 'out' / FILE).read_bytes()
    if 'seed' in change:
        change = {'sampling': change}
    with pytest.raises(SettingsError, match='holds a run with other settings') as caught:
        carry_out(tiny, wanted, **change)
    assert told in str(caught.value)
    assert (tmp_path / 'out' / FILE).read_bytes() == before


@pytest.mark.parametrize('change', [{'mode': 'offline'}, {'protocol': 'paper'}, {'limit': 2}])
def test_a_folder_of_another_protocol_mode_or_number_is_refused(tiny, published, tmp_path, change):
    wanted = job('ovobench', shortened(published, tmp_path), tmp_path / 'out', limit=1)
    carry_out(tiny, wanted)
    with pytest.raises(SettingsError, match='holds a run with other settings'):
        carry_out(tiny, replace(wanted, **change))


def test_a_folder_of_other_questions_is_refused(tiny, published, tmp_path):
    data = shortened(published, tmp_path)
    wanted = job('ovobench', data, tmp_path / 'out')
    carry_out(tiny, wanted)
    made.write(data / 'ovo_bench_new.json', [made.OVOBENCH[0], {**made.OVOBENCH[1], 'gt': 1}])
    with pytest.raises(SettingsError, match=r'data\.sha256'):
        carry_out(tiny, wanted)


def test_a_folder_of_something_else_is_left_alone(tiny, published, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/thesis.tex').write_text('precious')
    with pytest.raises(SettingsError, match='holds something else'):
        carry_out(tiny, job('ovobench', published['ovobench'], tmp_path / 'out'))
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['thesis.tex']


def test_a_video_that_cannot_be_read_is_written_down_and_asked_again(tiny, published, tmp_path):
    data = shortened(published, tmp_path)
    rows = [made.OVOBENCH[0], {**made.OVOBENCH[1], 'video': 'Ego4D/lost.mp4'}]
    made.write(data / 'ovo_bench_new.json', rows)
    wanted = job('ovobench', data, tmp_path / 'out')
    results = carry_out(tiny, wanted)
    fine, lost = answers(tmp_path / 'out')[:2]
    assert (fine.error, lost.response, lost.strict.said) == ('', None, '')
    assert 'lost.mp4: no such file' in lost.error
    assert (lost.official.right, lost.strict.right) == (False, False)
    failed = {(row['kind'], row['name']): row['failed'] for row in results}
    assert failed['task', 'OCR'] == 1
    assert failed['task', 'EPM'] == 0
    made.film(data / 'src_videos/Ego4D/lost.mp4', 6)
    assert sum(row['failed'] for row in carry_out(tiny, wanted)) == 0
    assert [a.error for a in answers(tmp_path / 'out')] == [''] * 4


def test_a_question_from_before_the_first_second_is_not_answered_from_later_ones(
    tiny, published, tmp_path
):
    data = shortened(published, tmp_path)
    made.write(data / 'ovo_bench_new.json', [{**made.OVOBENCH[1], 'realtime': 0.4}])
    carry_out(tiny, job('ovobench', data, tmp_path / 'out'))
    streaming, last = answers(tmp_path / 'out')
    assert 'there is no whole second from 0 s to 0.4 s' in streaming.error
    assert last.seen[1] <= 0.4


def test_a_line_that_is_no_answer_is_told_not_dropped(tmp_path):
    (tmp_path / FILE).write_text('{"id": 1}\n')
    with pytest.raises(OutputError, match=r'answers.jsonl line 1 is no answer'):
        AnswerFile(tmp_path)
