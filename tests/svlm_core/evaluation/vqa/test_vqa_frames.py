# SPDX-License-Identifier: Apache-2.0
"""Which frames are shown at once, against a film whose every second is known by its brightness."""

from __future__ import annotations

import pytest

from official_files import film, frame_folder, second_of
from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa.frames import instants, newest, take
from svlm_core.evaluation.vqa.protocol import Frames
from svlm_core.video.sources import length


def shown(path, seconds):
    return [second_of(frame) for frame in take(path, 3.0, seconds, lambda h, w: (h, w)).frames]


def test_frames_are_spread_from_the_first_to_the_last():
    assert instants(Frames(5), 0, 8) == [0, 2, 4, 6, 8]
    assert instants(Frames(4, middles=True), 0, 8) == [1, 3, 5, 7]
    assert instants(Frames(3), 10, 20) == [10, 15, 20]


@pytest.mark.parametrize(('length', 'count'), [(0.5, 4), (7.9, 6), (9, 8), (100, 20)])
def test_a_rate_gives_an_even_number_of_frames_within_its_bounds(length, count):
    assert len(instants(Frames(20, fps=1), 0, length)) == count


def test_the_newest_frames_are_those_that_a_stream_would_have_taken_last():
    assert newest(4, 2, 0, 10) == [8, 8.5, 9, 9.5]
    assert newest(4, 2, 9, 10) == [9, 9, 9, 9.5]


def test_nothing_can_be_seen_where_there_is_no_time():
    for of in (lambda: instants(Frames(4), 3, 3), lambda: newest(4, 2, 3, 3)):
        with pytest.raises(SourceError, match='nothing to see from 3 s to 3 s'):
            of()


def test_each_instant_shows_what_is_on_screen_then(tmp_path):
    path = film(tmp_path / 'a.mp4', 6)
    assert length(path, 3.0) == pytest.approx(6)
    assert shown(path, [0, 0.9, 1.0, 3.5, 5.9, 6.0]) == [0, 0, 1, 3, 5, 5]
    assert shown(path, [4.5, 4.6]) == [4, 4]
    assert shown(path, [5, 9, 11]) == [5, 5, 5]  # the last frame stands in


def test_a_folder_of_images_is_shown_at_its_rate(tmp_path):
    path = frame_folder(tmp_path / 'images', 4)
    assert length(path, 3.0) == pytest.approx(4)
    assert shown(path, [0, 1.1, 3.9]) == [0, 1, 3]


def test_frames_come_in_the_size_that_was_asked_for(tmp_path):
    path = film(tmp_path / 'a.mp4', 2)
    found = take(path, 3.0, [0, 1], lambda h, w: (h // 2, w * 2))
    assert found.frames.shape == (2, 32, 128, 3)
    assert found.seconds == (0, 1)


def test_a_video_that_is_none_is_told(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'')
    with pytest.raises(SourceError, match='is empty'):
        take(tmp_path / 'a.mp4', 3.0, [0], lambda h, w: (h, w))
