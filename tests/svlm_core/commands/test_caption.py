# SPDX-License-Identifier: Apache-2.0
"""`svlm caption` as a person meets it: what is printed, what is written, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core import cli
from svlm_core.commands import caption as command
from svlm_core.errors import CheckpointError
from svlm_core.records import Record

CHECKPOINT = Path(__file__).parents[2] / 'parity' / 'checkpoint'


@pytest.fixture(scope='session')
def video(tmp_path_factory) -> Path:
    """Six seconds at 24 fps; second n has the brightness 40 n."""
    path = tmp_path_factory.mktemp('video') / 'clip.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, 'yuv420p', 12
        for number in range(6 * 24):
            grey = np.full((48, 64, 3), 40 * (number // 24), dtype=np.uint8)
            grey[::2, ::2] ^= np.uint8(number % 4)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format='rgb24')))
        container.mux(stream.encode())
    return path


def svlm(*words: object) -> int:
    return cli.main(['caption', *map(str, words)])


def rows(path: Path) -> list[Record]:
    return [Record.from_json(line) for line in path.read_text().splitlines()]


def test_captions_are_printed_and_written(engine, video, tmp_path, capfd):
    out = {kind: tmp_path / f'out.{kind}' for kind in ('vtt', 'srt', 'jsonl')}
    status = svlm(video, *(part for kind, path in out.items() for part in (f'--{kind}', path)))
    printed = capfd.readouterr()
    assert status == 0
    assert printed.out.splitlines() == [
        '0:00 - 0:01  Brightness 0 <b>[red] [2J',
        '0:02 - 0:03  Brightness 80 <b>[red] [2J',
        '0:04 - 0:05  Brightness 160 <b>[red] [2J',
    ]
    assert 'fake: 1.2 M parameters, float32 on cpu' in printed.err
    assert '6 rounds, 3 with words: 6 s of stream' in printed.err
    assert 'memory holds 60 of 1000 tokens (4.0 MB)' in printed.err
    assert 'UNTRAINED' not in printed.err
    records = rows(out['jsonl'])
    assert [record.sequence for record in records] == list(range(6))
    assert [record.kind for record in records] == ['caption', 'silence'] * 3
    assert [record.window_start for record in records] == [0, 1, 2, 3, 4, 5]
    assert {record.camera for record in records} == {str(video)}
    assert out['vtt'].read_text().count('-->') == out['srt'].read_text().count('-->') == 3


def test_what_a_model_does_not_know_is_said_once_and_in_the_subtitles(
    engine, video, tmp_path, capfd
):
    engine.limits = 'fake knows greys alone'
    assert svlm(video, '--vtt', tmp_path / 'out.vtt') == 0
    assert capfd.readouterr().err.count('fake knows greys alone') == 1
    assert 'NOTE fake knows greys alone' in (tmp_path / 'out.vtt').read_text()


def test_an_untrained_model_is_named_so_once_and_in_the_subtitles(engine, video, tmp_path, capfd):
    engine.trained = False
    assert svlm(video, '--duration', 2, '--vtt', tmp_path / 'out.vtt') == 0
    assert capfd.readouterr().err.count('UNTRAINED') == 1
    assert 'NOTE UNTRAINED: fake' in (tmp_path / 'out.vtt').read_text()


def test_start_and_duration_choose_the_seconds(engine, video):
    assert svlm(video, '--start', 2, '--duration', 3) == 0
    assert engine.stream.seen == [2, 3, 4]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten images; image n has the brightness 20 n."""
    path = tmp_path / 'frames'
    path.mkdir()
    for number in range(10):
        context = av.CodecContext.create('png', 'w')
        context.height, context.width, context.pix_fmt = 8, 8, 'rgb24'
        context.time_base = Fraction(1)
        picture = np.full((8, 8, 3), 20 * number, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
        data = b''.join(bytes(p) for p in (*context.encode(frame), *context.encode(None)))
        (path / f'{number}.png').write_bytes(data)
    return path


def test_a_folder_of_images_is_a_source_too(engine, folder):
    assert svlm(folder) == 0
    assert len(engine.stream.seen) == 5  # two images a second, as the stream takes them
    assert svlm(folder, '--image-fps', 5, '--fps', 4) == 0
    assert len(engine.stream.seen) == 2


@pytest.mark.parametrize('flags', [(), ('--duration', 3)])
@pytest.mark.parametrize('preset', ['robot', 'reference'])
def test_damaged_images_cost_their_own_moments_alone(engine, folder, capfd, flags, preset):
    for name in ('0.png', '4.png'):
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
    assert svlm(folder, '--preset', preset, *flags) == 1
    assert len(engine.stream.seen) == (3 if flags else 5)
    line = complaint(capfd)
    assert '2 of 10 images are left out' in line
    assert '0.png is damaged or not an image' in line


def test_a_folder_of_nothing_but_damaged_images_is_told(engine, folder, capfd):
    for path in folder.iterdir():
        path.write_bytes(b'')
    assert svlm(folder) == 1
    assert '10 of 10 images are left out' in complaint(capfd)


def test_damage_is_told_even_if_the_rest_is_not_asked_for(engine, video, tmp_path, capfd):
    scratched = tmp_path / 'scratched.mkv'
    with av.open(str(video)) as source, av.open(str(scratched), 'w') as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            if 30 <= number < 34:
                scratch = av.Packet(b'\x00\x00\x00\x05\xff' + bytes(40))
                scratch.pts, scratch.dts = packet.pts, packet.dts
                scratch.time_base = packet.time_base
                packet = scratch
            packet.stream = copy
            container.mux(packet)
    assert svlm(scratched, '--duration', 4) == 1
    assert len(engine.stream.seen) == 4
    assert 'is damaged' in complaint(capfd)


def test_the_seconds_that_fill_no_round_are_named(engine, video, capfd):
    assert svlm(video, '--start', 0.4) == 0
    assert 'the last 0.6 s make no whole round' in capfd.readouterr().err
    assert svlm(video, '--duration', 2.5) == 0
    assert 'the last 0.5 s make no whole round' in capfd.readouterr().err
    assert svlm(video) == 0
    assert 'no whole round' not in capfd.readouterr().err


@pytest.mark.parametrize(
    'flags', ['--sink none', '--window none', '--vision-window none', '--text-rounds none',
              '--policy full_attention'],
)  # fmt: skip
def test_the_length_of_a_file_bounds_what_no_limit_bounds(engine, video, tmp_path, capfd, flags):
    assert svlm(video, *flags.split()) == 0
    whole = engine.stream.settings.capacity
    assert svlm(video, *flags.split(), '--duration', 2) == 0
    assert 100 < engine.stream.settings.capacity < whole
    assert svlm(video) == 0
    assert engine.stream.settings.capacity is None
    capfd.readouterr()
    endless = tmp_path / 'raw.h264'  # such a file does not tell how long it is
    with av.open(str(video)) as source, av.open(str(endless), 'w') as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    assert svlm(endless, *flags.split()) == 1
    assert '--capacity' in complaint(capfd)
    assert svlm(endless, *flags.split(), '--capacity', 9000) == 0


def test_flags_reach_the_settings_and_the_rest_is_the_presets(engine, video):
    flags = '--query None --previous-text before --policy window --sink none --window 7'
    flags += ' --vision-window 4.5 --fps 4 --seed 3 --temperature 0 --capacity 5000'
    flags += ' --text-rounds 3 --max-new-tokens 9 --rope native --reset-every 30'
    flags += ' --model m --device cuda --dtype float16 --duration 1'
    assert svlm(video, *flags.split()) == 0
    settings = engine.stream.settings
    assert (settings.query, settings.previous_text, settings.policy) == (
        'None',
        'before',
        'window',
    )
    assert (settings.text_sink, settings.text_window) == (None, 7)
    assert (settings.vision_window, settings.fps, settings.capacity) == (4.5, 4, 5000)
    assert (settings.sampling.seed, settings.sampling.temperature) == (3, 0)
    assert (settings.text_rounds, settings.max_new_tokens) == (3, 9)
    assert (settings.rope, settings.reset_every) == ('native', 30)
    assert settings.sampling.top_k == 50
    assert engine.loaded == ('m', 'cuda', 'float16')

    assert svlm(video, '--preset', 'reference', '--vision-window', 'none', '--duration', 1) == 0
    settings = engine.stream.settings
    assert (settings.query, settings.published_quirks) == ('Commentate on this match', True)
    assert (settings.vision_window, settings.text_sink) == (None, 512)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_second_in_work(engine, video, tmp_path, number, status):
    def interrupt(round: int) -> None:
        if round == 2:
            os.kill(os.getpid(), number)

    engine.before_each = interrupt
    before = signal.getsignal(number)
    files = ('--jsonl', tmp_path / 'out.jsonl', '--vtt', tmp_path / 'out.vtt')
    assert svlm(video, *files) == status
    assert [record.sequence for record in rows(tmp_path / 'out.jsonl')] == [0, 1, 2]
    assert (tmp_path / 'out.vtt').read_text().endswith('[2J\n\n')
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once(engine, video, tmp_path, capfd):
    def interrupt(round: int) -> None:
        if round == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    engine.before_each = interrupt
    assert svlm(video, '--jsonl', tmp_path / 'out.jsonl') == 130
    assert [record.sequence for record in rows(tmp_path / 'out.jsonl')] == [0, 1]
    assert 'once more to end at once' in capfd.readouterr().err


def complaint(capfd) -> str:
    """The one line that names the trouble."""
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('svlm: ')]
    assert len(lines) == 1
    return lines[0]


