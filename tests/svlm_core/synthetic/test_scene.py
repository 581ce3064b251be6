# SPDX-License-Identifier: Apache-2.0
"""The synthetic camera: the same pictures for ever, of a room in which things come and go."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core.synthetic import Scene, render_video
from svlm_core.synthetic.scene import COLORS, SHAPES


def test_a_frame_depends_on_seed_and_time_alone() -> None:
    times = [0.0, 0.1, 7.5, 59.9, 3600.25, -4.0]
    forward = {t: Scene(3, 64, 80).frame(t) for t in times}
    shuffled = Scene(3, 64, 80)
    for t in random.Random(0).sample(times * 3, 18):
        frame = shuffled.frame(t)
        assert frame.shape == (64, 80, 3)
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, forward[t])
    assert not np.array_equal(Scene(4, 64, 80).frame(0.0), forward[0.0])


def test_another_process_paints_the_same_bits() -> None:
    code = (
        'import hashlib; from svlm_core.synthetic import Scene; '
        'print(hashlib.sha256(Scene(11, 48, 48).frame(12.3).tobytes()).hexdigest())'
    )
    runs = {subprocess.check_output([sys.executable, '-c', code], timeout=60) for _ in range(2)}
    assert len(runs) == 1


def test_a_picture_given_away_is_the_callers_own() -> None:
    scene = Scene(0, 32, 32)
    first = scene.frame(1.0)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(scene.frame(1.0), kept)


def test_things_come_go_and_move_without_jumps() -> None:
    scene = Scene(5, 112, 150)
    counts = [len(scene.things(t)) for t in np.arange(0, 600, 0.5)]
    assert 0 in counts, 'there are quiet moments'
    assert max(counts) >= 4, 'and busy ones'
    before = {thing.color: thing for thing in scene.things(0)}
    for t in np.arange(0.1, 300, 0.1):
        now = {thing.color: thing for thing in scene.things(t)}
        assert len(now) == len(scene.things(t)), 'no two of a colour at once'
        for color in now.keys() & before.keys():
            thing, was = now[color], before[color]
            assert abs(thing.x - was.x) < 0.15
            assert abs(thing.y - was.y) < 0.15
            assert abs(thing.radius - was.radius) < 0.03
        for color in now.keys() - before.keys():
            came = now[color]
            assert came.radius < 0.02 or not 0 < came.x < scene.aspect, 'none pops up'
        before = now


def test_over_an_hour_everything_is_seen() -> None:
    scene = Scene(2)
    seen = [thing for t in range(0, 3600, 3) for thing in scene.things(t)]
    assert {thing.shape for thing in seen} == set(SHAPES)
    assert {thing.color for thing in seen} == set(COLORS)
    zones = {scene.zone_of(thing) for thing in seen}
    assert zones == {None, *scene.zones}


def test_a_thing_is_painted_where_it_stands_in_its_colour() -> None:
    scene = Scene(8, 224, 224)
    checked = 0
    for t in range(200):
        things = scene.things(t)
        if len(things) != 1 or not 0.2 < things[0].x < 0.8 or things[0].radius < 0.05:
            continue
        thing = things[0]
        y, x = (thing.y - 0.6 * thing.radius - thing.lift) * 224, thing.x * 224
        patch = scene.frame(t)[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].mean((0, 1))
        wanted = np.array(COLORS[thing.color])
        ratio = patch / (255 * wanted)
        assert ratio.std() < 0.25 * ratio.mean(), (t, thing, patch)
        checked += 1
    assert checked >= 10


def test_the_camera_has_noise_and_the_light_changes() -> None:
    scene = Scene(1, 96, 96)
    quiet = [
        t for t in np.arange(0, 600, 1.0) if not scene.things(t) and not scene.things(t + 0.1)
    ]
    one, other = (scene.frame(t).astype(float) for t in (quiet[0], quiet[0] + 0.1))
    assert 1 < (one - other).std() < 6
    brightness = [scene.frame(t).mean() for t in quiet]
    assert max(brightness) - min(brightness) > 8


@pytest.mark.parametrize('bad', [{'height': 0}, {'width': -1}, {'seed': -1}])
def test_a_scene_that_cannot_be_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match='no scene of'):
        Scene(**bad)


def test_a_video_shows_the_scene_frame_by_frame(tmp_path: Path) -> None:
    path = render_video(tmp_path / 'scene.mp4', 2, 10, seed=3, height=96, width=128, start=5)
    scene = Scene(3, 96, 128)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 20
    for index, frame in enumerate(frames):
        assert frame.time == pytest.approx(index / 10)
        shown = frame.to_ndarray(format='rgb24').astype(float)
        assert abs(shown - scene.frame(5 + index / 10)).mean() < 8
    assert [path] == list(tmp_path.iterdir()), 'nothing half-written stays'


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no video of 0 frames'):
        render_video(tmp_path / 'none.mp4', 0)
    with pytest.raises(ValueError, match='95x96'):
        render_video(tmp_path / 'odd.mp4', 1, width=95, height=96)
    with pytest.raises((OSError, ValueError)):
        render_video(tmp_path / 'scene.unknown-container', 1)
    assert not list(tmp_path.iterdir())
