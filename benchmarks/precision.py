# SPDX-License-Identifier: Apache-2.0
"""What a round costs on a CPU in float32, in bfloat16, and with weights of 8 bits beside.

All see the same frames in turns and say 10 tokens, the window full. Prints one JSON line for each
size and way: medians of the processor's milliseconds, of one thread, for a whole round. Run it as
`python benchmarks/precision.py`.
"""

from __future__ import annotations

import json
import time
from statistics import median

import torch

from svlm_core.benchmark.models import Size, random_engine
from svlm_core.benchmark.run import Arm, Course, films, settings_of

WAYS: dict[str, tuple[str, int | None]] = {
    'float32': ('float32', None),
    'bfloat16': ('bfloat16', None),
    'int8 in bfloat16': ('bfloat16', 8),
}
ROUNDS, TOKENS = 20, 10


def compare(size: Size) -> None:
    """Step one stream for each way, in turns."""
    course, streams, shown = Course(60, 180, 40), {}, {}
    for name, (dtype, bits) in WAYS.items():
        engine = random_engine(size, 'cpu', dtype, bits=bits)
        settings = settings_of(engine, Arm('streaming', TOKENS), course)
        streams[name], shown[name] = engine.open(settings, endless=True), films(engine, course)
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for second in range(course.warm_up + ROUNDS):
        for name, stream in streams.items():
            began = time.process_time()
            stream.step(shown[name][second % len(shown[name])], float(second))
            if second >= course.warm_up:
                spent[name].append(1000 * (time.process_time() - began))
    for name, times in spent.items():
        print(
            json.dumps({'size': size, 'way': name, 'round': round(median(times), 1)}), flush=True
        )


def main() -> None:
    """Compare on two sizes."""
    torch.set_num_threads(1)
    compare('tiny')
    compare('mid')


if __name__ == '__main__':
    main()
