# SPDX-License-Identifier: Apache-2.0
"""The engine: what it says of itself, what it refuses, and what its streams share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import svlm_core
from svlm_core import StreamingVLM, preset
from svlm_core.card import EMBEDDED, read_card, suited
from svlm_core.engine import EngineInfo
from svlm_core.errors import CheckpointError, SettingsError, SvlmError, TokenizerError


def test_the_package_offers_its_names_and_no_others():
    assert {name: getattr(svlm_core, name).__name__ for name in svlm_core.__all__} == {
        name: name for name in svlm_core.__all__
    }
    with pytest.raises(AttributeError, match='StreamingVML'):
        svlm_core.StreamingVML  # noqa: B018


def test_the_embedded_model_is_the_default_and_says_whether_it_is_trained(noise):
    engine = StreamingVLM.from_pretrained(device='cpu')
    card = json.loads((EMBEDDED / 'svlm.json').read_text())
    assert (engine.info.model, engine.info.trained) == (card['name'], card['trained'])
    stream = engine.open()
    assert stream.settings == suited('robot', None)
    assert stream.step(noise(0, 48, 64), 0).held == stream.held > 0


def test_info_describes_what_runs_where(engine, golden):
    assert engine.info == EngineInfo(
        model=str(golden / 'checkpoint'),
        trained=True,  # a checkpoint without a card is a trained one of somebody else's
        device='cpu',
        dtype='float32',
        attention='parted',
        parameters=sum(
            p.numel()
            for part in (engine._model.language, engine._model.vision)
            for p in part.parameters()
        ),
    )


@pytest.fixture
def folder(golden, tmp_path) -> Path:
    """A copy of the golden checkpoint to spoil."""
    return Path(shutil.copytree(golden / 'checkpoint', tmp_path / 'checkpoint'))


def test_a_card_names_the_model(folder):
    (folder / 'svlm.json').write_text('{"name": "mine", "trained": false}')
    info = StreamingVLM.from_pretrained(str(folder), device='cpu').info
    assert (info.model, info.trained) == ('mine', False)


@pytest.mark.parametrize('content', ['{', '[]', '"svlm"'])
def test_a_broken_card_is_named(folder, content):
    (folder / 'svlm.json').write_text(content)
    with pytest.raises(CheckpointError, match=r'svlm\.json'):
        read_card(folder)


@pytest.mark.parametrize(
    ('missing', 'error'),
    [('tokenizer.json', TokenizerError), ('config.json', CheckpointError),
     ('model.safetensors', CheckpointError)],
)  # fmt: skip
def test_an_incomplete_checkpoint_is_refused_in_one_line(folder, missing, error):
    (folder / missing).unlink()
    with pytest.raises(error) as caught:
        StreamingVLM.from_pretrained(folder, device='cpu')
    assert str(folder) in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'changes',
    [{'device': 'quantum'}, {'dtype': 'float8'}, {'source': '/nowhere/at/all'}],
)
def test_what_is_not_there_is_refused_in_one_line(golden, changes):
    call = {'source': golden / 'checkpoint', **changes}
    with pytest.raises(SvlmError) as caught:
        StreamingVLM.from_pretrained(**call)
    assert str(next(iter(changes.values()))) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_streams_share_the_weights_and_nothing_else(engine):
    one, two = engine.open(preset('robot')), engine.open(preset('robot'))
    assert one.model is two.model
    assert {p.data_ptr() for p in one.planes}.isdisjoint({p.data_ptr() for p in two.planes})
    assert one.memory_bytes == sum(plane.nbytes for plane in one.planes)


@pytest.mark.parametrize(
    'changes',
    [{'policy': 'full_attention'}, {'vision_window': None}, {'text_rounds': None},
     {'text_sink': None}, {'policy': 'window', 'text_window': None}],
)  # fmt: skip
def test_settings_without_a_bound_need_a_capacity(engine, changes):
    with pytest.raises(SettingsError, match='give capacity='):
        engine.open(preset('robot', **changes))
    assert engine.open(preset('robot', **changes, capacity=123)).capacity == 123
