# SPDX-License-Identifier: Apache-2.0
"""Bags: what is written can be read, by ROS too; what is damaged is read as far as it goes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags')

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from svlm_core.bags import types
from svlm_core.bags.demo import BEGIN, DELAY, DemoBag, record_demo_bag
from svlm_core.bags.reader import Bag, Message, open_bag
from svlm_core.bags.types import CAPTION, IMAGE, SECOND, STRING, header, message, typestore
from svlm_core.bags.writer import BagWriter
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.synthetic import Story

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bags of 3 s at 10 Hz, one of each kind; do not change them, copy them."""
    folder = tmp_path_factory.mktemp('bags')
    for storage in ('mcap', 'db3'):
        for compressed in (False, True):
            demo = DemoBag(3.0, storage=storage, compressed=compressed, width=56, height=42)
            record_demo_bag(folder / f'{storage}_{"jpeg" if compressed else "raw"}', demo)
    return folder


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(pristine / name, tmp_path / name))


def storage_of(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix in ('.mcap', '.db3'))


def read(path: Path) -> tuple[list[Message], str]:
    """All images that can be read, and what was wrong."""
    found: list[Message] = []
    problem = ''
    with open_bag(path) as bag:
        try:
            for image in bag.messages(bag.image_topic()):
                found.append(image)
        except SourceError as error:
            problem = str(error)
    assert '\n' not in problem
    return found, problem


KINDS = ['mcap_raw', 'mcap_jpeg', 'db3_raw', 'db3_jpeg']


# Whole bags


@pytest.mark.parametrize('kind', KINDS)
def test_the_demo_bag_shows_the_synthetic_camera(kind: str, pristine: Path) -> None:
    images, problem = read(pristine / kind)
    assert (len(images), problem) == (30, '')
    assert [image.received for image in images[:2]] == [
        BEGIN + DELAY,
        BEGIN + SECOND // 10 + DELAY,
    ]
    third = images[2].content
    assert types.nanoseconds(third.header.stamp) == BEGIN + SECOND // 5
    assert third.header.frame_id == 'camera'
    if kind.endswith('raw'):
        pixels = third.data.reshape(42, 56, 3)
        assert np.array_equal(pixels, Story(0, 42, 56).frame(0.2))


def test_one_file_of_a_bag_is_a_bag_too(pristine: Path) -> None:
    for kind in KINDS:
        assert len(read(storage_of(pristine / kind))[0]) == 30


def test_the_same_demo_bag_has_the_same_bytes(tmp_path: Path) -> None:
    for place in ('here', 'there'):
        (tmp_path / place).mkdir()
        record_demo_bag(tmp_path / place / 'bag', DemoBag(1.0, width=56, height=42))
    for file in ('bag.mcap', 'metadata.yaml'):
        here, there = (tmp_path / place / 'bag' / file for place in ('here', 'there'))
        assert here.read_bytes() == there.read_bytes()


def test_a_bag_is_never_overwritten_and_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'bag').mkdir()
    with pytest.raises(OutputError, match='exists'):
        record_demo_bag(tmp_path / 'bag', DemoBag(1.0))
    frames = iter([np.zeros((168, 224, 3), np.uint8)] * 3)
    monkeypatch.setattr(Story, 'frame', lambda self, t: next(frames))
    with pytest.raises(StopIteration):
        record_demo_bag(tmp_path / 'other', DemoBag(1.0))
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_what_a_killed_process_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / '.bag.part' / 'bag').mkdir(parents=True)
    record_demo_bag(tmp_path / 'bag', DemoBag(1.0, width=56, height=42))
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_demo_settings_out_of_range_are_refused() -> None:
    for wrong in ({'seconds': 0.0}, {'rate': -1.0}, {'seed': -1}, {'storage': 'zip'}):
        with pytest.raises(SettingsError):
            DemoBag(**wrong)


# What we write, ROS reads


def test_the_definition_in_the_package_is_the_one_that_ros_builds() -> None:
    assert types.DEFINITION.read_bytes() == (ROOT / 'msg' / 'Caption.msg').read_bytes()
    built = ROOT / 'install' / 'svlm' / 'share' / 'svlm' / 'msg' / 'Caption.json'
    if not built.exists():
        pytest.skip('the messages are not built here')
    hashes = {
        row['type_name']: row['hash_string']
        for row in json.loads(built.read_text())['type_hashes']
    }
    assert typestore().hash_rihs01(CAPTION) == hashes['svlm/msg/Caption']


