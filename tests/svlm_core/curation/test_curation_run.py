# SPDX-License-Identifier: Apache-2.0
"""A folder of videos becomes training rows, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from chat_server import chat_server
from matches import contents, editor, heard, save, sentence
from svlm_core import cli
from svlm_core.training.annotations import AnnotationFile


def said_by_second(seconds: int, quiet: tuple[int, int]) -> dict[int, str]:
    """What was said in each second, straight from the recognition: the oracle of alignment."""
    said: dict[int, list[str]] = {}
    for segment in heard(seconds, quiet)['segments']:
        for word in segment['words']:
            said.setdefault(int(-(-word['end'] // 1)) - 1, []).append(word['word'])
    return {second: ' '.join(words) for second, words in said.items()}


@pytest.mark.parametrize('inside', [False, True])
def test_what_is_exported_is_read_back_by_training(inside, season, curate, tmp_path, capsys):
    index = ('--index-inside',) if inside else ()
    with chat_server(editor) as server:
        assert curate(server.url, *index) == 0
    name = 'train_with_seeks.jsonl' if inside else 'train.jsonl'
    file = AnnotationFile(tmp_path / 'out' / name, season / 'videos')
    lines = (tmp_path / 'out' / name).read_bytes().splitlines()
    assert len(lines) == len(file) + inside
    assert (tmp_path / 'out' / 'train_seeks.jsonl').exists() is not inside
    rows = [file.row(number) for number in range(len(file))]
    assert {row.video.name for row in rows} == {'a_vs_b.mp4', 'final.mkv'}
    first = [row for row in rows if row.video.name == 'a_vs_b.mp4']
    assert {row.end - row.start for row in first} == {24.0}
    assert all(row.start % 12 == 0 and len(row.words) >= 48 for row in rows)

    oracle = said_by_second(130, (50, 62))
    for row in first:
        for second, text in enumerate(row.said(1), int(row.start)):
            was = oracle.get(second, '')
            begun = second - second % 4
            if 'Cola' in sentence(begun):
                assert text == ''
            elif 'Jonson' not in sentence(begun):  # corrected sentences are spread evenly
                assert text == was
        earlier = [
            sentence(start).replace('Jonson', 'Johnson')
            for start in range(0, int(row.start), 4)
            if 'Cola' not in sentence(start) and not 50 <= start < 62
        ]
        assert row.previous == ' '.join(earlier)

    assert cli.main(['curate', 'validate', str(file.path), '--videos', f'{season}/videos']) == 0
    told = capsys.readouterr().out
    assert f'{len(file)} rows, 0 with faults' in told
    assert re.search(r'left out: mute\.mp4: it has no sound', told)
    assert re.search(r'left out: zero\.mp4: zero\.mp4 is empty \(0 bytes\)', told)
    final = json.loads(lines[-1 - inside])[0]['content'][1]
    assert (final['title'], final['category']) == ('Final, 3 May: C vs D', 'Sports')


def test_decisions_are_counted_and_their_ratios_told(curate, capsys):
    with chat_server(editor) as server:
        assert curate(server.url) == 0
    starts = [n for n in range(0, 127, 4) if not 50 <= n < 62] + list(range(0, 58, 4))
    deleted = sum('Cola' in sentence(n) for n in starts)
    edited = sum('Jonson' in sentence(n) for n in starts)
    kept = len(starts) - deleted - edited
    told = capsys.readouterr().out
    assert f'{kept} keep, {edited} edit, {deleted} delete, 0 refused, 0 invalid' in told
    assert f'{kept / len(starts):.2%} keep' in told


def shy(request):
    """An editor who does not read on after two minutes of a match."""
    if 'Title: a vs b\nFrom second 120:' in request['messages'][1]['content']:
        return {'content': None, 'refusal': 'I cannot help with that.'}
    return editor(request)


def test_a_server_that_misbehaves_changes_nothing(curate, tmp_path, monkeypatch, capsys):
    with chat_server(shy) as server:
        assert curate(server.url, output='undisturbed') == 0
    assert re.search(r'\b[1-9]\d* refused, 0 invalid', capsys.readouterr().out)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    faults = [429, 'drop', 500, 'hang', 'garbage', 'half', 503, 'hang', 'empty', 502]
    with chat_server(shy, *faults) as server:
        # So many faults may end it; it goes on where it was.
        while curate(server.url, '--timeout', '0.5') == 1:
            pass
    assert contents(tmp_path / 'out') == contents(tmp_path / 'undisturbed')
    assert not server.faults


def test_a_server_that_is_down_ends_the_run_with_a_line(curate, capsys, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with chat_server(editor, *[503] * 40) as server:
        assert curate(server.url) == 1
    told = capsys.readouterr().err
    assert told.count('\n') == 1
    assert 'failed 3 times, at last: status 503. Run the same command again' in told


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize('shards', [1, 2])
def test_killed_at_any_write_and_resumed_the_bytes_are_the_same(
    shards, curate, finished, tmp_path, monkeypatch
):
    """Run after run dies at a write, in turn just before and just after the file appears."""

    def work(url: str) -> int:
        if shards == 1:
            return curate(url)
        merged = tmp_path / 'out' / 'manifest.jsonl'
        parts = merged.parent.glob('manifest.*-of-*.jsonl')
        if not merged.exists() or any(parts):
            for number in range(1, shards + 1):
                assert curate(url, '--shard', f'{number}/{shards}') == 0
            assert cli.main(['curate', 'merge', str(tmp_path / 'out')]) == 0
        return curate(url, step='export')

    real, left, deaths = Path.replace, 0, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal left, deaths
        left -= 1
        if left:
            return real(self, target)
        deaths += 1
        if deaths % 2:
            real(self, target)
        raise Killed

    monkeypatch.setattr(Path, 'replace', replace)
    status = None
    with chat_server(editor) as server:
        while status is None:
            left = 2 + deaths // 4
            try:
                status = work(server.url)
            except Killed:
                assert deaths < 100
    assert status == 0
    assert deaths >= 10
    assert contents(tmp_path / 'out') == finished


@pytest.mark.parametrize('shard', ['1/1', '2/2'])
def test_a_process_killed_in_the_middle_of_a_stage_goes_on_where_it_was(
    shard, season, curate, finished, tmp_path
):
    reached, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def answer(request):
        asked.append(request['messages'][1]['content'])
        if len(asked) == 3:
            reached.set()
            go_on.wait(300)
        return editor(request)

    with chat_server(answer) as server:
        command = f'-m svlm_core.cli curate run {season}/videos {tmp_path}/out'
        asks = f'--transcripts {season}/words --base-url {server.url} --model editor --workers 1'
        asks += f' --shard {shard}'
        words = [sys.executable, *command.split(), *asks.split()]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        assert reached.wait(300)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(300) == -signal.SIGKILL
        go_on.set()
        assert not (tmp_path / 'out' / 'train.jsonl').exists()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        if shard != '1/1':
            assert curate(server.url, '--shard', '1/2') == 0
            assert cli.main(['curate', 'merge', str(tmp_path / 'out')]) == 0
            assert curate(server.url, step='export') == 0
    assert contents(tmp_path / 'out') == finished
    assert len(asked) == len(set(asked)) + 1  # only the question under way is asked again


def test_every_stage_is_a_command_and_together_they_do_what_run_does(curate, finished, tmp_path):
    with chat_server(editor) as server:
        for step in ('probe', 'transcribe', 'align', 'clean', 'chunk', 'anneal', 'export'):
            assert curate(server.url, step=step) == 0
    assert contents(tmp_path / 'out') == finished


def test_shards_are_worked_on_apart_and_merge_into_the_same(
    season, curate, finished, tmp_path, capsys
):
    with chat_server(editor) as server:
        for number in (2, 3, 1):
            assert curate(server.url, '--shard', f'{number}/3') == 0
        assert not (tmp_path / 'out' / 'manifest.jsonl').exists()
        assert curate(server.url, step='export') == 1
        assert 'run `svlm curate merge' in capsys.readouterr().err
        assert curate(server.url, '--shard', '1/3', step='export') == 1
        assert 'merge the shards first' in capsys.readouterr().err
        assert cli.main(['curate', 'merge', str(tmp_path / 'out')]) == 0
        assert '4 videos' in capsys.readouterr().out
        assert curate(server.url, step='export') == 0
    assert contents(tmp_path / 'out') == finished


def test_shards_that_contradict_each_other_are_not_merged(curate, tmp_path, capsys):
    assert curate('', '--shard', '1/2', '--min-seconds', '60', step='probe') == 0
    for number in (1, 2, 3):
        assert curate('', '--shard', f'{number}/3', step='probe') == 0
    capsys.readouterr()
    assert cli.main(['curate', 'merge', str(tmp_path / 'out')]) == 1
    assert re.search(r'1-of-2.jsonl and .* differ in stage probe of', capsys.readouterr().err)


@pytest.mark.parametrize('shard', ['0/3', '4/3', '2', 'a/b', '1/0'])
def test_a_shard_that_is_none_is_told(curate, shard, capsys):
    assert curate('', '--shard', shard, step='probe') == 1
    assert 'give i/n with i from 1 to n' in capsys.readouterr().err


def test_only_what_has_changed_is_done_again(curate, season, tmp_path, capsys):
    with chat_server(editor) as server:
        assert curate(server.url) == 0
        asked = len(server.requests)
        capsys.readouterr()
        assert curate(server.url, '--min-words', '30') == 0
        told = capsys.readouterr().out
        assert re.findall(r'^(\w+) .* videos, (\d) now', told, re.M) == [
            ('probe', '0'), ('transcribe', '0'), ('align', '0'), ('clean', '0'), ('chunk', '2'),
            ('anneal', '0'),
        ]  # fmt: skip
        assert len(server.requests) == asked


def accounts(folder: Path) -> dict[str, dict]:
    """What the digests of a manifest stand for, by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / 'settings').iterdir()}