def test_a_truncated_video_keeps_its_captions_and_fails(engine, video, tmp_path, capfd):
    cut = tmp_path / 'cut.mkv'
    data = video.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    assert svlm(cut, '--jsonl', tmp_path / 'out.jsonl', '--srt', tmp_path / 'out.srt') == 1
    assert 'cut.mkv is cut short' in complaint(capfd)
    records = rows(tmp_path / 'out.jsonl')
    assert 2 <= len(records) <= 5
    assert records[-1].text in (tmp_path / 'out.srt').read_text()


def test_bad_input_never_empties_older_captions(engine, video, tmp_path, capfd):
    old = tmp_path / 'out.vtt'
    old.write_text('an hour of work')
    (tmp_path / 'zero.mp4').touch()
    for source, words in (
        (tmp_path / 'zero.mp4', 'is empty'),
        (tmp_path / 'nowhere.mp4', 'no such file'),
        ('rtmp://robot/camera', 'is no file or folder; of live cameras, known are rtsp://'),
        ('rtsp://127.0.0.1:1/camera', 'connection refused'),
        ('/dev/video99', 'No such file or directory; cameras here'),
    ):
        assert svlm(source, '--vtt', old) == 1
        assert words in complaint(capfd)
    assert svlm(video, '--vtt', old, '--jsonl', tmp_path / 'no' / 'out.jsonl') == 1
    assert 'its folder does not exist' in complaint(capfd)
    assert svlm(video, '--vtt', old, '--srt', old) == 1
    assert 'named twice' in complaint(capfd)
    assert old.read_text() == 'an hour of work'


