# SPDX-License-Identifier: Apache-2.0
"""Does training wait for its data?

Times the steps of a recipe's first stage on one batch that is ready, then with the data loader
that training uses, and how long each of those waits for its batch; then what a batch costs to
prepare. Seconds of processor are told beside those of the clock, which other users of a machine
lengthen. Prints one JSON line of medians. Run it as `python benchmarks/data_path.py`, or with
`--video` on 24-second rows of a 720p video under the published budget of 24,576 vision tokens.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
import tyro
from torch.utils.data import DataLoader, SequentialSampler

from svlm_core.card import EMBEDDED
from svlm_core.config import preset
from svlm_core.model.config import read_config
from svlm_core.prompt import ChatTokenizer
from svlm_core.synthetic import Story
from svlm_core.training.course import Course
from svlm_core.training.folders import write_fresh
from svlm_core.training.pack import Collator
from svlm_core.training.recipe import Annotations, Fresh, read_recipe
from svlm_core.training.rows import cut, write_rows
from svlm_core.training.run import build, composer, gather
from svlm_core.training.samples import Composer
from svlm_core.training.videos import VideoSource

TINY = Path(__file__).resolve().parents[1] / 'training' / 'tiny.yaml'
WARM_UP = 3  # steps left out


@dataclass(frozen=True)
class DataPath:
    """Compare the time of a step with the time that it waits for its batch."""

    recipe: Path = TINY
    """Recipe whose first stage is timed."""
    steps: int = 20
    """Steps to time, of each kind."""
    workers: int | None = None
    """Processes that prepare data; default: the recipe's."""
    video: bool = False
    """Time the loader alone, on rows of a 720p video that is made for it."""

    def run(self) -> dict[str, object]:
        """Time it and return the figures."""
        with TemporaryDirectory() as folder:
            found = self._video(Path(folder)) if self.video else self._recipe(Path(folder))
        return {**found, 'cpus': torch.get_num_threads(), 'torch': torch.__version__,
                'processor': platform.processor() or platform.machine()}  # fmt: skip

    def _recipe(self, folder: Path) -> dict[str, object]:
        recipe = read_recipe(self.recipe)
        stage = recipe.stages[0]
        source = write_fresh(folder / 'fresh', EMBEDDED, recipe.model.fresh or Fresh())
        maker = composer(recipe, source)
        course, _ = gather(recipe, stage, maker)
        workers = stage.workers if self.workers is None else self.workers
        trainee = build(recipe, stage, source)
        optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-4, fused=True)

        def step(batch: dict[str, Any]) -> None:
            loss, _ = trainee(batch['pack'], batch['labels'])
            (loss / len(batch['labels'])).backward()
            optimizer.step()
            optimizer.zero_grad()

        batches = load(course, maker, stage.pack, workers)
        ready = next(batches)
        alone = [timed(lambda: step(ready)) for _ in range(self.steps)]
        waits, together, tokens = [], [], []
        for _ in range(self.steps):
            began = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - began)
            step(batch)
            together.append(time.perf_counter() - began)
            tokens.append(sum(batch['pack'].lengths))
        here = load(course, maker, stage.pack, 0)
        only = [timed(lambda: next(here)) for _ in range(self.steps)]
        return {
            'samples_per_step': stage.pack,
            'tokens_per_step': round(median(tokens)),
            'workers': workers,
            **medians('step', alone),
            **medians('batch', only),
            'step_with_loader_s': round(median(together[WARM_UP:]), 3),
            'waiting_s': round(median(waits[WARM_UP:]), 4),
        }

    def _video(self, folder: Path) -> dict[str, object]:
        film = film_720p(folder / 'world.mp4', seconds=36)
        write_rows(folder / 'rows.jsonl', cut(film.name, range(36), {0: 'It begins.'}))
        maker = Composer(ChatTokenizer(EMBEDDED), published(), preset('robot'), 24576)
        rows = VideoSource(Annotations(str(folder / 'rows.jsonl')), maker)
        workers = 1 if self.workers is None else self.workers
        course = Course([rows], epochs=self.steps + 1, batch=1, seed=0)
        batches = load(course, maker, 1, workers)
        tokens = sum(next(batches)['pack'].lengths)
        each = [timed(lambda: next(batches))[0] for _ in range(self.steps)]
        here = load(course, maker, 1, 0)
        only = [timed(lambda: next(here)) for _ in range(self.steps)]
        return {
            'video': '1280x720, 24 fps, H.264',
            'tokens_per_sample': tokens,
            'workers': workers,
            **medians('sample', only),
            'samples_per_second': round(1 / mean(each[WARM_UP:]), 2),
        }


def load(course: Course, maker: Composer, pack: int, workers: int) -> Iterator[dict[str, Any]]:
    """The batches of a course, as training loads them."""
    return iter(
        DataLoader(
            course,  # type: ignore[arg-type]
            batch_size=pack,
            sampler=SequentialSampler(course),
            num_workers=workers,
            collate_fn=Collator(maker.blank()),
        )
    )


def timed(work: Any) -> tuple[float, float]:
    """Seconds that `work` takes: of the clock, and of this process's processors."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def medians(name: str, times: list[tuple[float, float]]) -> dict[str, float]:
    """The medians of times that were taken, without the warm-up."""
    clock, processor = (median(column) for column in zip(*times[WARM_UP:], strict=True))
    return {f'{name}_s': round(clock, 3), f'{name}_cpu_s': round(processor, 3)}


def published() -> Any:
    """A configuration with the patches of the published models."""
    config = read_config(EMBEDDED)
    vision = {**vars(config.vision), 'patch_size': 14}
    return type(config)(**{**vars(config), 'vision': type(config.vision)(**vision)})


def film_720p(path: Path, seconds: int, fps: int = 24) -> Path:
    """A video of the synthetic world with fresh noise in every frame."""
    story, draws = Story(1, 720, 1280), np.random.default_rng(0)
    grain = draws.integers(0, 9, (720, 1280, 3), np.uint8)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'preset': 'veryfast'})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, 'yuv420p'
        for second in range(seconds):
            picture = np.minimum(story.frame(second), 246)
            for shift in draws.integers(0, 720, fps):
                shown = picture + np.roll(grain, shift, axis=0)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, 'rgb24')))
        container.mux(stream.encode())
    return path


if __name__ == '__main__':
    print(json.dumps(tyro.cli(DataPath).run()))
