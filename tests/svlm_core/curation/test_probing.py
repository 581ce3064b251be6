# SPDX-License-Identifier: Apache-2.0
"""A video is looked into before any work is put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matches import film, save
from svlm_core.curation.probing import probe
from svlm_core.curation.settings import Probing
from svlm_core.errors import SettingsError


def cut_short(path: Path) -> Path:
    """A video in Matroska that breaks off after a third; its head still announces all of it."""
    film(path, 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    return path


def text(path: Path) -> Path:
    path.write_text('no video at all, but a text')
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize(
    ('make', 'told'),
    [
        (empty, 'a.mkv is empty (0 bytes)'),
        (text, 'a.mkv is no video'),
        (cut_short, 'it announces 60.0 s and holds'),
        (lambda path: film(path, 30, sound=0), 'it has no sound'),
        (lambda path: film(path, 40, sound=10), 's of sound for 40.0 s of pictures'),
        (lambda path: film(path, 20), 'it lasts 20.0 s, less than 24 s'),
    ],
)
def test_a_video_of_no_use_is_left_out_and_it_is_said_why(make, told, tmp_path):
    product = probe(make(tmp_path / 'a.mkv'), Probing())
    assert told in product.left_out
    assert str(tmp_path) not in product.left_out  # products are the same on every machine
    assert product.counts == {'left_out': 1}


def test_the_facts_of_a_video_are_those_it_was_made_with(tmp_path):
    product = probe(film(tmp_path / 'cup_final.mp4', 30, fps=5), Probing())
    facts: dict[str, Any] = product.content
    assert product.left_out == ''
    assert facts.pop('audio') == pytest.approx(30, abs=0.2)
    assert facts == {
        'title': 'cup final', 'category': '', 'duration': 30.0, 'width': 64, 'height': 48,
        'fps': 5.0, 'video_codec': 'mpeg4', 'audio_codec': 'aac',
    }  # fmt: skip


def test_title_and_category_are_taken_from_what_a_downloader_left(tmp_path):
    video = film(tmp_path / 'a.mp4', 30)
    save(tmp_path / 'a.info.json', {'title': 'A vs B', 'categories': ['Sports', 'News']})
    content = probe(video, Probing()).content
    assert (content['title'], content['category']) == ('A vs B', 'Sports')
    (tmp_path / 'a.info.json').write_text('[')
    assert 'a.info.json cannot be read' in probe(video, Probing()).left_out


@pytest.mark.parametrize('wrong', [{'min_seconds': -1}, {'tolerance': 2}])
def test_settings_out_of_range_are_told(wrong):
    with pytest.raises(SettingsError, match='give --'):
        Probing(**wrong)
