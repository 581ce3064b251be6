# SPDX-License-Identifier: Apache-2.0
"""The pictures of the world: the same for ever, alive, and plain to the simplest reader."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Hashable
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core.synthetic import Story, render_video, seed_to_test, seed_to_train
from svlm_core.synthetic.script import Sight


def test_a_frame_depends_on_seed_and_time_alone() -> None:
    times = [0.0, 0.1, 7.5, 59.9, 3600.25, 1e6]
    forward = {t: Story(3, 64, 80).frame(t) for t in times}
    shuffled = Story(3, 64, 80)
    for t in random.Random(0).sample(times * 3, 18):
        frame = shuffled.frame(t)
        assert frame.shape == (64, 80, 3)
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, forward[t])
    assert not np.array_equal(Story(4, 64, 80).frame(0.0), forward[0.0])


def test_another_process_paints_the_same_bits() -> None:
    code = (
        'import hashlib; from svlm_core.synthetic import Story; '
        'print(hashlib.sha256(Story(11, 48, 48).frames(61).tobytes()).hexdigest())'
    )
    runs = {subprocess.check_output([sys.executable, '-c', code], timeout=60) for _ in range(2)}
    assert len(runs) == 1


def test_the_frames_of_a_second_are_taken_at_its_start_and_half_way() -> None:
    story = Story(6, 56, 56)
    frames = story.frames(40)
    assert frames.shape == (2, 56, 56, 3)
    assert np.array_equal(frames, [story.frame(40.0), story.frame(40.5)])


def test_a_picture_given_away_is_the_callers_own() -> None:
    story = Story(0, 32, 32)
    first = story.frame(1.0)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(story.frame(1.0), kept)


def test_frames_taken_a_little_too_early_or_late_show_the_same_signs() -> None:
    story = Story(5)
    for index in range(8, 68):
        wall = story.frames(index)[:, :50].astype(int)
        for off in (-0.2, -0.1, 0.1, 0.2):
            shifted = np.stack([story.frame(index + off), story.frame(index + 0.5 + off)])
            assert np.abs(shifted[:, :50] - wall).mean() < 4, (index, off)


def test_nothing_on_the_floor_jumps() -> None:
    story = Story(2)
    before = story.frame(8)[52:].astype(int)
    for step in range(1, 4000):
        now = story.frame(8 + step / 50)[52:].astype(int)
        assert np.abs(now - before).mean() < 7, 8 + step / 50
        before = now


def test_the_camera_has_noise_and_the_light_changes() -> None:
    story = Story(1, 96, 96)
    floor = np.stack([story.frame(t)[48:54].astype(float) for t in range(0, 200, 2)])
    one, other = story.frame(9.0)[48:54].astype(float), story.frame(9.02)[48:54]
    assert 1 < (one - other).std() < 6
    assert np.ptp(floor.mean((1, 2, 3))) > 8


@pytest.mark.parametrize(
    ('height', 'width'), [(28, 28), (240, 320), (1080, 1920), (96, 40), (1, 1)]
)
def test_any_size_has_a_picture(height: int, width: int) -> None:
    story = Story(2, height, width)
    assert story.frames(20).shape == (2, height, width, 3)


@pytest.mark.parametrize('bad', [{'height': 0}, {'width': -1}, {'seed': -1}])
def test_a_world_that_cannot_be_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match='no world of'):
        Story(**bad)


def test_a_time_before_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match='no second -1'):
        Story().frame(-0.5)


# A reader without any depth: a linear one, on thumbnails, taught by worlds it is not tested with.

Seen = tuple[np.ndarray, list[Sight]]  # thumbnails (N, 56, 56, 3) float32, what they show
Part = tuple[slice, slice]
LAMP, SCREEN, CARD = np.s_[:28, :28], np.s_[:28, 28:], np.s_[6:17, 32:36]
LANE, MIDDLE = np.s_[42:, :28], np.s_[24:42, 18:38]


@pytest.fixture(scope='module')
def lessons() -> Seen:
    """Seconds of worlds to train on: openings, where all numbers are shown, and later ones."""
    return look([seed_to_train(n) for n in range(60)], 0, 8, 4)


@pytest.fixture(scope='module')
def exam() -> Seen:
    """Seconds of worlds to test with."""
    return look([seed_to_test(n) for n in range(20)], 0, 8, 12)


def look(seeds: list[int], start: int, opening: int, every: int) -> Seen:
    pictures, sights = [], []
    for place, seed in enumerate(seeds):
        story = Story(seed)
        for index in range(start, opening + (0 if place % every else 100)):
            frame = story.frame(index)
            pictures.append(frame.reshape(56, 2, 56, 2, 3).mean((1, 3)) / np.float32(255))
            sights.append(story.second(index).sight)
    return np.stack(pictures), sights


def text(sight: Sight) -> str:
    return sight.screen.text if sight.screen else ''


def card(sight: Sight) -> str:
    return sight.screen.color if sight.screen else ''


def middle(sight: Sight, what: str) -> str:
    return next((getattr(t, what) for t in sight.before if t.place == 'middle'), '')


def linear(x: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Least squares, one output for each label."""
    names, middle = np.unique(labels), x.mean(0)
    x, asked = x - middle, asked - middle
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (labels[:, None] == names))
    return names[(asked @ weights + (labels[:, None] == names).mean(0)).argmax(1)]


def nearest(x: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The label whose mean is nearest."""
    names = np.unique(labels)
    means = np.stack([x[labels == name].mean(0) for name in names])
    return names[((asked[:, None] - means) ** 2).sum(-1).argmin(1)]


@pytest.mark.parametrize(
    ('part', 'label', 'read'),
    [
        pytest.param(LAMP, lambda sight: sight.lamp, linear, id='light'),
        pytest.param(SCREEN, text, linear, id='text'),
        pytest.param(CARD, card, nearest, id='card'),
        pytest.param(LANE, lambda sight: sight.robot, linear, id='robot'),
        pytest.param(MIDDLE, lambda sight: middle(sight, 'shape'), linear, id='shape'),
        pytest.param(MIDDLE, lambda sight: middle(sight, 'color'), linear, id='color'),
    ],
)
def test_what_is_asked_can_be_read_off_a_thumbnail(
    lessons: Seen, exam: Seen, part: Part, label: Callable[[Sight], Hashable], read: Callable
) -> None:
    (x, shown), (asked, wanted) = lessons, exam
    labels, truth = (np.array([label(sight) for sight in of]) for of in (shown, wanted))
    views = [pictures[:, *part].reshape(len(pictures), -1) for pictures in (x, asked)]
    right = read(views[0], labels, views[1]) == truth
    assert right.mean() > 0.97, truth[~right]


# As a video


def test_a_video_shows_the_world_frame_by_frame(tmp_path: Path) -> None:
    path = render_video(tmp_path / 'world.mp4', 2, 10, seed=3, height=96, width=128, start=5)
    story = Story(3, 96, 128)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 20
    for index, frame in enumerate(frames):
        assert frame.time == pytest.approx(index / 10)
        shown = frame.to_ndarray(format='rgb24').astype(float)
        assert abs(shown - story.frame(5 + index / 10)).mean() < 8
    assert [path] == list(tmp_path.iterdir()), 'nothing half-written stays'


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no video of 0 frames'):
        render_video(tmp_path / 'none.mp4', 0)
    with pytest.raises(ValueError, match='95x96'):
        render_video(tmp_path / 'odd.mp4', 1, width=95, height=96)
    with pytest.raises((OSError, ValueError)):
        render_video(tmp_path / 'world.unknown-container', 1)
    assert not list(tmp_path.iterdir())
