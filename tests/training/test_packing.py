# SPDX-License-Identifier: Apache-2.0
"""Samples side by side learn what each would learn alone, and what inference computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lessons import composer, made_to_say, moments, words
from svlm_core import Sampling, StreamingVLM, preset
from svlm_core.model.checkpoint import load
from svlm_core.training.model import Trainee
from svlm_core.training.pack import Collator, pack
from svlm_core.training.samples import Sample

GOLDEN = Path(__file__).parents[1] / 'parity' / 'checkpoint'
SETTINGS = preset('robot', text_sink=5, text_window=9)


def trainee(*, freeze_vision: bool = False, checkpointing: bool = False) -> Trainee:
    model = load(GOLDEN, 'cpu', 'float32')
    return Trainee(model, freeze_vision=freeze_vision, checkpointing=checkpointing)


def test_with_frames_that_leave_early_the_scores_are_those_of_reuse(
    engine: StreamingVLM,
) -> None:
    """Native positions, and text that stays in place: frames are all that leaves the stream."""
    settings = preset(
        'robot', vision_window=3, text_rounds=100, rope='native',
        max_new_tokens=64, sampling=Sampling(temperature=0, repetition_penalty=1.0),
    )  # fmt: skip
    maker, model = composer(engine, settings), trainee()
    with made_to_say(engine.open(settings), maker, 0, 9) as drawn_from:
        expected = torch.stack(drawn_from)

    def scores(**changes: int) -> torch.Tensor:
        packed, _ = pack([maker.compose(moments(0, 9), [], 0, **changes)])
        return model.language.logits(model.states(packed))

    torch.testing.assert_close(scores(vision_rounds=3), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores(vision_rounds=9), scores(), rtol=1e-5, atol=1e-5)


@pytest.fixture
def samples(engine: StreamingVLM) -> list[Sample]:
    """Chunks of different lengths; the last one has larger frames."""
    maker = composer(engine, SETTINGS)
    return [
        maker.compose(moments(0, 3), [], 0),
        maker.compose(moments(12, 5), [words(i) for i in range(12)], 12),
        maker.compose(moments(7, 2, 140, 224), ['It was here.'], 7),
    ]


def gradients(model: Trainee, parts: list[Sample]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss, _ = model(*pack(parts))
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_scores_learnt_from_are_those_of_inference(engine: StreamingVLM) -> None:
    settings = preset(
        'robot', policy='full_attention', capacity=2000,
        max_new_tokens=64, sampling=Sampling(temperature=0, repetition_penalty=1.0),
    )  # fmt: skip
    maker, model = composer(engine, settings), trainee()
    with made_to_say(engine.open(settings), maker, 0, 12) as drawn_from:
        expected = torch.stack(drawn_from)
    packed, labels = pack([maker.compose(moments(0, 12), [], 0)])
    scores = model.language.logits(model.states(packed))
    assert scores.requires_grad
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    loss, right = model(packed, labels)
    wanted = torch.nn.functional.cross_entropy(expected, labels, reduction='sum')
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-4)
    assert right == (expected.argmax(-1) == labels).sum()


def test_stock_transformers_computes_the_same_loss_and_gradients(engine: StreamingVLM) -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration

    from svlm_core.model.vision import patchify

    sample = composer(engine, SETTINGS).compose(moments(12, 6), [words(i) for i in range(12)], 12)
    model = trainee()
    ours = gradients(model, [sample])
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        GOLDEN, dtype=torch.float32, local_files_only=True
    )
    config = model._config.vision
    patches, grid = patchify(sample.film, config, model.mean, model.std, torch.float32)
    scores = stock(
        input_ids=sample.ids[None],
        position_ids=sample.positions[:, None].long(),
        pixel_values_videos=patches,
        video_grid_thw=torch.tensor([[1, *grid[1:]]] * grid[0]),
        mm_token_type_ids=(sample.ids == engine.tokenizer.video_pad).int()[None] * 2,
        use_cache=False,
    ).logits[0, sample.asked]
    torch.nn.functional.cross_entropy(scores, sample.labels, reduction='sum').backward()
    theirs = {
        name.replace('model.language_model.', 'language.').replace('model.visual.', 'vision.')
        .replace('lm_head', 'language.lm_head'): p.grad
        for name, p in stock.named_parameters()
    }  # fmt: skip
    assert ours.keys() == theirs.keys()
    for name, found in ours.items():
        torch.testing.assert_close(found, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def test_packed_samples_do_not_see_one_another(samples: list[Sample]) -> None:
    model = trainee()
    with torch.no_grad():
        alone = torch.cat([model.states(pack([sample])[0]) for sample in samples])
        together = model.states(pack(samples)[0])
        swapped = model.states(pack([samples[2], *samples[:2]])[0])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    last = len(samples[2].labels)
    torch.testing.assert_close(torch.cat([swapped[last:], swapped[:last]]), alone)


def test_a_sample_whose_frames_leave_early_changes_none_of_the_others(
    engine: StreamingVLM, samples: list[Sample]
) -> None:
    early = composer(engine, SETTINGS).compose(moments(0, 3), [], 0, vision_rounds=1)
    model = trainee()
    with torch.no_grad():
        alone = model.states(pack([early])[0])
        together = model.states(pack([samples[1], early, samples[2]])[0])
        plain = model.states(pack([samples[1], samples[0], samples[2]])[0])
    first, last = len(samples[1].labels), len(samples[2].labels)
    torch.testing.assert_close(together[first:-last], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together[:first], plain[:first])
    assert torch.equal(together[-last:], plain[-last:])


def test_the_gradient_of_a_pack_is_the_sum_of_its_samples(samples: list[Sample]) -> None:
    model = trainee()
    together, alone = gradients(model, samples), [gradients(model, [s]) for s in samples]
    for name, found in together.items():
        expected = sum(part[name] for part in alone)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)


def test_computing_layers_again_changes_no_gradient_and_keeps_less(
    samples: list[Sample],
) -> None:
    def kept(model: Trainee) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(*pack(samples))
        return sum(sizes.values())

    plain, again = trainee(), trainee(checkpointing=True)
    for name, found in gradients(again, samples).items():
        torch.testing.assert_close(found, gradients(plain, samples)[name], msg=name)
    assert kept(again) < kept(plain) / 2


def test_a_frozen_vision_tower_gets_no_gradient(samples: list[Sample]) -> None:
    names = gradients(trainee(freeze_vision=True), samples).keys()
    assert not any(name.startswith('vision.') for name in names)
    assert any(name.startswith('vision.') for name in gradients(trainee(), samples))


def test_bfloat16_learns_about_the_same(samples: list[Sample]) -> None:
    model = trainee()
    exact = gradients(model, samples)
    with torch.autocast('cpu', torch.bfloat16):
        rough = gradients(model, samples)
    for name in ('language.layers.0.mlp.up_proj.weight', 'vision.merger.mlp.2.weight'):
        similar = torch.cosine_similarity(exact[name].flatten(), rough[name].flatten(), dim=0)
        assert similar > 0.99, name


def test_rows_that_could_not_be_read_are_named_and_not_replaced(
    engine: StreamingVLM, samples: list[Sample]
) -> None:
    collate = Collator(composer(engine, SETTINGS).blank())
    batch = collate([samples[0], 'a.jsonl line 3: no video', None])
    assert batch['pack'].lengths == (len(samples[0]),)
    assert batch['problems'] == ['a.jsonl line 3: no video']


def test_a_batch_of_which_nothing_is_left_teaches_nothing(engine: StreamingVLM) -> None:
    batch = Collator(composer(engine, SETTINGS).blank())(['a.jsonl line 3: no video'])
    model = trainee()
    loss, right = model(batch['pack'], batch['labels'])
    loss.backward()
    assert loss == right == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_pack_moves_as_one(samples: list[Sample]) -> None:
    packed, _ = pack(samples)
    moved = packed.to('meta')
    assert {moved.ids.device.type, moved.films[0].device.type} == {'meta'}
    assert moved.until == (None,) * 3
    assert moved.lengths == packed.lengths
