# SPDX-License-Identifier: Apache-2.0
"""Settings: what a preset gives, and what is refused before a stream ever opens."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields

import pytest

from svlm_core.config import PRESETS, Sampling, StreamSettings, preset
from svlm_core.errors import SettingsError


def test_the_robot_is_the_default_and_the_reference_is_as_published():
    assert preset('robot') == StreamSettings()
    published = preset('reference')
    assert (published.vision_window, published.text_rounds) == (16, 16)
    assert (published.text_sink, published.text_window) == (512, 512)
    assert (published.fps, published.chunk_seconds, published.max_new_tokens) == (2, 1, 20)
    assert (published.sampling.temperature, published.sampling.repetition_penalty) == (0.9, 1.05)
    assert published.query == 'Commentate on this match'
    assert published.published_quirks
    assert not preset('robot').published_quirks


@pytest.mark.parametrize('kind', [StreamSettings, Sampling])
def test_every_setting_says_what_it_means(kind):
    described = [f for f in fields(kind) if f.name != 'sampling']
    assert all(len(f.metadata['help']) > 10 for f in described)


def test_changes_lie_over_a_preset_and_leave_it_as_it_was():
    changed = preset('reference', vision_window=4, text_rounds=None)
    assert (changed.vision_window, changed.text_rounds, changed.text_sink) == (4, None, 512)
    assert PRESETS['reference'].vision_window == 16


@pytest.mark.parametrize(
    ('changes', 'complaint'),
    [
        ({'text_sink': -1}, 'text_sink=-1 is out of range: it must be at least 0'),
        ({'max_new_tokens': 5000}, 'must lie between 1 and 4096'),
        ({'vision_window': math.nan}, 'vision_window=nan is out of range'),
        ({'vision_window': math.inf}, 'vision_window=inf is out of range'),
        ({'fps': math.inf}, 'fps=inf is out of range'),
        ({'fps': '2'}, "fps='2' is no number"),
        ({'text_sink': 1.5}, 'text_sink=1.5 is no whole number or None'),
        ({'max_new_tokens': True}, 'max_new_tokens=True is no whole number'),
        ({'query': None}, 'query=None is no text'),
        ({'published_quirks': 1}, 'is no yes or no'),
        ({'sampling': None}, 'sampling=None is no Sampling'),
        ({'policy': 'forever'}, 'choose one of streaming, full_attention, window, recompute'),
        ({'rope': None}, 'choose one of contiguous, native, plain'),
        ({'fps': 1.5}, 'a whole number of frames'),
        ({'fps': 0.25}, 'a whole number of frames'),
        ({'sinks': 3}, 'sinks'),
    ],
)
def test_a_bad_setting_gives_one_line_that_names_it(changes, complaint):
    with pytest.raises(SettingsError) as caught:
        preset('robot', **changes)
    assert complaint in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'changes',
    [{'temperature': -0.1}, {'top_p': 1.5}, {'top_k': -1}, {'repetition_penalty': 0},
     {'seed': -1}, {'seed': 2**63}, {'temperature': math.nan}],
)  # fmt: skip
def test_sampling_keeps_its_ranges_too(changes):
    with pytest.raises(SettingsError, match=next(iter(changes))):
        Sampling(**changes)


def test_as_published_both_limits_of_text_are_given_or_neither():
    with pytest.raises(SettingsError, match='must both be none, or neither'):
        preset('reference', text_sink=None)
    assert preset('reference', text_sink=None, text_window=None).text_sink is None
    assert preset('robot', text_sink=None).text_window == 512


def test_as_published_time_is_never_wrapped():
    assert preset('reference').time_origin == preset('robot').time_origin == 'stream'
    assert preset('robot', time_origin='wrapped').time_range == 7200
    with pytest.raises(SettingsError, match='never wraps its time: use preset robot'):
        preset('reference', time_origin='wrapped')


def test_an_unknown_preset_names_those_that_exist():
    with pytest.raises(SettingsError, match="no preset 'robo': choose one of robot, reference"):
        preset('robo')


@pytest.mark.parametrize(
    ('seconds', 'chunk', 'rounds'),
    [(16, 1, 16), (16, 2, 8), (0, 1, 0), (0.4, 1, 1), (2.5, 1, 3), (1.5, 0.5, 3), (0.3, 0.1, 3),
     (7 * 0.1, 0.1, 7), (None, 1, None)],
)  # fmt: skip
def test_the_vision_window_in_rounds_counts_a_part_as_a_whole(seconds, chunk, rounds):
    settings = preset('robot', vision_window=seconds, chunk_seconds=chunk, fps=10)
    assert settings.vision_rounds == rounds


def test_frames_and_resets_are_counted_in_rounds():
    settings = preset('robot', fps=8, chunk_seconds=2, reset_every=100)
    assert (settings.frames_per_round, settings.reset_rounds) == (16, 50)
    assert preset('robot', chunk_seconds=4, fps=1, reset_every=1).reset_rounds == 1


def test_settings_are_read_without_loading_torch():
    code = 'import sys, svlm_core.config, svlm_core.cli; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
