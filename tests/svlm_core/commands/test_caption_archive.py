# SPDX-License-Identifier: Apache-2.0
"""`svlm caption --output`: all videos of a folder, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core import cli
from svlm_core.evaluation.duel import source_of
from svlm_core.evaluation.identity import Identity
from svlm_core.evaluation.windows import read_captions
from svlm_core.records import Record

NAMES = ('one.mp4', 'two.mp4', 'cup/one.mkv', 'long.mp4')
LONG = 20  # seconds of the last


def film(path: Path, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for number in range(2 * seconds):
            picture = np.full((48, 64, 3), 10 * len(path.name) + number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())


@pytest.fixture(scope='module')
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('archive') / 'videos'
    for name in NAMES:
        film(folder / name, LONG if name == 'long.mp4' else 3)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def svlm(*words: object) -> int:
    return cli.main(['caption', *map(str, words)])


@pytest.fixture(scope='module')
def finished(videos, tmp_path_factory) -> dict[str, bytes]:
    """What a run leaves that nothing disturbs."""
    output = tmp_path_factory.mktemp('archive') / 'finished'
    assert svlm(videos, '--output', output) == 0
    return contents(output)


def test_every_video_has_the_captions_that_it_has_alone(videos, finished, tmp_path):
    for name in NAMES:
        assert svlm(videos / name, '--jsonl', tmp_path / 'alone.jsonl') == 0
        alone = [json.loads(line) for line in (tmp_path / 'alone.jsonl').open()]
        together = [json.loads(line) for line in finished[f'caption/{name}.jsonl'].splitlines()]
        assert together == [{**row, 'camera': name} for row in alone]
        assert Record.from_json(json.dumps(together[0])).camera == name
    accounts = {name for name in finished if name.startswith('settings/')}
    assert {name.split('-')[0] for name in accounts} == {'settings/caption', 'settings/code'}
    assert finished.keys() - accounts == {'manifest.jsonl', 'caption/run.json'} | {
        f'caption/{name}.jsonl' for name in NAMES
    }


def test_a_process_killed_half_way_goes_on_and_leaves_the_same(videos, finished, tmp_path):
    output = tmp_path / 'captions'
    words = [sys.executable, '-m', 'svlm_core.cli', 'caption', videos, '--output', output]
    process = subprocess.Popen(words)
    while not (output / 'manifest.jsonl').exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    first = output / 'caption' / 'cup' / 'one.mkv.jsonl'
    before = first.stat().st_mtime_ns
    assert len(contents(output)) < len(finished)
    subprocess.run(words, check=True)
    assert contents(output) == finished
    assert first.stat().st_mtime_ns == before


def test_shards_are_captioned_apart_and_merge_into_the_same(videos, finished, tmp_path, capsys):
    output = tmp_path / 'captions'
    for number in (2, 1):
        assert svlm(videos, '--output', output, '--shard', f'{number}/2') == 0
    assert svlm(videos, '--output', output) == 1
    assert 'run `svlm curate merge' in capsys.readouterr().err
    assert cli.main(['curate', 'merge', str(output)]) == 0
    assert contents(output) == finished


def test_a_damaged_video_is_named_and_the_others_are_captioned(tmp_path, capsys):
    film(tmp_path / 'videos' / 'good.mp4', 2)
    (tmp_path / 'videos' / 'empty.mp4').touch()
    assert svlm(tmp_path / 'videos', '--output', tmp_path / 'out') == 1
    told = capsys.readouterr().out
    assert '2 videos, 2 now: 2 seconds' in told
    assert 'not whole: empty.mp4 is empty (0 bytes)' in told
    assert len((tmp_path / 'out' / 'caption' / 'good.mp4.jsonl').read_text().splitlines()) == 2


def test_other_settings_are_kept_out_of_the_folder(tmp_path, capsys):
    film(tmp_path / 'videos' / 'one.mp4', 2)
    words = (tmp_path / 'videos', '--output', tmp_path / 'out')
    assert svlm(*words) == 0
    assert svlm(*words, '--vision-window', '4') == 1
    assert 'holds a run with other settings (settings.vision_window' in capsys.readouterr().err
    run = json.loads((tmp_path / 'out' / 'caption' / 'run.json').read_text())
    assert run.keys() == Identity.__dataclass_fields__.keys()


def test_the_folder_is_judged_as_it_is_and_says_how_its_captions_were_made(finished, tmp_path):
    for name, content in finished.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    captions = tmp_path / 'caption'
    said = read_captions(captions, ['one.mp4', 'two.mp4', 'one.mkv', 'long.mp4'])
    assert said['long.mp4'].shown[-1] == (LONG - 1, LONG)
    assert len(said) == len(NAMES)
    assert source_of(captions)['made'] == json.loads(finished['caption/run.json'])


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        ('{videos} --output {out} --vtt a.vtt', '--vtt is for one source'),
        ('{videos} --output {out} --start 3', '--start is for one source'),
        ('{videos} --output {out} --shard 3/2', 'give i/n with i from 1 to n'),
        ('{videos}/one.mp4 --output {out}', 'is no folder of videos'),
        ('{videos}/one.mp4 --shard 1/2', 'give --output DIR'),
        ('{videos}', 'is a folder of videos: give --output DIR'),
    ],
)
def test_flags_that_do_not_fit_are_told_before_anything_is_loaded(
    words, told, videos, tmp_path, capsys
):
    assert svlm(*words.format(videos=videos, out=tmp_path / 'out').split()) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'caption').exists()
