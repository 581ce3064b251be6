# SPDX-License-Identifier: Apache-2.0
"""Measure a trained svlm-tiny on worlds it has never seen, and make it the embedded model.

    python training/ship.py runs/svlm-tiny --seed 2026

Writes the checkpoint, its card with the figures that were measured, and the recipe into
svlm_core/assets/svlm-tiny. The seed names the worlds; choose it after the model was made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from svlm_core.card import EMBEDDED
from svlm_core.evaluation.bootstrap import interval, mean
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.measures import Consistent, Measure, Right, Silence, Span
from svlm_core.evaluation.plan import Size, gathered, papers
from svlm_core.evaluation.sitting import sit_all
from svlm_core.synthetic.script import SKILLS
from svlm_core.timeline import write_whole

FIRST, LATE = Span(0, 24), Span(600, 1800)  # seconds
GOLD: dict[str, tuple[Measure, float]] = {
    'all, first 24 s': (Right(span=FIRST), 0.95),
    **{
        f'{skill}, minutes 10 to 30': (Right((skill,), LATE), 0.9)
        for skill in SKILLS
        if skill != 'code'  # codes are told in the first seconds alone
    },
    'silence precision': (Silence(recall=False), 0.97),
    'silence recall': (Silence(recall=True), 0.97),
}
FREE: dict[str, tuple[Measure, float]] = {
    'facts, minute 30': (Right(('recall',), Span(1740, 1800)), 0.9),
    'facts, minutes 10 to 30': (Right(('recall',), LATE), 0.9),
    'counts one more than its own last': (Consistent(LATE), 0.95),
    'counts true': (Right(('count',), LATE), 0.0),
    'all, minutes 10 to 30': (Right(span=LATE), 0.0),
    'silence precision': (Silence(recall=False), 0.97),
    'silence recall': (Silence(recall=True), 0.97),
}
COPIED = ('config.json', 'model.safetensors')  # of the run; all else is there already

README = """---
license: apache-2.0
library_name: svlm
---
# svlm-tiny

The model that svlm shows itself with: a Qwen2.5-VL of {parameters:,} parameters, trained from
nothing on the synthetic world of `svlm_core/synthetic`, on two CPU cores.

**It knows that world alone.** It reads a screen with digits, a lamp, shapes on a floor and robots
that pass. What it says of any other picture means nothing; it was never shown one.

| | |
|---|---|
| architecture | Qwen2.5-VL: text 4 x 128, 4 heads over 2; vision 2 x 64 |
| frames | 112x112, patch 28, merge 2: 4 vision tokens for the two frames of a second |
| data | worlds of odd seeds, chunks of W = 24 s that overlap by O = 12 s; see the recipe |
| recipe | `training/tiny.yaml`, seed {seed}: `make train-tiny` |
| last stage | {stage}: {steps} steps, loss {loss:.3f}; `benchmarks/data_path.py` times a step |
| settings | those it was trained with, in `svlm.json`; preset `robot` takes them over |
| licence | Apache-2.0, weights and data |

## Accuracy

On {streams} worlds of even seeds from {first}, {minutes:g} minutes each, which no training has
seen. Means over worlds with 95 % bootstrap intervals, measured by `training/ship.py`. Rows below
what is wanted are skills that it lacks.

With gold history (each reply is replaced by the true one before the stream goes on):

{gold}

Running free (it lives with what it said):

{free}

A count that is wrong once stays wrong: each is one more than the last, and the truth is never
shown in between. So `counts true` falls with time, and what can be asked of a model is that each
number follows from its own last one.
"""


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('run', type=Path, help='folder of the finished training')
    parser.add_argument('--seed', type=int, required=True, help='which worlds to measure on')
    parser.add_argument('--streams', type=int, default=Size.streams)
    parser.add_argument('--minutes', type=float, default=Size.minutes)
    parser.add_argument('--output', type=Path, default=EMBEDDED)
    given = parser.parse_args()
    model = given.run / 'sft' / 'model'
    size = Size(given.streams, given.minutes)
    planned = papers([('robot', False), ('robot', True)], model, given.seed, size)
    every = [paper for of in planned.values() for paper in of]
    marks = sit_all(every, os.cpu_count() or 1, lambda done: print(f'{done} of {len(every)}'))
    gold, free = gathered(planned, marks).values()
    card = json.loads((model / 'svlm.json').read_text())
    text = README.format(
        parameters=card['parameters'],
        stage=card['stage'],
        steps=card['steps'],
        loss=card['loss'],
        seed=card['seed'],
        streams=size.streams,
        minutes=size.minutes,
        first=every[0].seed,
        gold=table(gold, GOLD, given.seed),
        free=table(free, FREE, given.seed),
    )
    given.output.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(model / name, given.output / name)
    write_whole(given.output / 'svlm.json', json.dumps(card, indent=2) + '\n')
    write_whole(given.output / 'README.md', text)
    print(text)


def table(
    streams: Sequence[Sequence[Mark]], wanted: dict[str, tuple[Measure, float]], seed: int
) -> str:
    """A row for each measure, with what it ought to be at least."""
    rows = ['| measured | share | 95 % interval | wanted |', '|---|---|---|---|']
    for name, (measure, least) in wanted.items():
        values = [measure(marks) for marks in streams]
        low, high = interval(values, seed)
        goal = f'{least:.2f}' if least else ''
        rows.append(f'| {name} | {mean(values):.3f} | {low:.3f} to {high:.3f} | {goal} |')
    return '\n'.join(rows)


if __name__ == '__main__':
    main()
