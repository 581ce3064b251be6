# SPDX-License-Identifier: Apache-2.0
"""What a round costs outside of the two models: plan, gather, rotate, draw, text.

Both models' forwards are replaced by nothing, and the processor's time is counted instead of the
clock's, so that it can be compared on a busy machine. Prints one JSON line: medians in
milliseconds of a round and of its stages, `--random mid` of `svlm bench` with 10 tokens and the
window full. Run it as `python benchmarks/outside.py`, or under `python -m cProfile -s cumtime`.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from svlm_core import stopwatch
from svlm_core.benchmark.models import random_engine
from svlm_core.benchmark.run import Arm, Course, films, settings_of
from svlm_core.model.language import LanguageModel
from svlm_core.model.vision import VisionTower
from svlm_core.rope import Grid

ROUNDS = 30  # that are timed
TOKENS = 10


def read_nothing(model: LanguageModel, x: Tensor, *given: Any) -> Tensor:
    """The last of the states that came in."""
    return x[-1:]


def see_nothing(tower: VisionTower, patches: Tensor, grid: Grid) -> Tensor:
    """Vision tokens that are zero."""
    count = len(patches) // tower.config.merge_size**2
    return torch.zeros(count, tower.config.out_hidden_size)


def main() -> None:
    """Watch until the window is full, then time."""
    torch.set_num_threads(1)
    LanguageModel.forward = read_nothing  # type: ignore[assignment]
    VisionTower.forward = see_nothing  # type: ignore[assignment]
    stopwatch.time.perf_counter = time.process_time  # type: ignore[attr-defined]
    engine = random_engine('mid', 'cpu')
    course = Course(60, 180, 40)
    stream = engine.open(settings_of(engine, Arm('streaming', TOKENS), course), endless=True)
    shown, rounds, stages = films(engine, course), [], []
    for second in range(course.warm_up + ROUNDS):
        began = time.process_time()
        caption = stream.step(shown[second % len(shown)], float(second))
        if second >= course.warm_up:
            rounds.append(time.process_time() - began)
            stages.append(caption.seconds)
    told = {name: round(1000 * median(s[name] for s in stages), 2) for name in stages[0]}
    print(json.dumps({'round': round(1000 * median(rounds), 2), 'tokens': stream.encoded, **told}))


if __name__ == '__main__':
    main()
