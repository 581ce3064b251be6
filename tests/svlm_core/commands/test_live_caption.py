# SPDX-License-Identifier: Apache-2.0
"""`svlm caption` on live cameras: captions, files and figures; how it fails and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from camera_servers import MjpegCamera, RtspCamera, film, jpeg
from svlm_core import cli
from svlm_core.records import Record
from svlm_core.video import live

GOOD = jpeg(0)


@pytest.fixture(scope='module')
def footage():
    return film()


@pytest.fixture
def camera(footage):
    camera = RtspCamera(footage, login='bob:s3cret')
    yield camera
    camera.stop()


@pytest.fixture
def address(camera) -> str:
    return camera.address.replace('://', '://bob:s3cret@')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    patience = live.Patience(opening=2, reading=1, first_wait=0.1, longest_wait=0.4)
    monkeypatch.setattr(live, 'Patience', lambda: patience)


def svlm(*words: object) -> int:
    return cli.main(['caption', *map(str, words)])


def rows(path: Path) -> list[Record]:
    return [Record.from_json(line) for line in path.read_text().splitlines()]


def test_a_camera_is_captioned_for_as_long_as_was_asked(engine, address, camera, tmp_path, capfd):
    out = {kind: tmp_path / f'out.{kind}' for kind in ('vtt', 'srt', 'jsonl')}
    files = (part for kind, path in out.items() for part in (f'--{kind}', path))
    before = time.time()
    assert svlm(address, '--duration', 3, *files) == 0
    printed = capfd.readouterr()
    times = [line.partition('  ')[0] for line in printed.out.splitlines()]
    assert times == ['0:00 - 0:01', '0:02 - 0:03']
    masked = camera.address.replace('://', '://***@')
    assert f'{masked}: h264 64x48, 20 frames/s, yuv420p, over tcp' in printed.err
    assert '3 rounds, 2 with words: 3 s of stream' in printed.err
    records = rows(out['jsonl'])
    assert [record.sequence for record in records] == [0, 1, 2]
    assert {record.camera for record in records} == {masked}
    assert {record.frames_used for record in records} == {2}
    for record in records:
        assert before < record.stamp < time.time()  # wall clock
        assert 0 <= record.stamp - record.window_start < 1
        assert record.latency is not None
        assert record.latency > 0
    assert out['vtt'].read_text().count('-->') == out['srt'].read_text().count('-->') == 2
    assert '00:00:02.000 --> 00:00:03.000' in out['vtt'].read_text()  # since the first frame
    received, used, rest = figures(printed.err)
    assert received == used + rest
    assert used == 6
    assert received >= 50


def figures(printed: str) -> tuple[int, int, int]:
    """Frames received, used and not shown, of the summary."""
    [line] = [line for line in printed.splitlines() if 'frames received' in line]
    words = line.partition(' tokens (')[2].partition('; ')[2].replace(',', '').split()
    return int(words[0]), int(words[3]), int(words[5])


def test_a_round_that_takes_longer_than_it_lasts_is_late(engine, address, tmp_path, capfd):
    engine.before_each = lambda number: time.sleep(1.3 if number == 0 else 0)
    assert svlm(address, '--duration', 4, '--jsonl', tmp_path / 'out.jsonl') == 0
    records = rows(tmp_path / 'out.jsonl')
    assert records[0].late
    assert records[0].latency > 1.3
    assert not records[-1].late
    assert '; seconds late: ' in capfd.readouterr().err


def test_the_memory_goes_on_when_a_camera_comes_back(engine, address, camera, capfd):
    engine.before_each = lambda number: camera.drop() if number == 1 else None
    assert svlm(address, '--duration', 4) == 0
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if 'lost after' in line and line.endswith('trying again')]
    assert [line for line in lines if ': back after ' in line]
    assert '; connections lost: 1' in lines[-1]
    assert engine.stream.seen == sorted(engine.stream.seen)
    assert engine.stream.held == 10 * len(engine.stream.seen)
    assert 'Traceback' not in '\n'.join(lines)


def test_seconds_that_cannot_be_read_are_told_and_counted(engine, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr('camera_servers.jpeg', lambda bright: GOOD if bright < 10 else GOOD[:300])
    camera = MjpegCamera(fps=10)
    try:
        svlm(camera.address, '--duration', 3, '--jsonl', tmp_path / 'out.jsonl')
    finally:
        camera.stop()
    printed = capfd.readouterr().err
    assert printed.count('its end is missing') == 1
    received, used, rest = figures(printed)
    assert received == used + rest
    assert '; seconds unreadable: ' in printed


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_complete_files(engine, address, tmp_path, number, capfd):
    Timer(1.5, os.kill, (os.getpid(), number)).start()
    assert svlm(address, '--jsonl', tmp_path / 'out.jsonl') == 128 + number
    assert [record.sequence for record in rows(tmp_path / 'out.jsonl')] == [0]
    assert 'frames received' in capfd.readouterr().err


def complaint(capfd) -> str:
    """The one line that names the trouble; no secret is anywhere."""
    printed = capfd.readouterr()
    assert 's3cret' not in printed.out + printed.err
    [line] = [line for line in printed.err.splitlines() if line.startswith('svlm: ')]
    return line


def test_what_cannot_be_reached_costs_no_older_captions(address, camera, tmp_path, capfd):
    old = tmp_path / 'out.vtt'
    old.write_text('an hour of work')
    wrong = address.replace('s3cret', 's3cret2')
    assert svlm(wrong, '--vtt', old) == 1
    assert 'it refuses this name and password' in complaint(capfd)
    camera.hush()
    assert svlm(address, '--vtt', old) == 1
    assert 'no answer within 2 s' in complaint(capfd)
    camera.stop()
    assert svlm(address, '--vtt', old) == 1
    assert 'connection refused' in complaint(capfd)
    assert svlm('/dev/video99', '--vtt', old) == 1
    assert '/dev/video99: No such file or directory; cameras here' in complaint(capfd)
    assert svlm('srt://bob:s3cret@camera', '--vtt', old) == 1
    assert 'srt://***@camera is no file or folder' in complaint(capfd)
    assert old.read_text() == 'an hour of work'


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (
            ['rtsp://bob:s3cret@c/', '--start', 5],
            '--start is for files: rtsp://***@c/ is a camera',
        ),
        (['rtsp://bob:s3cret@c/', '--image-fps', 5], '--image-fps is for folders'),
        (['rtsp://c/', '--camera-size', '640x480'], '--camera-size is for /dev/video*'),
        (['rtsp://c/', '--duration', 0], '--duration 0 is out of range'),
        (['http://c/', '--rtsp-transport', 'udp'], '--rtsp-transport is for rtsp:// cameras'),
        (['/dev/video0', '--camera-size', 'big'], '--camera-size big is no size such as'),
        (['/dev/video0', '--camera-fps', 0], '--camera-fps 0 is out of range'),
        (['/dev/video0', '--max-frame-age', -1], '--max-frame-age -1 is out of range'),
        (['x.mp4', '--max-frame-age', 1], '--max-frame-age is for cameras: x.mp4 is none'),
        (['x.mp4', '--camera-format', 'mjpeg'], '--camera-format is for /dev/video*'),
    ],
)
def test_a_flag_that_means_nothing_for_a_source_is_refused(words, told, capfd):
    assert svlm(*words) == 1
    assert told in complaint(capfd)


def test_a_policy_without_a_bound_needs_one_for_an_endless_camera(engine, address, capfd):
    assert svlm(address, '--policy', 'full_attention') == 1
    assert '--capacity' in complaint(capfd)
    assert svlm(address, '--policy', 'full_attention', '--duration', 1) == 0


def process(*words: object) -> subprocess.Popen[str]:
    """The command as a process of its own, which hears Ctrl-C."""
    command = [sys.executable, '-m', 'svlm_core.cli', 'caption', *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def test_ctrl_c_ends_it_while_a_dead_camera_is_waited_for(camera, address):
    camera.hush()
    running = process(address)
    try:
        while not camera.asked:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=8)
    finally:
        running.kill()
    assert (running.returncode, out, errors) == (130, '', '')


def test_ctrl_c_ends_the_real_engine_on_a_camera_that_has_gone_silent(camera, address, tmp_path):
    running = process(address, '--jsonl', tmp_path / 'out.jsonl')
    try:
        rest = iter(running.stderr.readline, '')
        assert any('over tcp' in line for line in rest)
        assert running.stdout.readline()
        camera.hush()
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=8)
    finally:
        running.kill()
    assert running.returncode == 130
    assert 'Traceback' not in errors
    assert 's3cret' not in errors
    first, *_ = (tmp_path / 'out.jsonl').read_text().splitlines()
    assert json.loads(first)['latency'] > 0
