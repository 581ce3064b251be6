# SPDX-License-Identifier: Apache-2.0
"""`svlm replay` as a person meets it: the same files again, a report, one line of trouble."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rosbags')

from svlm_core import cli
from svlm_core.bags.demo import BEGIN, DELAY, DemoBag, record_demo_bag
from svlm_core.bags.reader import open_bag
from svlm_core.bags.types import CAPTION, IMAGE, SECOND, STRING, header, message, nanoseconds
from svlm_core.bags.writer import BagWriter
from svlm_core.caption import Caption
from svlm_core.commands import replay as command
from svlm_core.commands.record_demo_bag import RecordDemoBag
from svlm_core.config import StreamSettings
from svlm_core.engine import EngineInfo
from svlm_core.errors import MemoryFull
from svlm_core.records import Record

TOPIC = '/camera/image_raw'


@dataclass
class FakeStream:
    """Says the brightness it sees, and nothing on every third round."""

    settings: StreamSettings
    before_each: Callable[[int], None]
    held: int = 0
    capacity: int = 1000
    memory_bytes: int = 4_000_000

    def step(self, frames: np.ndarray, start: float) -> Caption:
        number = round(start)
        self.before_each(number)
        assert frames.shape[0] == self.settings.frames_per_round
        self.held += 10
        text = f'Brightness {frames.mean():.1f} <b>' if number % 3 else ''
        return Caption(text, start, start + 1, (1, 2), 'end', self.held, {'decode': 0.001})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine that needs no model."""
    fake = SimpleNamespace(before_each=lambda number: None, trained=True)

    def load(model: str | None, device: str, dtype: str) -> Any:
        info = EngineInfo('fake', fake.trained, 'cpu', 'float32', 'sdpa', 1_200_000)
        return SimpleNamespace(info=info, open=lambda s: FakeStream(s, fake.before_each))

    monkeypatch.setattr(command, 'load_engine', load)
    return fake


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, 'replay', command.Replay)
    monkeypatch.setitem(cli.COMMANDS, 'record-demo-bag', RecordDemoBag)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of the synthetic camera; do not change it, copy it."""
    demo = DemoBag(5.0, width=56, height=42)
    return record_demo_bag(tmp_path_factory.mktemp('recorded') / 'bag', demo)


def svlm(*words: object) -> int:
    return cli.main([*map(str, words)])


def replay(bag: Path, output: Path, *words: object) -> int:
    return svlm('replay', bag, '--output', output, *words)


def rows(output: Path) -> list[Record]:
    lines = (output / 'captions.jsonl').read_text().splitlines()
    return [Record.from_json(line) for line in lines]


def report(output: Path) -> dict[str, Any]:
    return json.loads((output / 'report.json').read_text())


def complaint(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that names the trouble."""
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('svlm: ')]
    assert len(lines) == 1
    return lines[0]


FILES = ('captions.vtt', 'captions.jsonl', 'captions/captions.mcap', 'captions/metadata.yaml')


# The same again


