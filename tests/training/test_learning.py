# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a model that has learnt something, and that anyone can load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import training_runs as runs
from footage import film, row, write_rows
from svlm_core import Sampling, StreamingVLM, preset
from svlm_core.card import EMBEDDED
from svlm_core.errors import SettingsError
from svlm_core.model.checkpoint import load
from svlm_core.model.language import Layer
from svlm_core.rope import Rotary, rotate
from svlm_core.synthetic.story import Story, seed_to_train
from svlm_core.training import adapters
from svlm_core.training.model import Packed, Trainee
from svlm_core.training.recipe import Adapter, read_recipe
from svlm_core.training.run import train

GOLDEN = Path(__file__).parents[1] / 'parity' / 'checkpoint'


def write_recipe(folder: Path, text: str) -> Path:
    path = folder / 'recipe.yaml'
    path.write_text(text)
    return path


def log(run: Path) -> list[dict]:
    [newest] = run.glob('sft/checkpoint-*/trainer_state.json')
    entries = json.loads(newest.read_text())['log_history']
    return [entry for entry in entries if 'loss' in entry]


def test_a_handful_of_chunks_is_learnt_by_heart(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        """
        name: by-heart
        model: {fresh: {seed: 0}}
        stream: {text_sink: 12, text_window: 20}
        stages:
          - data:
              - stories: {samples: 4, window: 8, overlap: 4, run: 2, length: 8, tasks: 0, size: 56}
            epochs: 70
            batch: 4
            pack: 4
            learning_rate: 4e-3
            warmup: 0.1
            beta2: 0.98
            save_every: 100
            keep: 1
            log_every: 5
            workers: 0
        """,
    )
    assert runs.finish(runs.start(runs.carry_out, recipe, tmp_path / 'run')) == [0]
    history = log(tmp_path / 'run')
    assert history[0]['loss'] > 4 > 0.3 > history[-1]['loss']
    assert history[-1]['accuracy'] > 0.95
    engine = StreamingVLM.from_pretrained(tmp_path / 'run' / 'sft' / 'model', device='cpu')
    greedy = Sampling(temperature=0, repetition_penalty=1.0)
    stream = engine.open(preset('robot', text_sink=12, text_window=20, sampling=greedy))
    story = Story(seed_to_train(0), 56, 56)
    said = [stream.step(story.frames(i), float(i)).text for i in range(8)]
    right = sum(said[i] == story.second(i).caption for i in range(8))
    assert right >= 7, 'inference says what was learnt'


ROWS = """
name: rows
model: {source: %s}
stages:
  - data: [{annotations: {file: %s}}]
    epochs: 2
    batch: 2
    pack: 2
    keep: 1
    log_every: 1
    workers: 1
"""


def test_bad_rows_are_counted_written_down_and_not_replaced(tmp_path: Path) -> None:
    film(tmp_path / 'a.mp4', 10)
    (tmp_path / 'torn.mp4').write_bytes((tmp_path / 'a.mp4').read_bytes()[:3000])
    rows = [row(), row(video='none.mp4'), row(video='torn.mp4'), row(end=7.5)]
    file = write_rows(tmp_path / 'rows.jsonl', rows, 'inside')
    recipe = write_recipe(tmp_path, ROWS % (GOLDEN, file))
    run = tmp_path / 'run'
    assert runs.finish(runs.start(runs.carry_out, recipe, run)) == [0]
    bad = (run / 'sft' / 'bad_rows.txt').read_text().splitlines()
    assert len(bad) == 1
    assert f'{file} line 2: [0].content video' in bad[0]
    torn = (run / 'sft' / 'left_out.txt').read_text().splitlines()
    assert len(torn) == 2, 'once an epoch'
    assert all(f'{file} line 3: video' in line for line in torn)
    assert log(run)[-1]['left_out'] == 2
    assert len(log(run)) == 3, 'three rows, twice, two a step'


def test_data_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    file = write_rows(tmp_path / 'rows.jsonl', [row(video='none.mp4')])
    recipe = read_recipe(write_recipe(tmp_path, ROWS % (GOLDEN, file)))
    with pytest.raises(SettingsError, match='stage sft has not one row to learn from'):
        train(recipe, tmp_path / 'run')


LORA = f"""
name: adapted
model: {{source: {GOLDEN}, adapter: {{rank: 2, layers: [q_proj, down_proj]}}}}
stages:
  - data: [{{stories: {{samples: 8, window: 4, overlap: 2, size: 56}}}}]
    batch: 4
    pack: 4
    learning_rate: 1e-2
    bf16: BF16
    keep: 1
    workers: 0
"""


