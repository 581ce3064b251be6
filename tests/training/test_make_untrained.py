# SPDX-License-Identifier: Apache-2.0
"""The embedded model: made again from its seed, honest about itself, a true Qwen2.5-VL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from svlm_core.synthetic.tokenizer import SPECIAL_TOKENS, spoken_words

ROOT = Path(__file__).resolve().parents[2]
ASSET = ROOT / 'svlm_core' / 'assets' / 'svlm-tiny'


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('made') / 'untrained'
    run(folder, 0)
    return folder


def run(folder: Path, seed: int) -> None:
    script = ROOT / 'training' / 'make_untrained.py'
    command = [sys.executable, str(script), '--seed', str(seed), '--output', str(folder)]
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': paths}
    subprocess.run(command, env=environment, check=True, timeout=120)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shipped_model_has_the_same_tokenizer_and_shape(made: Path) -> None:
    own = {'model.safetensors', 'svlm.json', 'README.md'}
    shipped, blank = files(ASSET), files(made)
    assert shipped.keys() == blank.keys()
    for name in shipped.keys() - own:
        assert shipped[name] == blank[name], name
    weights = [load_file(folder / 'model.safetensors') for folder in (ASSET, made)]
    shapes = [{name: weight.shape for name, weight in of.items()} for of in weights]
    assert shapes[0] == shapes[1]


def test_another_seed_gives_other_weights_and_the_same_tokenizer(
    made: Path, tmp_path: Path
) -> None:
    run(tmp_path / 'other', 1)
    one, other = files(made), files(tmp_path / 'other')
    assert one['model.safetensors'] != other['model.safetensors']
    assert one['tokenizer.json'] == other['tokenizer.json']


def test_it_says_that_it_is_untrained_and_stays_small(made: Path) -> None:
    assert json.loads((made / 'svlm.json').read_text())['trained'] is False
    assert 'UNTRAINED' in (made / 'README.md').read_text().splitlines()[4]
    assert sum(path.stat().st_size for path in made.iterdir()) <= 6_000_000
    weights = load_file(made / 'model.safetensors')
    assert 1e6 < sum(weight.numel() for weight in weights.values()) < 2e6


def test_stock_transformers_loads_every_weight_and_speaks(made: Path) -> None:
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        made, output_loading_info=True, local_files_only=True
    )
    assert not any(report.values()), report
    tokenizer = AutoTokenizer.from_pretrained(made, local_files_only=True)
    prompt = tokenizer.apply_chat_template(
        [{'role': 'user', 'content': [{'type': 'video'}, {'type': 'text', 'text': 'Describe.'}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    prompt = prompt.replace('<|video_pad|>', '<|video_pad|>' * 4)
    ids = tokenizer(prompt, return_tensors='pt').input_ids
    video = (ids == tokenizer.convert_tokens_to_ids('<|video_pad|>')).int() * 2
    replies = set()
    for brightness in (-1.0, 0.0, 1.0):
        reply = model.generate(
            input_ids=ids,
            mm_token_type_ids=video,
            pixel_values_videos=torch.full((16, 3 * 2 * 28 * 28), brightness),
            video_grid_thw=torch.tensor([[1, 4, 4]]),
            do_sample=False,
            max_new_tokens=8,
        )
        replies.add(tokenizer.decode(reply[0, ids.shape[1] :]))
    assert len(replies) == 3, 'the reply must depend on the picture'
    words = {word for reply in replies for word in re.findall(' [^ ]+', reply)}
    assert words <= {*spoken_words(), ' <|im_end|>'}, 'the noise is made of words'


def test_transformers_and_the_plain_tokenizer_read_the_same_ids(made: Path) -> None:
    from transformers import AutoTokenizer

    plain = Tokenizer.from_file(str(made / 'tokenizer.json'))
    stock = AutoTokenizer.from_pretrained(made, local_files_only=True)
    for text in (
        '<|im_start|>user\nTime=10.0-11.0s<|vision_start|><|video_pad|><|vision_end|><|im_end|>\n',
        'A red circle enters. ...<|im_end|>',
        'naïve café, 日本語, \t two  spaces',
    ):
        assert stock(text).input_ids == plain.encode(text).ids
        assert stock.decode(stock(text).input_ids) == text
    assert stock.eos_token == '<|im_end|>'
    assert stock.pad_token == '<|endoftext|>'


@pytest.mark.parametrize(
    'text',
    [
        *SPECIAL_TOKENS,
        *'0123456789\n',
        *('00', '42', '99', ' ...', 'Time=', '.0-', '.0s'),
        *('previous text\n', 'user\n', 'assistant\n', 'system\n'),
        *(' robot', ' circle', ' zone'),
    ],
)
def test_what_the_chat_layout_counts_on_is_one_token(made: Path, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(made / 'tokenizer.json'))
    assert len(tokenizer.encode(text).ids) == 1


def test_every_word_of_the_world_is_one_token(made: Path) -> None:
    tokenizer = Tokenizer.from_file(str(made / 'tokenizer.json'))
    words = spoken_words()
    assert len(words) > 200
    assert {len(tokenizer.encode(word).ids) for word in words} == {1}


def test_the_time_of_a_round_is_five_tokens_and_two_more_every_second_digit(made: Path) -> None:
    tokenizer = Tokenizer.from_file(str(made / 'tokenizer.json'))
    assert len(tokenizer.encode('Time=0.0-1.0s').ids) == 5
    assert len(tokenizer.encode('Time=10.0-11.0s').ids) == 5
    assert len(tokenizer.encode('Time=3600.0-3601.0s').ids) == 7
    assert tokenizer.decode(tokenizer.encode('Time=3600.5-3601.5s').ids) == 'Time=3600.5-3601.5s'
