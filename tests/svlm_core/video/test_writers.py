# SPDX-License-Identifier: Apache-2.0
"""Caption files: players read them, whatever a model says, and whatever ends the process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pysubs2
import pytest

from svlm_core.errors import OutputError
from svlm_core.records import Record, kind_of
from svlm_core.video.writers import JsonlWriter, SrtWriter, VttWriter

WRITERS = {'vtt': VttWriter, 'srt': SrtWriter, 'jsonl': JsonlWriter}


def said(sequence: int, text: str, start: float | None = None) -> Record:
    start = float(sequence) if start is None else start
    return Record(
        start + 0.5, '', 'test', start, sequence, kind_of(text), text, text,
        True, False, 2, 0, 0, 3, None,
    )  # fmt: skip


def cues(path) -> list[tuple[int, int, str]]:
    return [(cue.start, cue.end, cue.plaintext) for cue in pysubs2.load(str(path))]


@pytest.mark.parametrize('kind', ['vtt', 'srt'])
def test_players_read_cues_and_silent_seconds_leave_none(tmp_path, kind):
    path = tmp_path / f'out.{kind}'
    with WRITERS[kind](path) as writer:
        for record in (said(0, 'A box.'), said(1, ''), said(2, 'Two boxes,\none red.')):
            writer.write(record)
    assert cues(path) == [(0, 1000, 'A box.'), (2000, 3000, 'Two boxes,\none red.')]


def test_the_exact_bytes(tmp_path):
    records = [said(0, 'One.'), said(1, ''), said(2, 'Two.', start=360_000.0625)]
    for kind, make in WRITERS.items():
        with make(tmp_path / kind) as writer:
            for record in records:
                writer.write(record)
    assert (tmp_path / 'vtt').read_text() == (
        'WEBVTT\n\n'
        '00:00:00.000 --> 00:00:01.000\nOne.\n\n'
        '100:00:00.062 --> 100:00:01.062\nTwo.\n\n'
    )
    assert (tmp_path / 'srt').read_text() == (
        '1\n00:00:00,000 --> 00:00:01,000\nOne.\n\n2\n100:00:00,062 --> 100:00:01,062\nTwo.\n\n'
    )
    lines = (tmp_path / 'jsonl').read_text().splitlines()
    assert [Record.from_json(line) for line in lines] == records


@pytest.mark.parametrize(
    'text',
    [
        'a < b && c > d',
        '<i>not</i> a tag',
        'x --> y',
        '00:00:01.000 --> 00:00:02.000',
        'one\n\n\ntwo',
        'one\r\n\r\ntwo\u2028three',
        '&amp; stays',
        'nul \0 and \ud800 lone',
    ],
)
@pytest.mark.parametrize('kind', ['vtt', 'srt'])
def test_no_text_breaks_the_file(tmp_path, kind, text):
    path = tmp_path / f'out.{kind}'
    with WRITERS[kind](path) as writer:
        writer.write(said(0, text))
        writer.write(said(1, 'Next.'))
    data = path.read_text(encoding='utf-8')
    assert data.count('-->') == 2  # one a cue: the text brings none of its own
    blocks = [block for block in data.split('\n\n') if '-->' in block]
    assert [block.splitlines()[-1] for block in blocks][1] == 'Next.'
    assert len(data.strip().split('\n\n')) == len(blocks) + (kind == 'vtt')
    if '00:00' not in text:  # this reader takes such a text for a cue even without an arrow
        assert [(start, end) for start, end, _ in cues(path)] == [(0, 1000), (1000, 2000)]


def test_webvtt_escapes_are_those_of_the_standard(tmp_path):
    with VttWriter(tmp_path / 'out.vtt') as writer:
        writer.write(said(0, 'a <b> & c --> d'))
    assert 'a &lt;b&gt; &amp; c --&gt; d\n' in (tmp_path / 'out.vtt').read_text()


def test_a_note_stands_on_top_and_is_no_cue(tmp_path):
    with VttWriter(tmp_path / 'out.vtt', note='UNTRAINED --> beware') as writer:
        writer.write(said(0, 'One.'))
    data = (tmp_path / 'out.vtt').read_text()
    assert data.startswith('WEBVTT\n\nNOTE UNTRAINED --&gt; beware\n\n00:')


def test_other_lengths_of_a_round_give_other_cues(tmp_path):
    with SrtWriter(tmp_path / 'out.srt', seconds=0.5) as writer:
        writer.write(said(0, 'One.', start=2.5))
    assert cues(tmp_path / 'out.srt') == [(2500, 3000, 'One.')]


@pytest.mark.parametrize('kind', WRITERS)
def test_each_record_can_be_read_before_the_file_is_closed(tmp_path, kind):
    path = tmp_path / f'out.{kind}'
    writer = WRITERS[kind](path)
    assert path.exists()
    for number in range(3):
        writer.write(said(number, f'Caption {number}.'))
        assert f'Caption {number}.' in path.read_text()
    writer.close()


def test_a_file_of_the_same_name_is_replaced(tmp_path):
    path = tmp_path / 'out.jsonl'
    path.write_text('old\n' * 1000)
    JsonlWriter(path).close()
    assert path.read_bytes() == b''


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from test_writers import WRITERS, said
writers = [make(f'{sys.argv[1]}/out.{kind}') for kind, make in WRITERS.items()]
for number in range(10**9):
    for writer in writers:
        writer.write(said(number, f'Caption {number}.'))
    print(number, flush=True)
"""


def test_a_killed_process_leaves_every_finished_record(tmp_path):
    here = os.path.dirname(__file__)
    process = subprocess.Popen(
        [sys.executable, '-c', ENDLESS, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    finished = int(rest[-1]) if rest else 20
    expected = [f'Caption {number}.' for number in range(finished + 1)]

    lines = (tmp_path / 'out.jsonl').read_text().split('\n')[:-1]
    assert [Record.from_json(line).text for line in lines][: finished + 1] == expected
    for kind in ('vtt', 'srt'):
        assert [text for _, _, text in cues(tmp_path / f'out.{kind}')][: finished + 1] == expected


@pytest.mark.parametrize('kind', WRITERS)
def test_a_path_that_cannot_be_written_gives_one_line(tmp_path, kind):
    for path in (tmp_path / 'no' / 'such' / 'folder', tmp_path):
        with pytest.raises(OutputError, match='cannot be written') as caught:
            WRITERS[kind](path)
        assert '\n' not in str(caught.value)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='Linux has /dev/full')
def test_a_full_disk_gives_one_line():
    writer = JsonlWriter('/dev/full')
    with pytest.raises(OutputError, match=r'/dev/full cannot be written: No space left on device'):
        writer.write(said(0, 'One.'))
    with pytest.raises(OutputError, match='No space left'):
        VttWriter('/dev/full')


def test_a_disk_that_fills_up_later_keeps_what_was_written(tmp_path, monkeypatch):
    writer = JsonlWriter(tmp_path / 'out.jsonl')
    writer.write(said(0, 'One.'))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OutputError, match='No space left on device'):
        writer.write(said(1, 'Two.'))
    writer.close()
    first, *_ = (tmp_path / 'out.jsonl').read_text().splitlines()
    assert Record.from_json(first).text == 'One.'


def test_a_pipe_is_as_good_as_a_file():
    reader, writer = os.pipe()
    with JsonlWriter(f'/dev/fd/{writer}') as out:
        out.write(said(0, 'One.'))
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert Record.from_json(lines.readline()).text == 'One.'
