# SPDX-License-Identifier: Apache-2.0
"""Checkpoints load in every layout that is in use; a broken one is refused in one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stock_model import CASES, build, config, save_stock
from svlm_core.errors import CheckpointError, SettingsError
from svlm_core.model.checkpoint import MEAN, STD, Model, load, resolve
from svlm_core.model.weights import weights_of

Weights = dict[str, Tensor]


def published_names(weights: Weights) -> Weights:
    """The names of the models as published, from those of any version of transformers."""
    new = {'model.visual.': 'visual.', 'model.language_model.': 'model.'}
    out = {}
    for name, weight in weights.items():
        for prefix, old in new.items():
            if name.startswith(prefix):
                name = old + name.removeprefix(prefix)
        out[name] = weight
    return out


def as_5(name: str) -> str:
    if name.startswith('model.'):
        return 'model.language_model.' + name.removeprefix('model.')
    return 'model.' + name if name.startswith('visual.') else name


def as_base_model(name: str) -> str:
    if name.startswith('model.'):
        return 'language_model.' + name.removeprefix('model.')
    return name


def as_wrapped(name: str) -> str:
    return name if name.startswith('visual.') else 'language_model.' + name


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A checkpoint of our own to break, its weights under the published names."""
    copy = tmp_path / 'checkpoint'
    shutil.copytree(small, copy)
    file = copy / 'model.safetensors'
    save_file(published_names(load_file(file)), file, {'format': 'pt'})
    return copy


def rename(folder: Path, change: Callable[[str], str]) -> None:
    file = folder / 'model.safetensors'
    save_file({change(name): weight for name, weight in load_file(file).items()}, file)


def split(folder: Path, parts: int = 3) -> None:
    """Cut the single file into shards with an index."""
    weights = load_file(folder / 'model.safetensors')
    (folder / 'model.safetensors').unlink()
    places = {}
    for part in range(parts):
        name = f'model-{part + 1:05}-of-{parts:05}.safetensors'
        mine = {key: weights[key] for key in sorted(weights)[part::parts]}
        save_file(mine, folder / name)
        places |= dict.fromkeys(mine, name)
    index = {'metadata': {}, 'weight_map': places}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def same(a: Model, b: Model) -> bool:
    one, other = (weights_of(m.language, m.vision) for m in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize('change', [as_5, as_base_model, as_wrapped])
@pytest.mark.parametrize('sharded', [False, True], ids=['single', 'sharded'])
def test_names_of_every_version_of_transformers_are_read(
    folder: Path, small: Path, change: Callable[[str], str], sharded: bool
) -> None:
    rename(folder, change)
    if sharded:
        split(folder)
    assert same(load(folder, 'cpu'), load(small, 'cpu'))


def test_weights_do_not_change_with_the_file_they_came_from(folder: Path, small: Path) -> None:
    split(folder)
    model = load(folder, 'cpu')
    for file in folder.glob('*.safetensors'):
        file.write_bytes(bytes(file.stat().st_size))
    assert same(model, load(small, 'cpu'))
    assert not any(w.is_meta for w in weights_of(model.language, model.vision).values())
    assert not model.language.training
    assert not model.vision.training


@pytest.mark.parametrize('repeated', [False, True], ids=['absent', 'repeated'])
def test_a_tied_head_is_the_embedding(tmp_path: Path, repeated: bool) -> None:
    folder = save_stock(build(CASES[1]), tmp_path / 'tied')
    if repeated:
        file = folder / 'model.safetensors'
        weights = published_names(load_file(file))
        save_file({**weights, 'lm_head.weight': weights['model.embed_tokens.weight'] + 0}, file)
    model = load(folder, 'cpu')
    assert 'lm_head.weight' not in weights_of(model.language, model.vision)
    hidden = torch.randn(3, model.config.text.hidden_size)
    expected = hidden @ model.language.embed_tokens.weight.T
    torch.testing.assert_close(model.language.logits(hidden), expected)


def test_the_type_is_as_saved_where_the_device_multiplies_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def can(*names: str) -> None:
        able = dict.fromkeys(names, True)
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: able, raising=False)

    can('avx512_f')
    assert load(folder, 'cpu').dtype == torch.float32, 'as saved'
    edit(folder, 'config.json', dtype='bfloat16', torch_dtype='bfloat16')
    assert load(folder, 'cpu').dtype == torch.float32
    for able in ('avx512_bf16', 'amx_bf16'):
        can(able)
        assert load(folder, 'cpu').dtype == torch.bfloat16
    edit(folder, 'config.json', dtype='float16', torch_dtype='float16')
    assert load(folder, 'cpu').dtype == torch.float32, 'no CPU is said to multiply it'
    edit(folder, 'config.json', dtype='bfloat16', torch_dtype='bfloat16')
    can()
    assert load(folder, 'meta').dtype == torch.bfloat16, 'a device that is not the CPU'
    half = load(folder, 'cpu', 'float16')
    assert {w.dtype for w in weights_of(half.language, half.vision).values()} == {torch.float16}


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'dtype': 'int8'}, "dtype='int8' is unknown: choose one of auto, float32"),
        ({'device': 'gpu'}, "device='gpu' is not available"),
        ({'device': 'cuda:99'}, "device='cuda:99' is not available"),
    ],
    ids=str,
)
def test_a_device_or_type_that_is_not_there_is_named(
    small: Path, changes: dict[str, str], line: str
) -> None:
    with pytest.raises(SettingsError, match=line) as caught:
        load(small, **changes)
    assert '\n' not in str(caught.value)