def test_it_can_be_read_with_which_settings_and_code_everything_was_made(curate, tmp_path):
    with chat_server(editor) as server:
        assert curate(server.url, '--min-live', '0.7') == 0
    made = accounts(tmp_path / 'out')
    stages = [json.loads(line)['stages'] for line in (tmp_path / 'out/manifest.jsonl').open()]
    whole = next(found for found in stages if 'anneal' in found)
    for stage, entry in whole.items():
        assert f'{stage}-{entry["settings"]}' in made
    clean, anneal = (made[f'{stage}-{whole[stage]["settings"]}'] for stage in ('clean', 'anneal'))
    assert (clean['model'], clean['segment']) == ('editor', 120.0)
    assert 'Decide for every sentence' in clean['task']
    assert anneal['min_live'] == 0.7
    [code] = {entry['code'] for found in stages for entry in found.values()}
    assert made[f'code-{code}']['versions'].keys() >= {'python', 'svlm', 'av', 'faster-whisper'}
    assert made[f'code-{code}']['revision'] is None  # these tests are outside of git
    assert len(made) == 6 + 1 + 1  # stages, the export, the code


def test_an_export_has_a_record_of_what_it_was_made_of_and_how(curate, tmp_path):
    out = tmp_path / 'out'

    def record() -> dict:
        return json.loads((out / 'export.json').read_text())

    with chat_server(editor) as server:
        assert curate(server.url) == 0
        first = record()
        assert curate('', '--query', 'Speak.', '--index-inside', step='export') == 0
        other = record()
        assert curate(server.url, '--min-words', '30', step='chunk') == 0
        assert curate('', step='export') == 0
    made = accounts(out)
    assert made[f'export-{first["settings"]}'] == {'index_inside': False, 'query': '', 'valid': 0}
    assert made[f'export-{other["settings"]}']['query'] == 'Speak.'
    assert f'code-{first["code"]}' in made
    assert first['input'] == other['input']
    assert record()['settings'] == first['settings']
    assert record()['input'] != first['input'], 'chunks were cut in another way'
    assert first['files'].keys() == {
        f'{name}{ending}.jsonl' for name in first['counts'] for ending in ('', '_seeks')
    }
    assert other['files'].keys() == {f'{name}_with_seeks.jsonl' for name in first['counts']}
    for name, digest in record()['files'].items():
        assert digest == digest_of(out / name)


