# SPDX-License-Identifier: Apache-2.0
"""The laboratory: models that differ in one thing of their training, to be compared.

All variants branch from one trunk and take the same steps of the same stages, an annealing stage
at the end included; only their data differ. Each is trained with several seeds, which decide on
worlds and order. What is finished is never trained again, what was stopped goes on.

    OUTPUT/trunk                             a copy of what they branch from
    OUTPUT/VARIANT/SEED/STAGE/model          what came out
    OUTPUT/lab.json                          how many seeds, and what the trunk knows
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from filecmp import cmp
from pathlib import Path
from typing import Any

from svlm_core import workers
from svlm_core.card import FILE, suited
from svlm_core.errors import CheckpointError, SettingsError, SvlmError
from svlm_core.model.config import read_json
from svlm_core.timeline import write_whole
from svlm_core.training.checkpoints import sync, writing
from svlm_core.training.recipe import Data, Learner, Recipe, Stage

TRUNK, BASE = 'trunk', 'overlapped'
NOISE, EARLY, ASKED = 0.4, 0.5, 0.25  # shares of seconds, of chunks, and of chunks
APART = 100_000  # worlds that one seed has to itself

# What is changed in the data of the first stage, and in that of the last one.
VARIANTS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    BASE: ({}, {}),
    'not-overlapped': ({'overlap': 0}, {'overlap': 0}),
    'no-previous-text': ({'history': False}, {'history': False}),
    'noisy': ({'noise': NOISE}, {'noise': NOISE}),
    'early-eviction': ({'early_eviction': EARLY}, {'early_eviction': EARLY}),
    'with-questions': ({'questions': ASKED}, {'questions': ASKED}),
    'annealed': ({'noise': NOISE}, {}),  # well after `noisy`, whose first stage it takes over
}


@dataclass(frozen=True)
class Lab:
    """What is, or will be, in the folder of a laboratory.

    `stage` is the last one of each variant; `clip` has the seconds of the chunks on which the
    trunk was taught to answer questions, None where it was taught none.
    """

    seeds: int
    stage: str
    clip: int | None

    def models(self, folder: Path, variant: str) -> list[Path]:
        """Where the models of a variant are once they are finished, seed by seed."""
        if variant == TRUNK:
            return [folder / TRUNK]
        return [folder / variant / str(n) / self.stage / 'model' for n in range(self.seeds)]

    def missing(self, folder: Path) -> list[str]:
        """Variants of which a seed is not finished."""
        return [
            variant
            for variant in VARIANTS
            if not all(model.is_dir() for model in self.models(folder, variant))
        ]


def read_lab(folder: Path) -> Lab | None:
    """What the folder of a laboratory holds; None where there is none.

    Raises SettingsError for a file that is no account of one.
    """
    path = folder / 'lab.json'
    try:
        return Lab(**json.loads(path.read_text(encoding='utf-8')))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f'{path} cannot be read: {error}') from error


def open_lab(folder: Path, trunk: Path, base: Recipe, seeds: int) -> Lab:
    """Begin a laboratory with a copy of the trunk, or go on with the one that is there.

    Raises SettingsError where `folder` has another trunk, CheckpointError for one that is none.
    """
    copy, weights = folder / TRUNK, sorted(trunk.glob('*.safetensors'))
    if not weights:
        raise CheckpointError(f'{trunk} holds no weights: give the folder of a checkpoint')
    if not copy.is_dir():
        _copy(trunk, copy)
    elif not all((copy / f.name).is_file() and cmp(f, copy / f.name, False) for f in weights):
        raise SettingsError(f'{folder} was begun with another trunk: choose another --output')
    card = read_json(copy / FILE) if (copy / FILE).is_file() else {}
    lab = Lab(seeds, base.stages[-1].name, _clip(card))
    write_whole(folder / 'lab.json', json.dumps(asdict(lab), indent=2) + '\n')
    return lab


def recipes(base: Recipe, folder: Path, seeds: int, steps: int | None) -> dict[Path, Recipe]:
    """The recipe of every variant and seed, by its folder; the base is always among them.

    `steps` are those of all stages together, None: as the base has it. Raises SettingsError for a
    base that cannot be varied.
    """
    if len(base.stages) != 2:
        raise SettingsError('the recipe of the laboratory has a stage, and one to anneal')
    total = sum(_steps(stage) for stage in base.stages)
    scale = 1.0 if steps is None else steps / total
    trunk = folder / TRUNK
    return {
        folder / variant / str(seed): replace(
            base,
            name=f'{base.name} {variant} {seed}',
            seed=seed,
            model=Learner(source=str(trunk)),
            stream=suited('robot', trunk),
            stages=tuple(
                _varied(stage, change, seed, scale)
                for stage, change in zip(base.stages, changes, strict=True)
            ),
        )
        for seed in range(seeds)
        for variant, changes in VARIANTS.items()
    }


def train_all(
    planned: Mapping[Path, Recipe], processes: int, done: Callable[[Path], None]
) -> None:
    """Carry out recipes, each in its folder and a process of its own, on one core.

    `done` is told what is finished; that which was before is at once. What a process says goes to
    a file beside its folder. Raises the first error of any, after which no other is begun.
    """
    from svlm_core.training.run import open_output

    left = {}
    for folder, recipe in planned.items():
        if _finished(folder, recipe):
            open_output(recipe, folder, resume=True)  # raises where it is of another recipe
            done(folder)
        else:
            left[folder] = recipe
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['svlm_core.training.run'])  # imported once for all
    with ProcessPoolExecutor(processes, context, workers.begin, max_tasks_per_child=1) as pool:
        begun = {
            pool.submit(_train, recipe, folder, _twins(planned, folder)): folder
            for folder, recipe in left.items()
        }
        try:
            for future in as_completed(begun):
                future.result()
                done(begun[future])
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise SvlmError(
                    'a process of the laboratory was killed, perhaps for want of memory: the same '
                    'command goes on from where it was'
                ) from error
            raise


def _twins(planned: Mapping[Path, Recipe], folder: Path) -> list[Path]:
    """Where the first stage is just the same, seed included."""
    of = planned[folder]
    return [
        other
        for other, its in planned.items()
        if other != folder and (its.seed, its.stages[0]) == (of.seed, of.stages[0])
    ]


def _take_over(stage: str, twins: Iterable[Path], folder: Path) -> None:
    """Copy what a stage came to elsewhere, if it is finished there and not begun here."""
    ready = (twin / stage / 'model' for twin in twins if (twin / stage / 'model').is_dir())
    source = next(ready, None)
    if source is not None and not (folder / stage).exists():
        _copy(source, folder / stage / 'model')


def _copy(source: Path, target: Path) -> None:
    """Copy a checkpoint, whole or not at all. Raises OutputError."""
    part = target.with_name(f'.{target.name}.part')
    with writing(target):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        for path in (*part.iterdir(), part):
            sync(path)
        part.replace(target)


def _train(recipe: Recipe, folder: Path, twins: Sequence[Path]) -> None:
    """Train in a process of its own."""
    from svlm_core.training.run import open_output, train

    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_name(f'{folder.name}.log').open('a', encoding='utf-8') as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        open_output(recipe, folder, resume=True)
        _take_over(recipe.stages[0].name, twins, folder)
        train(recipe, folder, resume=True)


def _finished(folder: Path, recipe: Recipe) -> bool:
    return (folder / recipe.stages[-1].name / 'model').is_dir()


def _varied(stage: Stage, change: Mapping[str, Any], seed: int, scale: float) -> Stage:
    """A stage whose data are changed, of another seed and length."""
    [data] = stage.data
    if data.stories is None:
        raise SettingsError(f'stage {stage.name} of the laboratory needs stories')
    samples = max(1, round(_steps(stage) * scale)) * stage.batch
    first = data.stories.seed + seed * APART
    return replace(
        stage, data=(Data(replace(data.stories, samples=samples, seed=first, **change)),)
    )


def _steps(stage: Stage) -> int:
    """Steps of a stage whose data are stories."""
    stories = [data.stories for data in stage.data]
    return sum(told.samples for told in stories if told) * stage.epochs // stage.batch


def _clip(card: Mapping[str, Any]) -> int | None:
    """Seconds of the longest chunks with questions that a model was trained on, by its card."""
    stages = card.get('recipe', {}).get('stages', [])
    names = [stage['name'] for stage in stages]
    learnt = stages[: names.index(card['stage']) + 1] if card.get('stage') in names else []
    stories = [data['stories'] or {} for stage in learnt for data in stage['data']]
    return max((told['window'] for told in stories if told.get('questions')), default=None)
