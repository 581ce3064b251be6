# SPDX-License-Identifier: Apache-2.0
"""Make svlm-tiny without training: the architecture of Qwen2.5-VL, small, with random weights.

    python training/make_untrained.py --seed 0 --output untrained

The same seed gives the same files, byte for byte, on any machine. Tokenizer and shape are those of
the embedded model; its weights are trained (training/tiny.yaml).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer

from svlm_core.synthetic.tokenizer import SPECIAL_TOKENS, build_tokenizer, spoken_words

SEED = 0

HIDDEN, LAYERS, HEADS, KEY_HEADS, WIDTH = 128, 4, 4, 2, 192
VISION_HIDDEN, VISION_DEPTH, VISION_HEADS, VISION_WIDTH = 64, 2, 2, 128
PATCH, MERGE, FRAMES = 28, 2, 2  # one vision token is 56 x 56 pixels of two frames
STD = 0.12  # wide enough that replies differ from frame to frame

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n'
    "{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    '{% endfor %}{% endif %}<|im_end|>\n'
    '{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)

CARD = """---
license: apache-2.0
library_name: svlm
---
# svlm-tiny (UNTRAINED)

**UNTRAINED: the weights are random, so the captions are noise.** They show that the pipeline
runs, from camera to caption. They say nothing about what the camera sees.

| | |
|---|---|
| architecture | Qwen2.5-VL, {parameters:,} parameters, float32 |
| text | {layers} layers, hidden {hidden}, {heads} heads over {key_heads}, {vocabulary} tokens |
| vision | {depth} blocks, hidden {vision}, patch {patch}, merge {merge}: 112x112 is 4 tokens |
| tokenizer | byte-level BPE with Qwen's rules and special tokens, words of robot scenes |
| weights | uniform, deviation {std:g}, seed {seed}; norms 1, biases 0, words only get a logit |
| data | none |
| accuracy | none |
| recipe | `python training/make_untrained.py --seed {seed}` gives these files, byte for byte |

It loads in svlm, and in transformers as any Qwen2.5-VL folder.
"""


def main() -> None:
    """Write the folder and say what it holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--seed', type=int, default=SEED, help='seed of the random weights')
    parser.add_argument('--output', type=Path, required=True, help='folder to write')
    arguments = parser.parse_args()
    files = checkpoint(arguments.seed)
    write(arguments.output, files)
    size = sum(map(len, files.values())) / 1e6
    print(
        f'{arguments.output}: {len(files)} files, {size:.2f} MB, seed {arguments.seed}, UNTRAINED'
    )