@pytest.mark.parametrize('bf16', ['true', 'false'])
def test_adapters_change_their_layers_alone_and_merge_into_a_plain_model(
    tmp_path: Path, bf16: str
) -> None:
    recipe = write_recipe(tmp_path, LORA.replace('BF16', bf16))
    run = tmp_path / 'run'
    assert runs.finish(runs.start(runs.carry_out, recipe, run)) == [0]
    before = load_file(GOLDEN / 'model.safetensors')
    after = load_file(run / 'sft' / 'model' / 'model.safetensors')
    assert after.keys() == before.keys()
    changed = {
        name for name in before if not torch.allclose(before[name], after[name], 1e-2, 1e-4)
    }
    assert changed
    assert all('q_proj.weight' in name or 'down_proj.weight' in name for name in changed)
    [checkpoint] = (run / 'sft').glob('checkpoint-*')
    assert all('lora_' in name for name in load_file(next(checkpoint.glob('*.safetensors')))
               if name.startswith('weight/'))  # fmt: skip


def test_merging_adapters_changes_no_score() -> None:
    model = Trainee(load(GOLDEN, 'cpu', 'float32'), freeze_vision=True, checkpointing=False)
    adapters.add(model.language, Adapter(rank=3), seed=1)
    for name, weight in model.language.named_parameters():
        if 'lora_' in name:
            weight.data.normal_(std=0.1)
    layer = model.language.layers[0].mlp
    x = torch.randn(5, model._config.text.hidden_size)
    with torch.no_grad():
        expected = layer(x)
        adapters.merge(model.language)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert not [name for name, _ in model.named_parameters() if 'lora' in name or 'base' in name]


def test_transformers_loads_what_was_trained(tmp_path: Path) -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration

    recipe = write_recipe(tmp_path, LORA.replace('BF16', 'false'))
    assert runs.finish(runs.start(runs.carry_out, recipe, tmp_path / 'run')) == [0]
    folder = tmp_path / 'run' / 'sft' / 'model'
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, local_files_only=True
    )
    assert not any(report.values()), report
    stored = load_file(folder / 'model.safetensors')
    assert torch.equal(model.lm_head.weight, stored['lm_head.weight'])
    said = json.loads((folder / 'svlm.json').read_text())
    assert (said['name'], said['trained'], said['steps']) == ('adapted', True, 2)
    assert said['recipe']['model']['adapter']['rank'] == 2


def test_fresh_weights_are_the_same_on_every_machine(tmp_path: Path) -> None:
    from svlm_core.training.folders import write_fresh
    from svlm_core.training.recipe import Fresh

    fresh = Fresh(
        seed=3, config={'text_config': {'intermediate_size': 160, 'num_hidden_layers': 3}}
    )
    one, other = (write_fresh(tmp_path / n, GOLDEN, fresh) for n in ('one', 'other'))
    files = [(folder / 'model.safetensors').read_bytes() for folder in (one, other)]
    assert files[0] == files[1]
    weights = load_file(one / 'model.safetensors')
    assert weights['model.layers.2.mlp.up_proj.weight'].shape[0] == 160
    assert np.isclose(weights['model.layers.2.mlp.up_proj.weight'].std(), 0.05, rtol=0.05)
    assert StreamingVLM.from_pretrained(one).info.trained is False


def scores(layer: Layer, x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """How much the first two heads look where, (2, T, T) logits, given the states (T, hidden)."""
    attention, D = layer.self_attn, rotary.spec.head_dim
    tables = rotary.tables(torch.arange(len(x)).expand(3, -1))
    x = layer.input_layernorm(x)
    q, k = (
        rotate(part(x).unflatten(-1, (-1, D)), *tables)
        for part in (attention.q_proj, attention.k_proj)
    )  # (T, heads, D)
    return torch.einsum('thd,sd->hts', q[:, :2], k[:, 0]) / D**0.5


@torch.inference_mode()
def test_fresh_heads_find_what_stood_behind_a_word(tmp_path: Path) -> None:
    from svlm_core.training.folders import write_fresh
    from svlm_core.training.recipe import Fresh

    language = load(write_fresh(tmp_path / 'fresh', EMBEDDED, Fresh(find=True)), 'cpu').language
    rotary, T = Rotary(language.config.rope, torch.device('cpu')), 400
    once = torch.randperm(900, generator=torch.manual_seed(0))[: T // 2]
    x = language.embed(torch.cat([once, once]))  # each word twice, 200 tokens apart
    first, second = language.layers[:2]
    earlier = torch.full((T, T), float('-inf')).triu(1)
    for step, logits in enumerate(scores(first, x, rotary), 1):
        assert (logits + earlier).softmax(-1).diagonal(-step)[8:].min() > 0.8
    reading = Packed(*rotary.tables(torch.arange(T).expand(3, -1)), (T,), (None,))
    for logits in scores(second, first(x, reading, T), rotary):
        behind = logits.diagonal(1 - T // 2)[1:]  # of the word's first time
        assert behind.mean() > logits.mean() + logits.std()


def test_a_model_without_heads_that_share_keys_cannot_begin_by_finding(tmp_path: Path) -> None:
    from svlm_core.training.folders import write_fresh
    from svlm_core.training.recipe import Fresh

    alone = Fresh(find=True, config={'num_key_value_heads': 4})
    with pytest.raises(SettingsError, match='two heads to a key head'):
        write_fresh(tmp_path / 'fresh', EMBEDDED, alone)