def test_what_ends_a_reply(folder: Path) -> None:
    assert load(folder, 'cpu').stop_ids == {1, 2}
    edit(folder, 'generation_config.json', eos_token_id=7)
    assert load(folder, 'cpu').stop_ids == {7}
    (folder / 'generation_config.json').unlink()
    edit(folder, 'config.json', eos_token_id=5)
    assert load(folder, 'cpu').stop_ids == {5}
    (folder / 'config.json').write_text(json.dumps({**config(CASES[0]), 'eos_token_id': None}))
    with pytest.raises(CheckpointError, match='eos_token_id'):
        load(folder, 'cpu')


def test_pixel_statistics_are_the_checkpoints_or_those_of_clip(folder: Path) -> None:
    model = load(folder, 'cpu')
    assert model.mean.tolist() == pytest.approx(MEAN)
    assert model.std.tolist() == pytest.approx(STD)
    edit(folder, 'processor_config.json', image_processor={'image_std': [0.1, 0.2, 0.3]})
    assert load(folder, 'cpu').std.tolist() == pytest.approx([0.1, 0.2, 0.3])
    edit(folder, 'video_preprocessor_config.json', image_mean=[0.1, 0.2, 0.3])
    assert load(folder, 'cpu').mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    edit(folder, 'preprocessor_config.json', image_mean=[0.5] * 3, image_std=[0.25] * 3)
    assert load(folder, 'cpu').mean.tolist() == [0.5] * 3
    assert load(folder, 'cpu').std.tolist() == [0.25] * 3
    edit(folder, 'preprocessor_config.json', image_mean=[0.5])
    with pytest.raises(CheckpointError, match=r'preprocessor_config.json: image_mean'):
        load(folder, 'cpu')


def cut_short(folder: Path) -> None:
    file = folder / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-100])


def garbled(folder: Path) -> None:
    (folder / 'model.safetensors').write_bytes(b'not weights at all')


def one_missing(folder: Path) -> None:
    weights = load_file(folder / 'model.safetensors')
    del weights['visual.merger.ln_q.weight']
    save_file(weights, folder / 'model.safetensors')


def one_more(folder: Path) -> None:
    weights = load_file(folder / 'model.safetensors')
    weights['model.layers.0.mlp.down_proj.qweight'] = torch.zeros(2)
    save_file(weights, folder / 'model.safetensors')


def another_size(folder: Path) -> None:
    edit(folder, 'config.json', **{**config(CASES[0]), 'vocab_size': 128, 'text_config': {}})


def no_weights(folder: Path) -> None:
    (folder / 'model.safetensors').unlink()


def only_pickles(folder: Path) -> None:
    no_weights(folder)
    (folder / 'pytorch_model.bin').write_bytes(b'\x80\x02.')


def shard_missing(folder: Path) -> None:
    split(folder)
    (folder / 'model-00002-of-00003.safetensors').unlink()


def shard_outside(folder: Path) -> None:
    split(folder)
    edit(folder, 'model.safetensors.index.json', weight_map={'a': '../other.safetensors'})


def no_map(folder: Path) -> None:
    split(folder)
    (folder / 'model.safetensors.index.json').write_text('{}')


def no_config(folder: Path) -> None:
    (folder / 'config.json').unlink()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ('harm', 'line'),
    [
        (cut_short, 'model.safetensors is damaged or incomplete .*: download it again'),
        (garbled, 'model.safetensors is damaged or incomplete'),
        (one_missing, 'lacks weights: visual.merger.ln_q.weight: download it again'),
        (one_more, r'does not: model.layers.0.mlp.down_proj.qweight: give a plain checkpoint'),
        (another_size, r'has the shape \(96, 112\), but config.json asks for \(128, 112\)'),
        (no_weights, 'neither model.safetensors nor model.safetensors.index.json'),
        (only_pickles, r'only pickled weights \(pytorch_model.bin\).*convert them to safetensors'),
        (shard_missing, 'model-00002-of-00003.safetensors is missing'),
        (shard_outside, r"names '\.\./other.safetensors', which is not a file name"),
        (no_map, 'has no weight_map'),
        (no_config, 'config.json is missing: give the folder of a Hugging Face checkpoint'),
        (no_folder, 'is no folder'),
    ],
)
def test_a_broken_checkpoint_is_refused_in_one_clear_line(
    folder: Path, harm: Callable[[Path], None], line: str
) -> None:
    harm(folder)
    with pytest.raises(CheckpointError, match=line) as caught:
        load(folder, 'cpu')
    assert str(folder) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_an_existing_folder_is_taken_as_it_is(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', None)
    assert resolve(small) == small
    assert resolve(str(small)) == small


def test_a_name_on_the_hub_fetches_data_and_no_code(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(small)

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    assert resolve('Some-Org/some.model-7B') == small
    assert asked == [('Some-Org/some.model-7B', ['*.json', '*.safetensors', '*.txt', '*.jinja'])]


def test_offline_a_name_that_is_not_cached_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(CheckpointError, match='some-org/no-model is no folder, and') as caught:
        resolve('some-org/no-model')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['no-such-folder', '/no/such/folder', './a/b', 'a/b/c', '../x'])
def test_a_name_that_cannot_be_on_the_hub_asks_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', None)
    with pytest.raises(CheckpointError, match='is no folder, and no name on the Hugging Face Hub'):
        resolve(name)