def digest_of(path: Path) -> str:
    """Of one file, by its content: a digest over the digests of all of them."""
    return sha256(sha256(path.read_bytes()).digest()).hexdigest()


def test_products_of_two_versions_of_the_code_do_not_go_unnoticed(
    curate, tmp_path, monkeypatch, capsys
):
    with chat_server(editor) as server:
        assert curate(server.url) == 0
        assert 'versions of the code' not in capsys.readouterr().out
        monkeypatch.setattr('svlm_core.curation.accounts.revision', lambda: 'newer')
        asked = len(server.requests)
        assert curate(server.url) == 0  # nothing is to be done, so nothing is mixed
        assert 'versions of the code' not in capsys.readouterr().out
        assert curate(server.url, '--min-words', '30', step='chunk') == 0
        assert len(server.requests) == asked
    told = capsys.readouterr().out
    named = re.search(r'made by 2 versions of the code: (\S+) (\S+)', told)
    assert named
    found = {json.loads(Path(path).read_text())['revision'] for path in named.groups()}
    assert found == {None, 'newer'}
    for line in (tmp_path / 'out' / 'manifest.jsonl').open():
        stages = json.loads(line)['stages']
        for name, of in stages.items():
            made_by = accounts(tmp_path / 'out')[f'code-{of["code"]}']
            assert (made_by['revision'] == 'newer') == (name == 'chunk')
    assert curate('', step='export') == 0
    assert 'made by 2 versions of the code' in capsys.readouterr().out


