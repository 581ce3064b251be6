# SPDX-License-Identifier: Apache-2.0
"""A dry run tells what training will take, and it is what it takes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lessons import composer, moments, words
from svlm_core import StreamingVLM, preset
from svlm_core.model.checkpoint import load
from svlm_core.training.dry_run import Load, memory, show, states
from svlm_core.training.model import Trainee
from svlm_core.training.pack import pack
from svlm_core.training.recipe import Adapter, Data, Learner, Stage, Stories, read_recipe

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / 'tests' / 'parity' / 'checkpoint'
STAGE = Stage(data=(Data(Stories()),), pack=2, batch=2)


@pytest.mark.parametrize('checkpointing', [False, True])
@pytest.mark.parametrize('frozen', [False, True])
def test_the_states_it_tells_of_are_those_that_are_kept(
    engine: StreamingVLM, checkpointing: bool, frozen: bool
) -> None:
    said = [words(second) for second in range(24)]
    sample = composer(engine, preset('robot')).compose(moments(24, 24), said, 24)
    stage = replace(STAGE, checkpointing=checkpointing)
    model = Trainee(
        load(GOLDEN, 'cpu', 'float32'), freeze_vision=frozen, checkpointing=checkpointing
    )
    owned = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss, _ = model(*pack([sample, sample]))
    config = engine._model.config
    told = states(config, stage, Load.of(sample, config).times(2), frozen)
    loss.backward()
    least = 0.05 if checkpointing or frozen else 0.75  # the rest is for a moment only
    assert least * told < sum(kept.values()) < 1.1 * told


def test_weights_gradients_and_moments_are_counted(engine: StreamingVLM) -> None:
    config, one = engine._model.config, Load(1, 1, 1, 1)
    count = engine.info.parameters
    whole = memory(config, Learner(), STAGE, one)
    assert (whole.weights, whole.gradients, whole.moments) == (4 * count, 4 * count, 8 * count)
    still = memory(config, Learner(freeze_vision=True), STAGE, one)
    seen = sum(weight.numel() for weight in engine._model.vision.parameters())
    assert still.gradients == 4 * (count - seen)
    few = memory(config, Learner(adapter=Adapter(rank=2)), replace(STAGE, bf16=True), one)
    assert few.gradients < whole.gradients / 4
    assert 2 * count < few.weights < 3 * count


@pytest.mark.parametrize('name', ['tiny'])
def test_it_prints_tokens_and_memory_of_every_stage(name: str) -> None:
    text = io.StringIO()
    show(read_recipe(ROOT / 'training' / f'{name}.yaml'), Console(file=text, width=99))
    printed = text.getvalue()
    for part in (
        'streams: 1200 steps of 16 samples',
        'clips: 600 steps',
        'lookout: 480 steps',
        'gallery: 200 steps of 48 samples',
        'sft: 1000 steps',
        'tokens',
        'to learn',
        'optimiser',
    ):
        assert part in printed