@pytest.mark.parametrize('flags', [(), ('--storage', 'db3', '--compressed')], ids=str)
def test_a_demo_bag_replays_twice_to_the_same_bytes_with_the_real_engine(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    recorded = tmp_path / 'bag'
    assert svlm('record-demo-bag', recorded, '--seconds', 5, *flags) == 0
    for name in ('first', 'again'):
        assert replay(recorded, tmp_path / name, '--device', 'cpu', '--dtype', 'float32') == 0
    for file in FILES:
        assert (tmp_path / 'first' / file).read_bytes() == (tmp_path / 'again' / file).read_bytes()
    assert [record.sequence for record in rows(tmp_path / 'first')] == [0, 1, 2, 3, 4]
    reports = [report(tmp_path / name) for name in ('first', 'again')]
    assert all(found.pop('timing')['latency']['p50'] > 0 for found in reports)
    assert reports[0] == reports[1]


def test_another_seed_gives_other_captions(tmp_path: Path, bag: Path) -> None:
    for seed in (1, 2):
        drawn = ('--seed', seed, '--temperature', 3)
        assert replay(bag, tmp_path / str(seed), *drawn, '--device', 'cpu') == 0
    texts = [[record.text for record in rows(tmp_path / str(seed))] for seed in (1, 2)]
    assert texts[0] != texts[1]


# What is written


def test_records_messages_and_subtitles_agree(engine: Any, bag: Path, tmp_path: Path) -> None:
    assert replay(bag, tmp_path / 'out') == 0
    records = rows(tmp_path / 'out')
    kinds = 'silence caption caption silence caption'
    assert [record.kind for record in records] == kinds.split()
    second = records[1]
    assert (second.stamp, second.window_start) == (1_700_000_001.5, 1_700_000_001.0)
    assert (second.camera, second.frame_id, second.latency) == (TOPIC, 'camera', None)
    assert (second.frames_used, second.frames_dropped, second.tokens) == (2, 8, 2)
    with open_bag(tmp_path / 'out' / 'captions') as written:
        by_name = {topic.name: topic for topic in written.topics}
        assert by_name['/captioner/caption'].type == CAPTION
        captions = list(written.messages(by_name['/captioner/caption']))
        texts = list(written.messages(by_name['/captioner/text']))
    assert by_name['/captioner/text'].type == STRING
    assert [m.content.sequence for m in captions] == [0, 1, 2, 3, 4]
    assert [m.content.data for m in texts] == [record.text for record in records if record.text]
    one = captions[1]
    assert nanoseconds(one.content.header.stamp) == BEGIN + 3 * SECOND // 2
    assert nanoseconds(one.content.window_start) == BEGIN + SECOND
    assert one.received == BEGIN + 3 * SECOND // 2 + DELAY  # when the node would have said it
    assert (one.content.text, one.content.delta) == (second.text, second.text)
    assert (one.content.latency, one.content.late, one.content.done) == (0, False, True)
    assert [m.content.kind for m in captions] == [3, 0, 0, 3, 0]
    vtt = (tmp_path / 'out' / 'captions.vtt').read_text()
    assert '00:00:01.000 --> 00:00:02.000\nBrightness' in vtt
    assert vtt.count('-->') == 3


def test_the_report_accounts_for_every_frame(engine: Any, tmp_path: Path) -> None:
    moments = [n / 10 for n in range(50) if n not in (12, 13, 31)]
    with BagWriter(tmp_path / 'bag', {'/cam': IMAGE}) as writer:
        for number, moment in enumerate(moments):
            stamp = 0 if number == 3 else 10 * SECOND + round(moment * SECOND)
            encoding = 'bgr8' if number != 8 else '32FC1'
            content = message(
                IMAGE, header=header(stamp, 'cam'), height=2, width=2, encoding=encoding,
                is_bigendian=0, step=6, data=np.zeros(12, np.uint8),
            )  # fmt: skip
            writer.write('/cam', content, 10 * SECOND + round(moment * SECOND))
            if number == 20:
                late = message(
                    IMAGE, header=header(9 * SECOND, 'cam'), height=2, width=2, encoding='bgr8',
                    is_bigendian=0, step=6, data=np.zeros(12, np.uint8),
                )  # fmt: skip
                writer.write('/cam', late, 10 * SECOND + round(moment * SECOND) + 1)
        writer.finish()
    assert replay(tmp_path / 'bag', tmp_path / 'out') == 0
    found = report(tmp_path / 'out')
    frames = found['frames']
    assert frames['received'] == 48 == frames['used'] + frames['dropped']
    reasons = [count for name, count in frames.items() if name.startswith('dropped_')]
    assert sum(reasons) == frames['dropped']
    assert (frames['dropped_out_of_order'], frames['dropped_unreadable']) == (1, 1)
    camera = found['camera']
    # Frame 8 came but cannot be shown, so it leaves a gap like those that never came.
    assert [(round(gap['after'], 1), gap['missed']) for gap in camera['gaps']] == [
        (0.7, 1),
        (1.1, 2),
        (3.0, 1),
    ]
    assert (camera['missed'], camera['zero_stamps']) == (4, 1)
    assert camera['usual_rate'] == pytest.approx(10)
    assert found['memory']['held'] == [10, 20, 30, 40, 50]
    assert found['complete']
    told = ' '.join(found['problems'])
    assert all(word in told for word in ('32FC1', 'no stamp', 'not after the one before'))


class Page(HTMLParser):
    """Collects the links and tags of a page and checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or '' for name, value in attributes if name in ('src', 'href')]
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(engine: Any, bag: Path, tmp_path: Path) -> None:
    engine.trained = False
    assert replay(bag, tmp_path / 'out') == 0
    text = (tmp_path / 'out' / 'report.html').read_text()
    page = Page(text)
    assert page.tags.count('img') == 5
    assert page.tags.count('svg') >= 4
    assert all(source.startswith('data:image/jpeg;base64,') for source in page.sources)
    assert 'script' not in page.tags
    assert not re.search(r'https?://', text)
    assert "default-src 'none'" in text
    assert '&lt;b&gt;' in text  # what a model says is never markup
    assert 'UNTRAINED: fake' in text
    assert 'UNTRAINED' in (tmp_path / 'out' / 'captions.vtt').read_text()


def test_a_reference_and_another_run_stand_beside(engine: Any, bag: Path, tmp_path: Path) -> None:
    assert replay(bag, tmp_path / 'one') == 0
    for name in ('captions.vtt', 'captions.jsonl'):
        reference = tmp_path / 'one' / name
        assert replay(bag, tmp_path / name, '--reference', reference) == 0
        found = report(tmp_path / name)['reference']['agreement']
        assert (found['rounds'], found['f1'], found['exact'], found['silence']) == (5, 1, 1, 1)
    edited = (tmp_path / 'one' / 'captions.vtt').read_text().replace('Brightness', 'Darkness', 1)
    (tmp_path / 'edited.vtt').write_text(edited)
    words = ('--reference', tmp_path / 'edited.vtt', '--compare', tmp_path / 'one')
    assert replay(bag, tmp_path / 'two', *words) == 0
    found = report(tmp_path / 'two')
    assert 0 < found['reference']['agreement']['f1'] < 1
    assert found['reference']['agreement']['exact'] == 4 / 5
    assert (found['compared']['same_bag'], found['compared']['same_captions']) == (True, True)
    text = (tmp_path / 'two' / 'report.html').read_text()
    assert 'Darkness' in text
    assert text.count('other run') > 5
    Page(text)


def test_at_the_pace_of_the_recording_latencies_are_real(
    engine: Any, bag: Path, tmp_path: Path
) -> None:
    short = tmp_path / 'bag'
    record_demo_bag(short, DemoBag(2.0, width=56, height=42))
    assert replay(short, tmp_path / 'out', '--realtime') == 0
    found = report(tmp_path / 'out')
    assert found['mode'] == 'realtime'
    records = rows(tmp_path / 'out')
    assert records
    assert all(record.latency is not None and record.latency > 0 for record in records)
    with open_bag(tmp_path / 'out' / 'captions') as written:
        topic = written.topic('/captioner/caption')
        assert topic
        latencies = [m.content.latency for m in written.messages(topic)]
    assert latencies == pytest.approx([record.latency for record in records])


# Trouble


def test_a_run_is_not_overwritten_unasked(
    engine: Any, bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'notes.txt').write_text('mine')
    assert replay(bag, out) == 0
    before = (out / 'report.json').read_bytes()
    assert replay(bag, out) == 1
    assert 'holds another run' in complaint(capfd)
    assert replay(tmp_path / 'nowhere', out, '--overwrite') == 1
    assert (out / 'report.json').read_bytes() == before
    assert replay(bag, out, '--overwrite', '--query', 'again') == 0
    assert report(out)['settings']['query'] == 'again'
    assert (out / 'notes.txt').read_text() == 'mine'
    assert not [path for path in out.iterdir() if path.name.startswith('.')]


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('--topic', '/front'), 'no image topic /front: choose from /camera/image_raw'),
        (('--reference', 'nowhere.vtt'), 'neither a file nor a topic'),
        (('--compare', 'nowhere'), 'no run to compare with'),
        (('--realtime', '--deterministic'), 'exclude each other'),
        (('--fps', '1.3'), 'frames a round'),
    ],
)
def test_flags_that_cannot_be_met_give_one_line_and_leave_nothing(
    engine: Any,
    bag: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    assert replay(bag, tmp_path / 'out', *words) == 1
    assert told in complaint(capfd)
    assert not (tmp_path / 'out').exists()


def test_captions_do_not_go_into_the_bag(
    engine: Any, bag: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(bag.iterdir())
    assert replay(bag, bag) == 1
    assert 'is a bag' in complaint(capfd)
    assert sorted(bag.iterdir()) == before


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_a_bag_that_was_cut_off_is_reported_as_far_as_it_goes(
    engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], storage: Any
) -> None:
    torn = tmp_path / 'bag'
    record_demo_bag(torn, DemoBag(5.0, width=56, height=42, storage=storage))
    (torn / 'metadata.yaml').unlink()
    [file] = torn.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    assert replay(torn, tmp_path / 'out') == 1
    line = complaint(capfd)
    assert 'cut off or damaged' in line
    records = rows(tmp_path / 'out')
    assert [record.sequence for record in records] == [0, 1, 2]
    found = report(tmp_path / 'out')
    assert not found['complete']
    assert line == f'svlm: {found["problems"][0]}'
    assert 'cut off or damaged' in (tmp_path / 'out' / 'report.html').read_text()
    with open_bag(tmp_path / 'out' / 'captions') as written:
        assert written.topics[0].count == 3


def test_a_bag_without_a_whole_round_gives_one_line(
    engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record_demo_bag(tmp_path / 'bag', DemoBag(0.3, width=56, height=42))
    assert replay(tmp_path / 'bag', tmp_path / 'out') == 1
    assert 'nothing to caption on /camera/image_raw: its frames do not fill' in complaint(capfd)
    assert report(tmp_path / 'out')['frames']['received'] == 3
    assert not (tmp_path / 'out' / 'captions').exists()


def test_an_engine_that_fails_leaves_a_report_of_what_was_done(
    engine: Any, bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise MemoryFull('no room for round 2')

    engine.before_each = fail
    assert replay(bag, tmp_path / 'out') == 1
    assert complaint(capfd) == 'svlm: no room for round 2'
    assert report(tmp_path / 'out')['problems'] == ['no room for round 2']
    assert len(rows(tmp_path / 'out')) == 2


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_second_in_work(
    engine: Any, bag: Path, tmp_path: Path, number: int, status: int
) -> None:
    engine.before_each = lambda round: os.kill(os.getpid(), number) if round == 1 else None
    assert replay(bag, tmp_path / 'out') == status
    found = report(tmp_path / 'out')
    assert found['rounds']['captioned'] == 2
    assert not found['complete']
    assert 'interrupted' in found['problems'][0]
    frames = found['frames']
    assert frames['received'] == frames['used'] + frames['dropped']


def test_without_rosbags_one_line_says_what_to_install(
    bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('svlm_core.bags.find_spec', lambda name: None)
    assert replay(bag, tmp_path / 'out') == 1
    assert 'pip install "svlm[bags]"' in complaint(capfd)
    assert svlm('record-demo-bag', tmp_path / 'bag') == 1
    assert 'pip install "svlm[bags]"' in complaint(capfd)


def test_recording_says_what_it_made_and_refuses_to_replace_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert svlm('record-demo-bag', tmp_path / 'bag', '--seconds', 1, '--rate', 5) == 0
    assert 'bag: 1 s at 5 Hz' in capfd.readouterr().out
    assert svlm('record-demo-bag', tmp_path / 'bag') == 1
    assert 'exists' in complaint(capfd)
    assert svlm('record-demo-bag', tmp_path / 'other', '--rate', 0) == 1
    assert 'rate=0.0 is out of range' in complaint(capfd)


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        svlm('replay', '--help')
    assert left.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    flags = """output topic deterministic realtime reference compare overwrite model device dtype
        preset query policy sink window vision-window fps seed"""
    for flag in flags.split():
        assert f'--{flag} ' in text
    assert shutil.which('svlm') is None or 'svlm replay patrol_bag --output patrol' in text