def test_a_stage_that_is_behind_is_named_and_its_rows_are_not_mixed_in(
    season, curate, tmp_path, capsys
):
    assert curate('', step='probe') == 0
    assert curate('', step='align') == 1
    assert 'a_vs_b.mp4 has not been through transcribe: run' in capsys.readouterr().err
    with chat_server(editor) as server:
        assert curate(server.url) == 0
        assert curate('', '--max-gap', '0.01', step='align') == 0
        capsys.readouterr()
        assert curate('', step='export') == 1
    assert 'has changed since clean: run `svlm curate clean`' in capsys.readouterr().err


def test_a_product_that_somebody_changed_is_made_again_or_refused(
    curate, finished, tmp_path, capsys
):
    with chat_server(editor) as server:
        assert curate(server.url) == 0
        product = tmp_path / 'out' / 'chunk' / 'a_vs_b.mp4.json'
        product.write_text(product.read_text().replace('Smith', 'Brown'))
        rows = {path: path.read_bytes() for path in (tmp_path / 'out').glob('*.jsonl')}
        assert curate('', step='export') == 1
        assert 'was changed: remove it' in capsys.readouterr().err
        assert {path: path.read_bytes() for path in (tmp_path / 'out').glob('*.jsonl')} == rows
        assert curate(server.url) == 0
    assert contents(tmp_path / 'out') == finished


def test_a_damaged_manifest_is_named_by_line_and_field(curate, tmp_path, capsys):
    assert curate('', step='probe') == 0
    path = tmp_path / 'out' / 'manifest.jsonl'
    lines = path.read_text().splitlines()
    path.write_text(
        '\n'.join([lines[0], lines[1].replace('"left_out": "', '"left_out": 1, "x": "')])
    )
    assert curate('', step='probe') == 1
    assert re.search(r'manifest.jsonl line 2: stages.probe.left_out', capsys.readouterr().err)


