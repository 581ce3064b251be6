# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a checkpoint folder: stage after stage, from wherever it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers.utils import logging

from svlm_core.card import EMBEDDED, differences
from svlm_core.errors import SettingsError
from svlm_core.model.checkpoint import load, resolve
from svlm_core.model.config import read_config
from svlm_core.model.weights import weights_of
from svlm_core.prompt import ChatTokenizer
from svlm_core.timeline import write_whole
from svlm_core.training import adapters, checkpoints
from svlm_core.training.course import Course, Source
from svlm_core.training.folders import parameters, write_fresh, write_model
from svlm_core.training.model import Trainee
from svlm_core.training.pack import Collator
from svlm_core.training.recipe import Data, Recipe, Stage, as_dict
from svlm_core.training.recitals import RecitalSource
from svlm_core.training.samples import Composer
from svlm_core.training.stories import StorySource
from svlm_core.training.trainer import ChunkTrainer, arguments
from svlm_core.training.videos import VideoSource

RECIPE, BAD_ROWS = 'recipe.json', 'bad_rows.txt'


def train(
    recipe: Recipe, output: Path, *, resume: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Carry out a recipe in the folder `output`; the folder of the model it ends with.

    With `resume` it goes on from what is there. Raises SettingsError where `output` holds another
    run, and the errors of data, checkpoints and disks.
    """
    logging.set_verbosity_error()
    state = PartialState(cpu=not torch.cuda.is_available())
    if not state.is_main_process:
        say = lambda line: None  # noqa: E731 (one process speaks)
    with state.main_process_first():
        if state.is_main_process:
            open_output(recipe, output, resume)
    source = beginning(recipe, output, state)
    for stage in recipe.stages:
        model = output / stage.name / 'model'
        if model.is_dir():
            say(f'{stage.name}: done before, {model}')
        else:
            learn(recipe, stage, source, output / stage.name, say)
        source = model
    return source


def open_output(recipe: Recipe, output: Path, resume: bool) -> None:
    """Begin a folder for a run, or see that the one to go on with is of the same recipe."""
    path, content = output / RECIPE, json.loads(json.dumps(as_dict(recipe)))
    if not path.is_file():
        if output.exists() and any(output.iterdir()):
            raise SettingsError(f'{output} holds something else: choose another --output')
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=2) + '\n')
    elif not resume:
        raise SettingsError(f'{output} holds a run: go on with --resume, or choose another')
    elif json.loads(path.read_text(encoding='utf-8')) != content:
        raise SettingsError(f'{output} was begun with another recipe: see {path}')


def beginning(recipe: Recipe, output: Path, state: PartialState) -> Path:
    """The checkpoint folder that the first stage begins with."""
    source = EMBEDDED if recipe.model.source is None else resolve(recipe.model.source)
    if recipe.model.fresh is None:
        return source
    folder = output / 'fresh'
    with state.main_process_first():
        if not folder.is_dir():
            write_fresh(folder, source, recipe.model.fresh)
    return folder


def learn(
    recipe: Recipe, stage: Stage, source: Path, folder: Path, say: Callable[[str], None]
) -> None:
    """Carry out one stage in `folder`; its model is in `folder/model` when it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = composer(recipe, source)
    course, problems = gather(recipe, stage, maker)
    args = arguments(stage, course, folder, recipe.seed)
    checkpoint = checkpoints.newest(folder)
    begun = checkpoints.step_of(checkpoint) if checkpoint else 0
    trainee = build(recipe, stage, source)
    trainer = ChunkTrainer(trainee, course, Collator(maker.blank()), stage, args, begun)
    if problems and trainer.is_world_process_zero():
        write_whole(folder / BAD_ROWS, ''.join(f'{line}\n' for line in problems))
        say(f'{stage.name}: {len(problems)} rows cannot be used, the first: {problems[0]}')
    say(f'{stage.name}: {len(course)} samples in {course.steps} steps, from step {begun}')
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    weights = whole_weights(trainee)
    if trainer.is_world_process_zero():
        write_model(folder / 'model', source, weights, card(recipe, stage, source, trainer))
        say(f'{stage.name}: {folder / "model"}')
    trainer.accelerator.wait_for_everyone()


def composer(recipe: Recipe, source: Path) -> Composer:
    """What makes samples for the model in the folder `source`."""
    tokenizer = ChatTokenizer(source)
    return Composer(tokenizer, read_config(source), recipe.stream, recipe.video_tokens)


def gather(recipe: Recipe, stage: Stage, maker: Composer) -> tuple[Course, list[str]]:
    """The course of a stage, and a line for each row that cannot be used.

    Raises SettingsError where none can.
    """
    sources = [open_data(data, maker) for data in stage.data]
    problems = [p for s in sources if isinstance(s, VideoSource) for p in s.problems]
    if not any(map(len, sources)):
        first = f', the first: {problems[0]}' if problems else ''
        raise SettingsError(f'stage {stage.name} has not one row to learn from{first}')
    return Course(sources, stage.epochs, stage.batch, recipe.seed), list(dict.fromkeys(problems))


def open_data(data: Data, maker: Composer) -> Source:
    """A source of samples."""
    if data.stories is not None:
        return StorySource(data.stories, maker)
    if data.recitals is not None:
        return RecitalSource(data.recitals, maker)
    assert data.annotations is not None
    return VideoSource(data.annotations, maker)


def build(recipe: Recipe, stage: Stage, source: Path) -> Trainee:
    """The model of a stage, on the CPU; the trainer moves it."""
    half = recipe.model.adapter is not None and stage.bf16  # frozen weights need no more
    model = load(source, 'cpu', 'bfloat16' if half else 'float32')
    frozen = recipe.model.freeze_vision or recipe.model.adapter is not None
    trainee = Trainee(model, freeze_vision=frozen, checkpointing=stage.checkpointing)
    if recipe.model.adapter is not None:
        adapters.add(trainee.language, recipe.model.adapter, recipe.seed)
    return trainee


def whole_weights(trainee: Trainee) -> dict[str, Tensor]:
    """All weights by published name, adapters merged, parts of other processes gathered."""
    adapters.merge(trainee.language)
    return {
        name: weight.full_tensor() if isinstance(weight, DTensor) else weight
        for name, weight in weights_of(trainee.language, trainee.vision).items()
    }


def card(recipe: Recipe, stage: Stage, source: Path, trainer: ChunkTrainer) -> dict[str, Any]:
    """What a trained model says of itself: `svlm.json`."""
    return {
        'name': recipe.name,
        'trained': True,
        'limits': recipe.limits,
        'seed': recipe.seed,
        'parameters': parameters(source),
        'stream': differences(recipe.stream),
        'stage': stage.name,
        'steps': trainer.state.global_step,
        'loss': next((e['loss'] for e in trainer.state.log_history[::-1] if 'loss' in e), None),
        'recipe': as_dict(recipe),
    }