def test_a_model_that_does_not_load_costs_nothing_either(video, tmp_path, capfd, monkeypatch):
    def load(model, device, dtype):
        raise CheckpointError('shard 2 is missing')

    monkeypatch.setattr(command, 'load_engine', load)
    old = tmp_path / 'out.vtt'
    old.write_text('an hour of work')
    assert svlm(video, '--vtt', old) == 1
    assert complaint(capfd) == 'svlm: shard 2 is missing'
    assert old.read_text() == 'an hour of work'


def test_the_source_is_never_overwritten(engine, video, capfd):
    size = video.stat().st_size
    assert svlm(video, '--srt', video) == 1
    assert 'is the source' in complaint(capfd)
    assert video.stat().st_size == size


def test_no_image_of_the_source_is_overwritten(engine, folder, tmp_path, capfd):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / 'hard.jsonl').hardlink_to(folder / '3.png')
    (tmp_path / 'soft.jsonl').symlink_to(folder / '4.png')
    for name in ('frames/0.png', 'frames/../frames/9.png', 'hard.jsonl', 'soft.jsonl'):
        assert svlm(folder, '--jsonl', tmp_path / name) == 1
        assert 'is the source, or part of it' in complaint(capfd)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    assert svlm(folder, '--jsonl', folder / 'out.jsonl') == 0
    assert len(rows(folder / 'out.jsonl')) == 5