def test_validation_videos_are_the_same_whichever_way_they_are_asked_for(season, curate, tmp_path):
    with chat_server(editor) as server:
        assert curate(server.url, '--valid', '0.5') == 0
    rows = {
        name: {json.loads(line)[0]['content'][0]['video'] for line in path.open()}
        for name in ('train', 'valid', 'annealing')
        if (path := tmp_path / 'out' / f'{name}.jsonl').exists()
    }
    assert not rows.get('train', set()) & rows.get('valid', set())
    assert rows.get('annealing', set()) <= rows.get('train', set())
    assert rows.get('train', set()) | rows.get('valid', set()) == {'a_vs_b.mp4', 'cup/final.mkv'}


def test_there_is_nothing_to_curate(tmp_path, capsys):
    (tmp_path / 'videos').mkdir()
    assert cli.main(['curate', 'probe', str(tmp_path / 'videos'), str(tmp_path / 'out')]) == 1
    assert 'holds no videos' in capsys.readouterr().err
    assert cli.main(['curate', 'probe', str(tmp_path / 'none'), str(tmp_path / 'out')]) == 1
    assert 'is no folder of videos' in capsys.readouterr().err


def test_a_name_that_no_file_of_ours_could_hold_is_told(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / os.fsdecode(b'caf\xe9.mp4')).touch()
    assert cli.main(['curate', 'probe', str(tmp_path / 'in'), str(tmp_path / 'out')]) == 1
    assert 'the name of caf?.mp4 is not in UTF-8: rename it' in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told(season, tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert cli.main(['curate', 'probe', str(season), str(tmp_path / 'file/out')]) == 1
    assert 'out cannot be made: Not a directory' in capsys.readouterr().err


def test_one_video_without_words_stops_no_other_and_is_tried_again(
    curate, season, finished, tmp_path, capsys
):
    words = save(tmp_path / 'words' / 'a_vs_b.json', heard(130, quiet=(50, 62))).parent
    with chat_server(editor) as server:
        for now in (2, 1):  # the second run tries what failed, and nothing else
            assert curate(server.url, '--transcripts', str(words)) == 1
            told = capsys.readouterr().out
            assert re.search(f'^transcribe 4 videos, {now} now, 1 left out.*1 failed', told, re.M)
            why = 'its words, cup/final.json, cannot be read: No such file or directory'
            assert f'left out: cup/final.mkv: {why}' in told
        rows = [json.loads(line) for line in (tmp_path / 'out' / 'train.jsonl').open()]
        assert {row[0]['content'][0]['video'] for row in rows} == {'a_vs_b.mp4'}
        save(words / 'cup' / 'final.json', heard(61))
        assert curate(server.url, '--transcripts', str(words)) == 0
    assert contents(tmp_path / 'out') == finished


def test_a_reply_that_is_damaged_on_the_disk_stops_one_video_alone(
    curate, finished, tmp_path, capsys
):
    with chat_server(editor) as server:
        assert curate(server.url) == 0
        replies = [*(tmp_path / 'out' / 'replies').rglob('*.json')]
        [damaged] = [path for path in replies if 'final' in path.read_text().lower()
                     and 'Sentences:' not in path.read_text()]  # fmt: skip
        whole = damaged.read_text()
        damaged.write_text(whole[:40])
        (tmp_path / 'out' / 'clean' / 'cup' / 'final.mkv.json').unlink()
        capsys.readouterr()
        assert curate(server.url) == 1
        assert re.search(
            r'left out: cup/final.mkv: .* is damaged: remove it', capsys.readouterr().out
        )
        damaged.unlink()
        assert curate(server.url) == 0
    assert contents(tmp_path / 'out') == finished
