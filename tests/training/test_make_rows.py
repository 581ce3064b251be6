# SPDX-License-Identifier: Apache-2.0
"""A robot's own recordings and notes become rows that training reads as they were meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from footage import film
from lessons import composer
from svlm_core import StreamingVLM, preset
from svlm_core.bags.demo import DemoBag, record_demo_bag
from svlm_core.synthetic.story import Story
from svlm_core.training.annotations import AnnotationFile
from svlm_core.training.recipe import Annotations
from svlm_core.training.rows import cut, write_rows
from svlm_core.training.videos import VideoSource

ROOT = Path(__file__).resolve().parents[2]


def make_rows(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / 'training' / 'make_rows.py'), *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': paths}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def notes(path: Path, cues: dict[int, str]) -> Path:
    lines = [f'00:00:{n:02}.000 --> 00:00:{n + 1:02}.000\n{text}\n' for n, text in cues.items()]
    path.write_text('WEBVTT\n\n' + '\n'.join(lines))
    return path


def spans(rows: list) -> list[tuple[float, float]]:
    shown = [row[0]['content'][0] for row in rows]
    return [(part['video_start'], part['video_end']) for part in shown]


def test_rows_overlap_and_reach_the_end() -> None:
    assert spans(list(cut('a', range(60), {}))) == [(0, 24), (12, 36), (24, 48), (36, 60)]
    assert spans(list(cut('a', range(65), {}))) == [
        (0, 24), (12, 36), (24, 48), (36, 60), (48, 65),
    ]  # fmt: skip
    assert spans(list(cut('a', range(5), {}))) == [(0, 5)]
    assert spans(list(cut('a', range(6), {}, window=3, overlap=0))) == [(0, 3), (3, 6)]


def test_a_row_never_spans_a_gap_but_remembers_what_was_said_before_it() -> None:
    shown = [*range(4), *range(9, 12)]
    rows = list(cut('a', shown, {0: 'It begins.', 9: 'Later.'}, window=4, overlap=2))
    assert spans(rows) == [(0, 4), (9, 12)]
    assert [row[0]['content'][1]['previous'] for row in rows] == ['', 'It begins.']


def test_every_word_is_said_in_its_own_second(tmp_path: Path) -> None:
    film(tmp_path / 'a.mp4', 6)
    said = {0: 'one', 2: 'two three four', 5: ' '.join('abcdefg')}
    assert write_rows(tmp_path / 'a.jsonl', cut('a.mp4', range(6), said)) == 1
    row = AnnotationFile(tmp_path / 'a.jsonl').row(0)
    assert row.said(1) == [said.get(number, '') for number in range(6)]
    assert (tmp_path / 'a_seeks.jsonl').read_text() == '[0]\n'


def test_a_bag_and_its_notes_become_samples_of_what_was_seen(
    engine: StreamingVLM, tmp_path: Path
) -> None:
    bag = record_demo_bag(tmp_path / 'patrol', DemoBag(seconds=10, seed=2))
    vtt = notes(tmp_path / 'patrol.vtt', {1: 'It starts well.', 7: 'The end is near.'})
    made = make_rows(bag, '--notes', vtt, '--output', tmp_path / 'data', '--window', 6,
                     '--overlap', 3)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert 'patrol.jsonl: 3 rows of 10 seconds, 2 of them with words' in made.stdout
    maker = composer(engine, preset('robot'))
    videos = VideoSource(Annotations(str(tmp_path / 'data' / 'patrol.jsonl')), maker)
    assert (len(videos), videos.problems) == (3, [])
    late = videos[1]
    assert 'previous text\n It starts well.\n' in engine.tokenizer.decode(late.ids.tolist())
    assert ' The end is near. ...' in engine.tokenizer.decode(late.labels.tolist())
    seen = torch.from_numpy(Story(2, 224, 224).frames(3)).float()  # the row begins with second 3
    mean = late.film[:2].float().mean(dim=(1, 2))
    torch.testing.assert_close(mean, seen.mean(dim=(1, 2)), rtol=0, atol=2.0)


def test_a_video_is_named_where_it_lies(engine: StreamingVLM, tmp_path: Path) -> None:
    video = film(tmp_path / 'a.mp4', 6)
    vtt = notes(tmp_path / 'a.vtt', {2: 'It moves.'})
    made = make_rows(video, '--notes', vtt, '--output', tmp_path / 'data')
    assert made.returncode == 0, made.stderr
    row = AnnotationFile(tmp_path / 'data' / 'a.jsonl').row(0)
    assert (row.video, row.end) == (video, 6)


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    video, folder = film(tmp_path / 'patrol.mp4', 3), tmp_path / 'data'
    folder.mkdir()
    kept = notes(folder / 'patrol.jsonl', {1: 'Corrected by hand.'})
    before = kept.read_bytes()
    made = make_rows(video, '--notes', kept, '--output', folder)
    assert made.returncode != 0
    assert f'{kept} exists: give another --output, or remove it' in made.stderr
    assert kept.read_bytes() == before


@pytest.mark.parametrize('arguments', [(), ('--overlap', '24')], ids=str)
def test_what_cannot_be_made_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    video = film(tmp_path / 'a.mp4', 2)
    made = make_rows(video, '--notes', '/captions', '--output', tmp_path, *arguments)
    assert made.returncode != 0
    assert 'Traceback' not in made.stderr
    assert ('/captions is no file' if not arguments else '--overlap must be') in made.stderr