def caption(text: str) -> object:
    return message(
        CAPTION,
        header=header(1_700_000_000_123_456_789, 'front'),
        camera='/image',
        window_start=types.time(1_700_000_000_000_000_001),
        sequence=2**40,
        kind=3,
        text=text,
        delta=text,
        done=True,
        late=True,
        frames_used=2,
        frames_repeated=1,
        frames_dropped=7,
        tokens=20,
        latency=0.25,
    )


def test_a_caption_we_write_is_a_caption_to_ros() -> None:
    pytest.importorskip('rclpy')
    messages = pytest.importorskip('svlm.msg')
    from rclpy.serialization import deserialize_message, serialize_message

    ours = caption('Ein Männchen läuft 🚶')
    data = bytes(typestore().serialize_cdr(ours, CAPTION))
    theirs = deserialize_message(data, messages.Caption)
    assert (theirs.header.stamp.nanosec, theirs.header.frame_id) == (123_456_789, 'front')
    assert (theirs.window_start.sec, theirs.window_start.nanosec) == (1_700_000_000, 1)
    assert (theirs.sequence, theirs.kind, theirs.late) == (2**40, messages.Caption.SILENCE, True)
    assert (theirs.text, theirs.tokens, theirs.latency) == (ours.text, 20, 0.25)
    assert typestore().deserialize_cdr(serialize_message(theirs), CAPTION) == ours


def test_a_caption_bag_carries_the_whole_definition(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag', {'/c': CAPTION, '/t': STRING}) as bag:
        bag.write('/c', caption('one'), 5)
        bag.write('/t', message(STRING, data='one'), 5)
        bag.finish()
    data = (tmp_path / 'bag' / 'bag.mcap').read_bytes()
    assert b'string text' in data
    assert b'MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp' in data
    with open_bag(tmp_path / 'bag') as again:
        assert [(t.name, t.type, t.count) for t in again.topics] == [
            ('/c', CAPTION, 1),
            ('/t', STRING, 1),
        ]
        [only] = again.messages(again.topics[0])
    assert (only.received, only.content) == (5, caption('one'))


# Topics


def test_the_only_image_topic_is_found_and_several_are_listed(tmp_path: Path) -> None:
    images = {'/left': IMAGE, '/right': IMAGE}
    with BagWriter(tmp_path / 'bag', images | {'/words': STRING}) as bag:
        picture = message(
            IMAGE, header=header(1, ''), height=1, width=1, encoding='rgb8', is_bigendian=0,
            step=3, data=np.zeros(3, np.uint8),
        )  # fmt: skip
        bag.write('/left', picture, 1)
        bag.write('/words', message(STRING, data='x'), 1)
        bag.finish()
    with open_bag(tmp_path / 'bag') as bag:
        assert bag.image_topic().name == '/left'  # the other one is empty
        assert_says(bag, '/right', 'no messages on /right')
        assert_says(bag, '/words', 'no image topic /words: choose from /left, /right')
        assert_says(bag, '/nowhere', 'no image topic /nowhere')


def assert_says(bag: Bag, topic: str | None, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        bag.image_topic(topic)
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_several_cameras_and_none_are_told_in_one_line(tmp_path: Path) -> None:
    picture = message(
        IMAGE, header=header(1, ''), height=1, width=1, encoding='rgb8', is_bigendian=0,
        step=3, data=np.zeros(3, np.uint8),
    )  # fmt: skip
    with BagWriter(tmp_path / 'two', {'/left': IMAGE, '/right': IMAGE}) as bag:
        bag.write('/left', picture, 1)
        bag.write('/right', picture, 2)
        bag.finish()
    with open_bag(tmp_path / 'two') as bag:
        assert_says(bag, None, 'name one with --topic: /left, /right')
    with BagWriter(tmp_path / 'none', {'/words': STRING}) as bag:
        bag.write('/words', message(STRING, data='x'), 1)
        bag.finish()
    with open_bag(tmp_path / 'none') as bag:
        assert_says(bag, None, 'holds no image topic; it holds /words (std_msgs/msg/String)')


def test_what_is_no_bag_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'old.bag').write_bytes(b'#ROSBAG V2.0\n')
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'zero.mcap').touch()
    (tmp_path / 'zero.db3').touch()
    (tmp_path / 'text.mcap').write_text('hello, this is a text and no bag at all')
    for name, words in (
        ('nowhere', 'no such bag'),
        ('old.bag', 'ROS 1'),
        ('notes.txt', 'no bag of ROS 2'),
        ('empty', 'no bag of ROS 2'),
        ('zero.mcap', 'cannot be read'),
        ('zero.db3', 'cannot be read'),
        ('text.mcap', 'cannot be read'),
    ):
        with pytest.raises(SourceError) as caught:
            open_bag(tmp_path / name)
        assert words in str(caught.value), name
        assert '\n' not in str(caught.value)


