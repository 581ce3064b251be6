# SPDX-License-Identifier: Apache-2.0
"""The page that shows a world to a person."""

from __future__ import annotations

import os
import subprocess
import sys
from html import escape
from pathlib import Path

from svlm_core.synthetic import Story

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / 'training' / 'show_world.py'), *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_every_second_stands_there_with_both_frames_its_caption_and_what_it_rests_on(
    tmp_path: Path,
) -> None:
    sheet = tmp_path / 'sheet.html'
    done = run('--seed', '3', '--start', '30', '--seconds', '12', '--output', str(sheet))
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == f'{sheet}: 12 seconds of world 3\n'
    page = sheet.read_text()
    assert page.count('<img ') == 24
    seconds = [Story(3).second(index) for index in range(30, 42)]
    for now in seconds:
        if now.caption:
            assert f'{escape(now.caption)}\n{now.skill}' in page
        if now.source is not None:
            assert f'{now.skill}, from 0:{now.source:02}' in page
    assert page.count('<li class="silence">') == sum(not now.caption for now in seconds)


def test_a_page_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    done = run('--seconds', '1', '--output', str(tmp_path / 'nowhere' / 'sheet.html'))
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert 'cannot be written' in done.stderr
