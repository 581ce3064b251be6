# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: real nodes, real topics, files at the end, and nothing left over."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from std_msgs.msg import Header
from svlm.msg import Caption, Status

from svlm_core.errors import SettingsError
from svlm_core.records import Record
from svlm_core.synthetic.story import Story
from svlm_ros import demo as module
from svlm_ros.children import Children
from svlm_ros.demo import Demo, Recorder, facts, notice, to_record
from svlm_ros.messages import time as stamp

PATIENCE = 120  # seconds; machines that test are often busy


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the environment of a demo and of whatever it starts; nothing may keep it."""
    word = f'demo-test-{uuid.uuid4().hex}'
    yield word
    assert not marked(word)


def marked(word: str) -> list[str]:
    """The command lines of running processes that carry `word` in their environment."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if word.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_text().replace('\0', ' '))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended while we looked, or is another user's
    return found


def start(output: Path, mark: str, *flags: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != 'ROS_DOMAIN_ID'}
    return subprocess.Popen(
        [sys.executable, '-u', '-m', 'svlm_ros.demo', '--output', str(output), *flags],
        env={**environment, 'SVLM_TEST_MARK': mark, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(output: Path) -> list[Record]:
    return [
        Record.from_json(line) for line in (output / 'captions.jsonl').read_text().splitlines()
    ]


def test_three_seconds_from_camera_to_captions(tmp_path: Path, mark: str) -> None:
    output = tmp_path / 'out'
    demo = start(output, mark, '--seconds', '3', '--seed', '4')
    out, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    rows = records(output)
    assert rows[-1].sequence == 2
    assert all(row.done and row.frames_used == 2 and row.latency is not None for row in rows)
    assert all(row.delta == row.text for row in rows)
    spans = re.findall(r'^00:0\d-00:0\d  .*\[\d+\.\d\d s; 2 frames', out, re.MULTILINE)
    assert len(spans) == len(rows)
    vtt = (output / 'captions.vtt').read_text()
    assert vtt.startswith('WEBVTT\n\nNOTE svlm demo, synthetic camera\n')
    assert vtt.count(' --> ') == sum(bool(row.text) for row in rows)
    assert '00:00:02.000 --> 00:00:03.000' in vtt
    page = (output / 'timeline.html').read_text()
    assert page.count('<img ') == 2 * len(rows), 'both frames of every second'
    assert 'UNTRAINED' not in out + vtt + page
    for row in rows:
        assert row.text.strip() in page
    assert re.search(r'of \d+ received, \d+ not shown', page)
    assert 'dropped' not in out + page, 'a camera faster than the model loses nothing'


def test_what_the_demo_says_is_true_of_the_picture(tmp_path: Path, mark: str) -> None:
    output, story = tmp_path / 'out', Story(4)
    demo = start(output, mark, '--seconds', '8', '--seed', '4')
    _, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    # The world begins with the captioner, so second n of the stream is its second n.
    told = [row.text == story.second(row.sequence).caption for row in records(output)]
    assert sum(told) >= 0.75 * len(told), [row.text for row in records(output)]
    assert len(told) == 8


@pytest.mark.parametrize('after', [0.0, 0.8, 4.0])
def test_ctrl_c_at_any_time_leaves_complete_files_and_no_process(
    tmp_path: Path, mark: str, after: float
) -> None:
    demo = start(tmp_path, mark, '--seconds', '600')
    assert demo.stdout is not None
    assert 'synthetic camera' in demo.stdout.readline()
    time.sleep(after + random.random() / 2)
    demo.send_signal(signal.SIGINT)
    time.sleep(0.1)
    demo.send_signal(signal.SIGINT)  # an impatient user changes nothing
    _, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    if (tmp_path / 'timeline.html').exists():
        assert (tmp_path / 'timeline.html').read_text().rstrip().endswith('</html>')
        assert [row.done for row in records(tmp_path)] == [True] * len(records(tmp_path))


@pytest.mark.skipif(sys.platform != 'linux', reason='only the kernel of Linux does this')
def test_even_a_killed_demo_leaves_no_process(tmp_path: Path, mark: str) -> None:
    demo = start(tmp_path, mark, '--seconds', '600')
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith('00:00-'):
            break
    demo.kill()
    demo.communicate(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while marked(mark):
        assert time.monotonic() < deadline, marked(mark)
        time.sleep(0.1)
    assert records(tmp_path), 'what was captioned is on the disk'


def test_a_node_that_cannot_run_ends_the_demo_in_clear_words(tmp_path: Path, mark: str) -> None:
    demo = start(tmp_path, mark, '--model', str(tmp_path / 'no-such-model'))
    _, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert 'svlm demo: captioner ended with status 1; its last lines:' in err
    assert 'no-such-model' in err
    assert 'Traceback' not in err


@pytest.mark.parametrize(
    'flags', [['--seconds', '0'], ['--seed', '-1'], ['--rate', '0.1'], ['--output', '/dev/null/x']]
)
def test_a_bad_option_is_one_line(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert module.main(flags) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith('svlm demo: ')


def test_settings_are_checked_where_they_are_made() -> None:
    with pytest.raises(SettingsError, match='rate=2000'):
        Demo(rate=2000)


def test_a_record_has_the_fields_of_the_message() -> None:
    caption = Caption(
        header=Header(stamp=stamp(1_700_000_000_500_000_000), frame_id='lens'),
        camera='front',
        window_start=stamp(1_700_000_000_000_000_000),
        sequence=7,
        kind=Caption.ALERT,
        text='a person',
        delta=' person',
        done=True,
        late=True,
        frames_used=2,
        frames_repeated=1,
        frames_dropped=8,
        tokens=3,
        latency=0.1,
    )
    record = to_record(caption)
    assert json.loads(record.to_json()) == {
        'stamp': 1_700_000_000.5,
        'frame_id': 'lens',
        'camera': 'front',
        'window_start': 1_700_000_000.0,
        'sequence': 7,
        'kind': 'alert',
        'text': 'a person',
        'delta': ' person',
        'done': True,
        'late': True,
        'frames_used': 2,
        'frames_repeated': 1,
        'frames_dropped': 8,
        'tokens': 3,
        'latency': 0.1,
    }
    for name in ('CAPTION', 'ANSWER', 'ALERT', 'SILENCE'):
        caption.kind = getattr(Caption, name)
        assert to_record(caption).kind == name.lower()


@pytest.mark.parametrize('told_after', [0, 1, 2])
def test_the_captions_say_untrained_on_top_whenever_that_is_known(
    graph, tmp_path: Path, told_after: int
) -> None:
    (tmp_path / 'captions.vtt').write_text("an earlier demo's")
    sheet = Console(file=io.StringIO())
    recorder = Recorder(Demo(output=tmp_path), Children(tmp_path), sheet)
    assert not (tmp_path / 'captions.vtt').exists()
    for second in range(3):
        if second == told_after:
            recorder._on_status(Status(state=Status.LOADING, model='tiny'))
            recorder._on_status(Status(state=Status.RUNNING, model='tiny'))
        recorder._on_caption(Caption(done=True, sequence=second, text=f'number {second}'))
    recorder.close()
    head, note, *cues = (tmp_path / 'captions.vtt').read_text().strip().split('\n\n')
    assert head == 'WEBVTT'
    assert note.startswith('NOTE svlm demo, synthetic camera. UNTRAINED: tiny has ')
    assert [cue.splitlines()[1] for cue in cues] == ['number 0', 'number 1', 'number 2']


def test_captions_of_a_model_that_nobody_named_are_written_all_the_same(
    graph, tmp_path: Path
) -> None:
    recorder = Recorder(Demo(output=tmp_path), Children(tmp_path), Console(file=io.StringIO()))
    recorder._on_caption(Caption(done=True, text='hello'))
    recorder.close()
    assert (tmp_path / 'captions.vtt').read_text().endswith('00:00:01.000\nhello\n\n')


def test_only_a_model_without_training_is_called_untrained() -> None:
    assert notice(None) == ''
    assert notice(Status(model='good', trained=True)) == ''
    assert notice(Status(model='tiny')).startswith('UNTRAINED: tiny')
    assert 'UNTRAINED' in facts(Demo(), Status(model='tiny'))['model']
    assert 'UNTRAINED' not in facts(Demo(), Status(model='good', trained=True))['model']
    assert set(facts(Demo(), None)) == {'camera', 'versions'}