# Damage


@pytest.mark.parametrize('part', [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize('kind', KINDS)
def test_a_bag_that_was_cut_off_gives_what_is_there(
    kind: str, part: float, copy: Callable[[str], Path], pristine: Path
) -> None:
    bag = copy(kind)
    file = storage_of(bag)
    data = file.read_bytes()
    file.write_bytes(data[: int(part * len(data))])
    (bag / 'metadata.yaml').unlink()  # a recorder writes it last
    images, problem = read(bag)
    whole = read(pristine / kind)[0]
    assert 0 < len(images) <= 30
    assert problem or len(images) == 30  # a .db3 may end in pages that hold nothing
    for image, before in zip(images, whole, strict=False):
        assert image.received == before.received
        assert np.array_equal(image.content.data, before.content.data)
    if problem:
        assert 'cut off or damaged' in problem
        assert f'{len(images)} messages of ' in problem
        assert f'up to {(len(images) - 1) / 10:.1f} s after the first' in problem


def test_a_compressed_chunk_that_was_cut_off_is_unpacked_as_far_as_it_goes(tmp_path: Path) -> None:
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    draws = np.random.default_rng(0)
    with writer:
        images = writer.add_connection('/image', IMAGE, typestore=typestore())
        for number in range(40):
            picture = message(
                IMAGE, header=header(number, ''), height=100, width=100, encoding='rgb8',
                is_bigendian=0, step=300, data=draws.integers(0, 255, 30_000, np.uint8),
            )  # fmt: skip
            writer.write(images, number, typestore().serialize_cdr(picture, IMAGE))
    assert len(read(tmp_path / 'bag')[0]) == 40
    file = storage_of(tmp_path / 'bag')
    file.write_bytes(file.read_bytes()[:800_000])  # within the first chunk, of 1 MiB
    images, problem = read(tmp_path / 'bag')
    assert [image.received for image in images] == list(range(len(images)))
    assert 10 < len(images) < 30
    assert 'cut off' in problem


def test_a_corrupted_mcap_gives_the_messages_before_the_damage(
    copy: Callable[[str], Path],
) -> None:
    bag = copy('mcap_jpeg')
    file = storage_of(bag)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = b'\xa5' * 4000
    file.write_bytes(data)
    images, problem = read(bag)
    assert 5 < len(images) < 20
    assert 'make no sense' in problem


def test_a_corrupted_db3_gives_the_messages_before_the_damage(copy: Callable[[str], Path]) -> None:
    bag = copy('db3_raw')
    file = storage_of(bag)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = b'\xa5' * 20_000
    file.write_bytes(data)
    images, problem = read(bag)
    assert 5 < len(images) < 25
    assert 'malformed' in problem


def test_a_half_written_last_message_is_counted_and_told(copy: Callable[[str], Path]) -> None:
    bag = copy('db3_raw')
    with sqlite3.connect(storage_of(bag)) as database:
        [(last, data)] = database.execute('SELECT id, data FROM messages ORDER BY id DESC LIMIT 1')
        half = (data[: len(data) // 2], last)
        database.execute('UPDATE messages SET data = ? WHERE id = ?', half)
    database.close()
    images, problem = read(bag)
    assert len(images) == 30
    assert [image.content is None for image in images] == [False] * 29 + [True]
    assert '1 of 30 messages are cut short' in problem
    assert '29 messages of /camera/image_raw can be read' in problem


def test_a_bag_without_its_metadata_is_whole(copy: Callable[[str], Path]) -> None:
    bag = copy('mcap_raw')
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')
    assert len(read(bag)[0]) == 30
    (bag / 'metadata.yaml').unlink()
    images, problem = read(bag)
    assert (len(images), problem) == (30, '')
    with open_bag(bag) as opened:
        assert 'metadata.yaml is missing' in opened.notes[0]


def test_the_parts_of_a_split_bag_are_read_in_order(copy: Callable[[str], Path]) -> None:
    bag = copy('mcap_raw')
    (bag / 'metadata.yaml').unlink()
    storage_of(bag).rename(bag / 'bag_10.mcap')
    demo = DemoBag(1.0, seed=1, width=56, height=42)
    first = storage_of(record_demo_bag(bag.parent / 'first', demo))
    data = first.read_bytes()
    (bag / 'bag_2.mcap').write_bytes(data[: len(data) // 2])
    images, problem = read(bag)
    assert 31 < len(images) < 40
    assert 'bag_2.mcap is cut off' in problem
    room = Story(1, 42, 56).frame(0)
    assert np.array_equal(images[0].content.data.reshape(42, 56, 3), room)
