# SPDX-License-Identifier: Apache-2.0
"""`svlm vqa` as a person calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core import cli

ROW = {
    'id': 1, 'task': 'OCR', 'video': 'a.mp4', 'realtime': 3, 'question': 'What does it say?',
    'options': ['Exit', 'Stop'], 'gt': 0,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """OVO-Bench with two questions, of which the video of one is lost."""
    folder = tmp_path / 'data'
    (folder / 'src_videos').mkdir(parents=True)
    rows = [ROW, {**ROW, 'id': 2, 'video': 'lost.mp4'}]
    (folder / 'ovo_bench_new.json').write_text(json.dumps(rows))
    with av.open(str(folder / 'src_videos/a.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        for shade in range(16):
            frame = np.full((64, 64, 3), 10 * shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    return folder


def svlm(data: Path, *words: str) -> int:
    folder = data.parent / 'out'
    return cli.main(['vqa', 'ovobench', '--data', str(data), '--output', str(folder), *words])


def test_it_prints_its_table_and_fails_as_long_as_a_question_could_not_be_asked(
    data, capsys, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '140')  # the width of a terminal
    assert svlm(data, '--device', 'cpu') == 1
    out = capsys.readouterr().out
    for word in ('OCR', 'group realtime', 'streaming', 'last 4 frames', 'answered'):
        assert word in out
    assert svlm(data, '--device', 'cpu', '--limit', '1') == 1  # a folder of another number
    assert 'holds a run with other settings' in capsys.readouterr().err
    shutil.rmtree(data.parent / 'out')
    assert svlm(data, '--device', 'cpu', '--limit', '1', '--mode', 'offline') == 0


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('--limit', '0'), '--limit 0 leaves no question'),
        (('--subtitles',), 'OVO-Bench is asked without subtitles'),
        (('--data', '/nowhere'), '/nowhere has none of ovo_bench_new.json'),
    ],
)
def test_a_mistake_is_told_in_a_line(data, capsys, words, told):
    assert svlm(data, *words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('svlm: ')
    assert told in error


def test_it_says_that_the_paper_has_no_streamingbench(tmp_path, capsys):
    words = ['streamingbench', '--data', str(tmp_path), '--output', str(tmp_path / 'out')]
    assert cli.main(['vqa', *words, '--protocol', 'paper']) == 1
    assert 'the paper has no StreamingBench' in capsys.readouterr().err
