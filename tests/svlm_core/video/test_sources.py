# SPDX-License-Identifier: Apache-2.0
"""What a user may point at: every readable file gives its frames, every other one clear line."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core.errors import SettingsError, SourceError
from svlm_core.video.sources import open_source


def read(path: Path, **options) -> list:
    with open_source(path, **options) as source:
        return list(source)


def read_until_error(path: Path, **options) -> tuple[list, SourceError]:
    """Every frame that comes before the SourceError, and the error."""
    frames = []
    with open_source(path, **options) as source, pytest.raises(SourceError) as caught:
        frames.extend(source)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    return frames, caught.value


@pytest.mark.parametrize('name', ['clip.mp4', 'clip.mkv', 'clip.ts', 'clip.avi'])
@pytest.mark.parametrize('fps', [24, Fraction(30000, 1001)])
def test_every_frame_comes_with_its_time(make_video, read_number, name, fps):
    frames = read(make_video(name, 40, fps))
    assert [read_number(frame.rgb()) for frame in frames] == list(range(40))
    expected = np.arange(41) / float(fps)
    np.testing.assert_allclose([frame.stamp for frame in frames], expected[:-1], atol=1e-3)
    np.testing.assert_allclose([frame.end for frame in frames], expected[1:], atol=2e-3)
    assert frames[0].rgb().shape == (64, 160, 3)
    assert frames[0].rgb().dtype == np.uint8


def test_a_variable_frame_rate_keeps_the_real_times(make_video):
    stamps = [0.0, 0.1, 0.15, 0.9, 1.0, 2.5, 2.6]
    path = make_video('phone.mp4', len(stamps), stamps=stamps)
    np.testing.assert_allclose([f.stamp for f in read(path)], stamps, atol=1e-3)


def test_frames_without_time_stamps_follow_each_other(make_video, read_number):
    frames = read(make_video('raw.h264', 30, 25), start=0.5)
    steps = np.diff([frame.stamp for frame in frames])
    assert [read_number(frame.rgb()) for frame in frames] == list(range(30))
    np.testing.assert_allclose(steps, 1 / 25, atol=1e-6)


@pytest.mark.parametrize(
    ('name', 'codec'),
    [
        ('a.mov', 'libx264'),
        ('a.webm', 'libvpx'),
        ('a.flv', 'libx264'),
        ('a.mpg', 'mpeg2video'),
        ('a.m1v', 'mpeg1video'),
        ('a.wmv', 'wmv2'),
    ],
)
def test_a_whole_file_of_any_kind_is_never_called_damaged(make_video, name, codec):
    path = make_video(name, 120, 24, codec=codec, noise=True)
    for start in (0.0, 3.0):
        frames = read(path, start=start)
        assert frames[0].stamp <= start
        assert frames[-1].stamp == pytest.approx(119 / 24, abs=0.05)


@pytest.mark.parametrize('name', ['clip.mp4', 'clip.mkv', 'clip.ts'])
def test_start_goes_near_the_place_and_never_past_it(make_video, read_number, name):
    frames = read(make_video(name, 240, 24), start=7.0)
    assert frames[0].stamp <= 7.0
    assert [read_number(f.rgb()) for f in frames] == [round(f.stamp * 24) for f in frames]
    if name != 'clip.ts':  # which has no index
        assert frames[0].stamp > 5.0
    assert read_number(frames[-1].rgb()) == 239


def test_a_phone_video_stands_upright(make_video):
    path = make_video('phone.mp4', 4)
    data = bytearray(path.read_bytes())
    matrix = data.index(b'tkhd') + 4 + 40
    upright = data[matrix : matrix + 36]
    assert struct.unpack('>9i', upright) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    # As a phone held upright writes it: to be shown after a clockwise quarter turn.
    data[matrix : matrix + 36] = struct.pack('>9i', 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    plain = read(path)[1].rgb()
    path.write_bytes(data)
    turned = read(path)[1].rgb()
    assert turned.shape == (160, 64, 3)
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


def test_a_name_is_never_taken_for_a_protocol_or_a_pattern(make_video):
    for name in ('http:clip.mp4', '100%d.mkv', 'a b?.mp4'):
        assert len(read(make_video(name, 5))) == 5


def test_a_source_knows_its_duration(make_video, tmp_path, make_image):
    for name in ('clip.mp4', 'clip.mkv', 'clip.ts'):
        assert open_source(make_video(name, 48, 24)).duration == pytest.approx(2.0, abs=0.01)
    folder = tmp_path / 'frames'
    folder.mkdir()
    make_image(folder / '1.png', 1)
    assert open_source(folder, image_fps=4).duration == 0.25


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('cut.mkv', {}),
        ('cut.ts', {}),
        ('mpeg2.ts', {}),
        ('cut.avi', {}),
        ('cut.mp4', {'movflags': 'faststart'}),
        ('cut.mp4', {'movflags': 'frag_keyframe+empty_moov'}),
    ],
)
def test_a_truncated_video_gives_what_it_has_and_then_says_so(
    make_video, read_number, name, options
):
    codec = 'mpeg2video' if name == 'mpeg2.ts' else 'libx264'
    path = make_video(name, 96, 24, codec=codec, noise=True, **options)
    size = path.stat().st_size * 6 // 10
    if path.suffix == '.ts':  # cut between two packets, it looks like a whole one
        size = size // 188 * 188 + 94
    path.write_bytes(path.read_bytes()[:size])
    frames, error = read_until_error(path)
    assert 30 <= len(frames) <= 75
    whole = frames[:-1]  # MPEG-2 does not tell that the last picture is half a picture
    assert [read_number(frame.rgb()) for frame in whole] == list(range(len(whole)))
    assert 'cut short' in str(error) or 'damaged' in str(error)


def test_damage_in_the_middle_does_not_cost_the_rest(make_video, read_number):
    path = make_video('scratched.mkv', 96, 24, noise=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    frames, error = read_until_error(path)
    assert frames[-1].stamp == pytest.approx(95 / 24, abs=0.01)
    assert 'damaged' in str(error)
    stamps = [frame.stamp for frame in frames]
    assert stamps == sorted(stamps)


def test_frames_that_the_demuxer_steps_over_are_missed(make_video, read_number):
    path = make_video('eaten.mkv', 96, 24, noise=True)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    # The header of a block: what comes before the next readable element is thrown away.
    at = packets[40].pos - 8
    data[at : at + 16] = b'\xff' * 16
    path.write_bytes(data)
    frames, error = read_until_error(path)
    assert len(frames) < 96
    assert frames[-1].stamp == pytest.approx(95 / 24, abs=0.01)
    assert 'damaged' in str(error)


def test_a_pause_between_frames_is_no_damage(make_video):
    stamps = [*np.arange(48) / 24, *(5 + np.arange(48) / 24)]
    assert len(read(make_video('pause.mkv', 96, stamps=stamps, noise=True))) == 96


def test_sound_between_the_pictures_is_no_damage(make_video, tmp_path):
    stamps = [*np.arange(48) / 24, *(5 + np.arange(48) / 24)]
    path = make_video('pause.mkv', 96, stamps=stamps, codec='mpeg4')
    both = tmp_path / 'both.mkv'
    with av.open(str(path)) as source, av.open(str(both), 'w') as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream('pcm_s16le', rate=8000, layout='mono')
        noise = av.AudioFrame.from_ndarray(np.ones((1, 56_000), np.int16), layout='mono')
        noise.sample_rate = 8000
        container.mux(sound.encode(noise))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    assert len(read(both)) == 96


def test_a_video_that_lost_its_index_is_refused_at_once(make_video):
    path = make_video('cut.mp4', 48)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(SourceError, match=r'cut.mp4 is no video, or is cut off before its index'):
        open_source(path)


def test_what_is_not_a_video_gives_one_clear_line(tmp_path):
    def refusal(path: Path | str) -> str:
        with pytest.raises(SourceError) as caught:
            open_source(path)
        assert '\n' not in str(caught.value)
        return str(caught.value)

    (tmp_path / 'empty.mp4').touch()
    assert 'empty.mp4 is empty (0 bytes)' in refusal(tmp_path / 'empty.mp4')
    (tmp_path / 'junk.mp4').write_bytes(np.random.default_rng(1).bytes(50_000))
    assert 'junk.mp4 is no video' in refusal(tmp_path / 'junk.mp4')
    (tmp_path / 'notes.txt').write_text('a patrol\n' * 200)
    assert 'notes.txt is a text file' in refusal(tmp_path / 'notes.txt')
    assert 'no such file or folder' in refusal(tmp_path / 'nowhere.mp4')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / 'readme.md').touch()
    assert 'folder holds no images' in refusal(tmp_path / 'folder')


@pytest.mark.parametrize('live', ['rtsp://u:p@robot/camera', '/dev/video0', 'SRT://robot/camera'])
def test_what_is_no_file_is_refused_by_name(live):
    with pytest.raises(SourceError, match='is no file or folder; of live cameras') as caught:
        open_source(live)
    assert 'u:p' not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / 'song.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000, layout='mono')
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout='mono')
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(SourceError, match=r'no video stream: it holds audio only'):
        open_source(path)


def test_numbers_out_of_range_are_settings_errors(tmp_path):
    for bad in (-1, float('nan'), float('inf')):
        with pytest.raises(SettingsError, match='start'):
            open_source(tmp_path, start=bad)
        with pytest.raises(SettingsError, match='image_fps'):
            open_source(tmp_path, image_fps=bad)


def test_images_are_shown_in_the_order_people_count(tmp_path, make_image, read_number):
    for name, number in (('f10.png', 10), ('f2.jpg', 2), ('F1.PNG', 1), ('.f0.png', 0)):
        make_image(tmp_path / name.replace('PNG', 'png'), number)
    (tmp_path / 'notes.txt').touch()
    frames = read(tmp_path, image_fps=4)
    assert [read_number(frame.rgb()) for frame in frames] == [1, 2, 10]
    assert [(frame.stamp, frame.end) for frame in frames] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75)]
    assert [read_number(frame.rgb()) for frame in read(tmp_path, start=0.6, image_fps=4)] == [10]


@pytest.mark.parametrize('name', ['2.png', '2.jpg'])
@pytest.mark.parametrize('keep', [0.5, 0])
def test_a_damaged_image_is_left_out_and_named(tmp_path, make_image, read_number, name, keep):
    for number in (1, 3):
        make_image(tmp_path / f'{number}.png', number)
    path = make_image(tmp_path / name, 2)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    frames, error = read_until_error(tmp_path)
    assert [(frame.stamp, read_number(frame.rgb())) for frame in frames] == [(0, 1), (1, 3)]
    assert f'1 of 3 images are left out: {path} is damaged or not an image' in str(error)


def test_damage_found_so_far_can_be_asked_for(tmp_path, make_image):
    for number in (1, 2, 3):
        make_image(tmp_path / f'{number}.png', number)
    (tmp_path / '2.png').write_bytes(b'')
    with open_source(tmp_path) as source:
        frames = iter(source)
        next(frames)
        source.verify()
        next(frames)
        with pytest.raises(SourceError, match='1 of 3 images'):
            source.verify()