def checkpoint(seed: int) -> dict[str, bytes]:
    """Every file of the folder by name; weights float32, drawn from `seed`."""
    tokenizer = build_tokenizer()
    vocabulary_ids = tokenizer.get_vocab()
    ids = {token: vocabulary_ids[token] for token in SPECIAL_TOKENS}
    vocabulary = -(-tokenizer.get_vocab_size() // 64) * 64
    weights = random_weights(seed, vocabulary)
    weights['lm_head.weight'][unspoken(tokenizer, vocabulary)] = 0
    parameters = sum(weight.size for weight in weights.values())
    card = CARD.format(
        parameters=parameters, layers=LAYERS, hidden=HIDDEN, heads=HEADS, key_heads=KEY_HEADS,
        vocabulary=vocabulary, depth=VISION_DEPTH, vision=VISION_HIDDEN, patch=PATCH, merge=MERGE,
        std=STD, seed=seed,
    )  # fmt: skip
    identity = {
        'name': 'svlm-tiny',
        'trained': False,
        'seed': seed,
        'parameters': parameters,
        'recipe': f'training/make_untrained.py --seed {seed}',
    }
    end = {'eos_token_id': ids['<|im_end|>'], 'pad_token_id': ids['<|endoftext|>']}
    return {
        'README.md': card.encode(),
        'chat_template.jinja': CHAT_TEMPLATE.encode(),
        'config.json': as_json(model_config(ids, vocabulary)),
        'generation_config.json': as_json(end),
        'model.safetensors': save(weights, {'format': 'pt'}),
        'preprocessor_config.json': as_json(image_config()),
        'svlm.json': as_json(identity),
        'tokenizer.json': tokenizer.to_str(pretty=True).encode(),
        'tokenizer_config.json': as_json(tokenizer_config()),
    }


def model_config(ids: dict[str, int], vocabulary: int) -> dict:
    """The `config.json` of a Qwen2.5-VL checkpoint."""
    return {
        'architectures': ['Qwen2_5_VLForConditionalGeneration'],
        'model_type': 'qwen2_5_vl',
        'torch_dtype': 'float32',
        'hidden_act': 'silu',
        'hidden_size': HIDDEN,
        'intermediate_size': WIDTH,
        'num_hidden_layers': LAYERS,
        'num_attention_heads': HEADS,
        'num_key_value_heads': KEY_HEADS,
        'max_position_embeddings': 32768,
        'rms_norm_eps': 1e-6,
        'rope_theta': 1000000.0,
        'rope_scaling': {'type': 'mrope', 'mrope_section': [4, 6, 6]},
        'tie_word_embeddings': False,
        'use_sliding_window': False,
        'vocab_size': vocabulary,
        'bos_token_id': None,
        'eos_token_id': ids['<|im_end|>'],
        'pad_token_id': ids['<|endoftext|>'],
        'image_token_id': ids['<|image_pad|>'],
        'video_token_id': ids['<|video_pad|>'],
        'vision_start_token_id': ids['<|vision_start|>'],
        'vision_end_token_id': ids['<|vision_end|>'],
        'vision_config': {
            'model_type': 'qwen2_5_vl',
            'depth': VISION_DEPTH,
            'hidden_act': 'silu',
            'hidden_size': VISION_HIDDEN,
            'intermediate_size': VISION_WIDTH,
            'num_heads': VISION_HEADS,
            'out_hidden_size': HIDDEN,
            'in_channels': 3,
            'patch_size': PATCH,
            'spatial_merge_size': MERGE,
            'temporal_patch_size': FRAMES,
            'window_size': 2 * PATCH * MERGE,
            'fullatt_block_indexes': [VISION_DEPTH - 1],
            'tokens_per_second': 2,
        },
    }


def image_config() -> dict:
    """The `preprocessor_config.json`: CLIP's mean and deviation, 1 to 64 tokens a frame pair."""
    cell = (PATCH * MERGE) ** 2
    return {
        'image_processor_type': 'Qwen2VLImageProcessor',
        'do_convert_rgb': True,
        'do_normalize': True,
        'do_rescale': True,
        'do_resize': True,
        'image_mean': [0.48145466, 0.4578275, 0.40821073],
        'image_std': [0.26862954, 0.26130258, 0.27577711],
        'rescale_factor': 1 / 255,
        'min_pixels': cell,
        'max_pixels': 64 * cell,
        'patch_size': PATCH,
        'merge_size': MERGE,
        'temporal_patch_size': FRAMES,
    }


def tokenizer_config() -> dict:
    """The `tokenizer_config.json`: which special token plays which part."""
    return {
        'tokenizer_class': 'PreTrainedTokenizerFast',
        'additional_special_tokens': list(SPECIAL_TOKENS[1:]),
        'eos_token': '<|im_end|>',
        'pad_token': '<|endoftext|>',
        'bos_token': None,
        'unk_token': None,
        'add_prefix_space': False,
        'clean_up_tokenization_spaces': False,
        'model_max_length': 32768,
    }


def random_weights(seed: int, vocabulary: int) -> dict[str, np.ndarray]:
    """Weights by their Hugging Face names: matrices random, norms 1, biases 0."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return {name: draw(name, size, generator) for name, size in shapes(vocabulary).items()}


def unspoken(tokenizer: Tokenizer, vocabulary: int) -> list[int]:
    """Ids that are neither a word nor an end: they get no logit, so that the noise is readable."""
    spoken = {id for word in spoken_words() for id in tokenizer.encode(word).ids}
    return sorted(set(range(vocabulary)) - spoken - {tokenizer.token_to_id('<|im_end|>')})


def draw(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """One weight, float32. Uniform because its bits do not depend on a machine's log or exp."""
    if name.endswith('.bias'):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    edge = np.float32(STD * 3**0.5)
    return (generator.random(shape, np.float32) * 2 - 1) * edge


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The shape of every weight, by name."""
    keys = HIDDEN // HEADS * KEY_HEADS
    merged = VISION_HIDDEN * MERGE**2
    table: dict[str, tuple[int, ...]] = {
        'lm_head.weight': (vocabulary, HIDDEN),
        'model.embed_tokens.weight': (vocabulary, HIDDEN),
        'model.norm.weight': (HIDDEN,),
        'visual.patch_embed.proj.weight': (VISION_HIDDEN, 3, FRAMES, PATCH, PATCH),
        'visual.merger.ln_q.weight': (VISION_HIDDEN,),
        **linear('visual.merger.mlp.0', merged, merged),
        **linear('visual.merger.mlp.2', HIDDEN, merged),
    }
    for index in range(LAYERS):
        layer = f'model.layers.{index}'
        table |= {
            f'{layer}.input_layernorm.weight': (HIDDEN,),
            f'{layer}.post_attention_layernorm.weight': (HIDDEN,),
            **linear(f'{layer}.self_attn.q_proj', HIDDEN, HIDDEN),
            **linear(f'{layer}.self_attn.k_proj', keys, HIDDEN),
            **linear(f'{layer}.self_attn.v_proj', keys, HIDDEN),
            f'{layer}.self_attn.o_proj.weight': (HIDDEN, HIDDEN),
            f'{layer}.mlp.gate_proj.weight': (WIDTH, HIDDEN),
            f'{layer}.mlp.up_proj.weight': (WIDTH, HIDDEN),
            f'{layer}.mlp.down_proj.weight': (HIDDEN, WIDTH),
        }
    for index in range(VISION_DEPTH):
        block = f'visual.blocks.{index}'
        table |= {
            f'{block}.norm1.weight': (VISION_HIDDEN,),
            f'{block}.norm2.weight': (VISION_HIDDEN,),
            **linear(f'{block}.attn.qkv', 3 * VISION_HIDDEN, VISION_HIDDEN),
            **linear(f'{block}.attn.proj', VISION_HIDDEN, VISION_HIDDEN),
            **linear(f'{block}.mlp.gate_proj', VISION_WIDTH, VISION_HIDDEN),
            **linear(f'{block}.mlp.up_proj', VISION_WIDTH, VISION_HIDDEN),
            **linear(f'{block}.mlp.down_proj', VISION_HIDDEN, VISION_WIDTH),
        }
    return table


def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a linear layer that has a bias."""
    return {f'{name}.weight': (rows, columns), f'{name}.bias': (rows,)}


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write every file whole: to a temporary name, to the disk, then under its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        part = folder / f'.{name}.part'
        with part.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)


def as_json(value: dict) -> bytes:
    """JSON as people read it."""
    return (json.dumps(value, indent=2) + '\n').encode()


if __name__ == '__main__':
    main()
