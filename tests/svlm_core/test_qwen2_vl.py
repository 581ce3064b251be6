# SPDX-License-Identifier: Apache-2.0
"""A Qwen2-VL watches a stream: what it says is what stock transformers would say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from streams import POLICIES, each, noise, said, small, watch
from svlm_core import StreamingVLM
from svlm_core.config import Sampling
from svlm_core.errors import CheckpointError
from svlm_core.model.checkpoint import load
from svlm_core.model.vision import patchify
from svlm_core.transcript import Role

TOKENIZER = ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja')


@pytest.fixture(scope='module')
def stock(golden: Path) -> Qwen2VLForConditionalGeneration:
    """A random Qwen2-VL with the vocabulary, and the special tokens, of the golden checkpoint."""
    raw = json.loads((golden / 'checkpoint' / 'config.json').read_text())
    text = {k: v for k, v in raw['text_config'].items() if k != 'model_type'}
    tower = {'depth': 2, 'embed_dim': 32, 'num_heads': 2, 'hidden_size': text['hidden_size']}
    special = {key: value for key, value in raw.items() if key.endswith('_token_id')}
    torch.manual_seed(0)
    stock = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(text_config=text, vision_config=tower, **special)
    )
    with torch.no_grad():
        for weight in stock.parameters():
            weight += torch.randn_like(weight) * 0.1
    return stock.eval()


@pytest.fixture(scope='module')
def folder(
    stock: Qwen2VLForConditionalGeneration, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp('qwen2-vl')
    stock.generation_config.eos_token_id = [1, 2]
    stock.save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(golden / 'checkpoint' / name, folder)
    return folder


@pytest.fixture(scope='module')
def engine(folder: Path) -> StreamingVLM:
    return StreamingVLM.from_pretrained(folder, device='cpu', dtype='float32')


@pytest.mark.parametrize('rope', ['contiguous', 'plain'])
def test_its_logits_over_two_rounds_are_those_of_stock_transformers(engine, folder, stock, rope):
    greedy = Sampling(temperature=0, repetition_penalty=1.0)
    stream = engine.open(small(sampling=greedy, max_vision_tokens=16, rope=rope))
    model, rounds, seen = load(folder, 'cpu'), [], []
    for number in range(2):
        frames = noise(number, 56, 84)
        vision = model.config.vision
        seen.append(
            patchify(torch.from_numpy(frames), vision, model.mean, model.std, torch.float32)
        )
        rounds.append(list(stream.tokens(frames, number)))
    ids = torch.tensor([stream.transcript.ids])
    kinds = (ids == stock.config.video_token_id).int() * 2
    grids = torch.tensor([grid for _, grid in seen])
    positions, _ = stock.model.get_rope_index(ids, kinds, video_grid_thw=grids)
    if rope == 'plain':  # stock code with stale rope deltas, as LiveCC was trained
        positions = torch.arange(ids.shape[1]).expand_as(positions)
    with torch.inference_mode():
        logits = stock(
            input_ids=ids,
            pixel_values_videos=torch.cat([patches for patches, _ in seen]),
            video_grid_thw=grids,
            position_ids=positions,
            mm_token_type_ids=kinds,
        ).logits[0]
    segments = zip(stream.transcript.segments, stream.transcript.starts, strict=False)
    starts = [start for segment, start in segments if segment.role is Role.REPLY]
    for start, tokens in zip(starts, rounds, strict=True):
        found = torch.stack([token.logits for token in tokens])
        expected = logits[start - 1 : start - 1 + len(tokens)]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@each(POLICIES)
def test_it_watches_a_stream_under_every_policy(engine, policy):
    settings = small(**policy)
    captions = watch(engine.open(settings), range(6))
    assert all(1 <= len(caption.ids) <= 4 for caption in captions)
    assert said(watch(engine.open(settings), range(6))) == said(captions)


def test_a_tower_with_another_activation_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / 'copy')
    raw = json.loads((copy / 'config.json').read_text())
    raw['vision_config']['hidden_act'] = 'silu'
    (copy / 'config.json').write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match='only quick_gelu is'):
        StreamingVLM.from_pretrained(copy, device='cpu')
