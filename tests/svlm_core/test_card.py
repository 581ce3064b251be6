# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint: the stream that a model has learnt to watch is the one it gets."""

from __future__ import annotations

import json

import pytest

from svlm_core import StreamingVLM, preset
from svlm_core.card import EMBEDDED, Card, differences, read_card, suited
from svlm_core.commands.engine_flags import EngineFlags
from svlm_core.errors import CheckpointError, SettingsError

LEARNT = {'text_sink': 64, 'max_vision_tokens': 4, 'sampling': {'temperature': 0}}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder of which only the card matters."""
    (tmp_path / 'svlm.json').write_text(json.dumps({'name': 'mine', 'stream': LEARNT}))
    return tmp_path


def test_preset_robot_takes_over_what_a_model_was_trained_with(folder):
    settings = suited('robot', folder)
    assert (settings.text_sink, settings.max_vision_tokens) == (64, 4)
    assert settings.sampling.temperature == 0
    assert settings.sampling.top_k == preset('robot').sampling.top_k
    assert settings.text_window == preset('robot').text_window


def test_preset_reference_stays_as_published_whatever_the_model(folder):
    assert suited('reference', folder) == preset('reference')


def test_what_a_user_asks_for_goes_before_what_the_model_was_trained_with(folder):
    flags = EngineFlags(model=str(folder), sink=7, temperature=0.5)
    settings = flags.settings()
    assert (settings.text_sink, settings.sampling.temperature) == (7, 0.5)
    assert settings.max_vision_tokens == 4


def test_a_checkpoint_without_a_card_is_somebody_elses_trained_one(tmp_path):
    assert read_card(tmp_path) == Card(None, True, '', {})
    assert suited('robot', tmp_path) == preset('robot')


def test_settings_written_as_differences_are_read_back_the_same():
    settings = preset('robot', vision_window=None, sampling={'seed': 7, 'temperature': 0})
    assert differences(settings) == {
        'vision_window': None,
        'sampling': {'seed': 7, 'temperature': 0},
    }
    assert preset('robot', **json.loads(json.dumps(differences(settings)))) == settings
    assert differences(preset('robot')) == {}


@pytest.mark.parametrize(
    ('stream', 'complaint'),
    [
        ('[]', 'svlm.json must hold'),
        ('{"text_sink": -1}', 'text_sink=-1 is out of range'),
        ('{"sinks": 3}', 'sinks'),
        ('{"sampling": {"heat": 3}}', 'heat'),
    ],
)
def test_a_card_that_cannot_be_followed_is_told_in_one_line(folder, stream, complaint):
    (folder / 'svlm.json').write_text(f'{{"stream": {stream}}}')
    with pytest.raises(CheckpointError) as caught:
        suited('robot', folder)
    assert complaint in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_model_that_is_no_folder_and_cannot_be_asked_has_no_card(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert suited('robot', 'nobody/nothing') == preset('robot')


def test_a_wrong_sampling_setting_is_named():
    with pytest.raises(SettingsError, match='heat'):
        preset('robot', sampling={'heat': 1})


def test_a_stream_of_the_embedded_model_has_the_settings_on_its_card():
    engine = StreamingVLM.from_pretrained(device='cpu')
    assert engine.open().settings == suited('robot', None)
    assert differences(suited('robot', None)) == dict(read_card(EMBEDDED).stream)