def test_two_outputs_are_two_files(engine, video, tmp_path, capfd):
    (tmp_path / 'one').touch()
    (tmp_path / 'hard').hardlink_to(tmp_path / 'one')
    (tmp_path / 'soft').symlink_to(tmp_path / 'one')
    (tmp_path / 'loose').symlink_to(tmp_path / 'to come')
    for first, second in (('one', 'hard'), ('one', 'soft'), ('loose', 'to come')):
        assert svlm(video, '--vtt', tmp_path / first, '--srt', tmp_path / second) == 1
        assert 'named twice' in complaint(capfd)
    assert svlm(video, '--vtt', '/dev/null', '--srt', '/dev/null', '--duration', 1) == 0


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='Linux has /dev/full')
def test_files_are_complete_when_captions_cannot_be_printed(video, tmp_path):
    words = ['caption', video, '--model', CHECKPOINT, '--jsonl', tmp_path / 'out.jsonl']
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [sys.executable, '-m', 'svlm_core.cli', *map(str, words)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == 'svlm: standard output cannot be written: No space left on device'
    assert 'Traceback' not in done.stderr
    assert [record.sequence for record in rows(tmp_path / 'out.jsonl')] == [0]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='Linux has /dev/full')
def test_a_full_disk_ends_with_one_line(engine, video, tmp_path, capfd):
    assert svlm(video, '--jsonl', tmp_path / 'out.jsonl', '--srt', '/dev/full') == 1
    assert 'No space left on device' in complaint(capfd)


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--start', '100'], 'nothing to caption'),
        (['--start', '-1'], 'start'),
        (['--duration', '0'], 'duration'),
        (['--image-fps', '0'], 'image-fps'),
        (['--image-fps', '5'], '--image-fps is for folders of images'),
        (['--duration', 'nan'], 'duration'),
        (['--sink', '-3'], '--sink -3 is out of range'),
        (['--max-new-tokens', '0'], '--max-new-tokens 0 is out of range'),
        (['--preset', 'reference', '--sink', 'none'], '--sink and --window must both be none'),
        (['--fps', '1.3'], '--fps 1.3 with chunk_seconds=1 gives 1.3 frames a round'),
        (['--temperature', '-1'], 'temperature'),
    ],
)
def test_a_flag_out_of_range_gives_one_line(engine, video, capfd, flags, words):
    assert svlm(video, *flags) == 1
    assert words in complaint(capfd)


def test_help_names_every_flag_and_its_default(capsys):
    with pytest.raises(SystemExit) as left:
        svlm('--help')
    assert left.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    flags = """vtt srt jsonl preset query previous-text policy sink window vision-window fps model
        device dtype seed start duration temperature image-fps capacity text-rounds
        max-new-tokens rope reset-every"""
    for flag in flags.split():
        assert f'--{flag} ' in text
    assert 'oldest tokens of previous text, kept for good (default: 512)' in text.replace('│ ', '')
    assert 'svlm caption patrol.mp4 --vtt out.vtt --jsonl out.jsonl' in text


@pytest.mark.parametrize('preset', ['robot', 'reference'])
def test_the_real_engine_captions_a_real_file(video, tmp_path, capfd, preset):
    words = (video, '--model', CHECKPOINT, '--device', 'cpu', '--dtype', 'float32')
    for name in ('first', 'again'):
        out = tmp_path / f'{name}.jsonl'
        assert svlm(*words, '--preset', preset, '--duration', 4, '--jsonl', out) == 0
    records = rows(tmp_path / 'first.jsonl')
    assert [record.sequence for record in records] == [0, 1, 2, 3]
    assert all(1 <= record.tokens <= 20 for record in records)
    assert records == rows(tmp_path / 'again.jsonl')  # same seed and frames, same captions
    assert '4 rounds' in capfd.readouterr().err
