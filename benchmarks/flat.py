# SPDX-License-Identifier: Apache-2.0
"""Does a round cost the same at hour one as at minute one?

Ages one stream by an hour of rounds and another by a minute, both with a full memory, then
alternates them round by round, so that whatever else the machine does weighs on both alike.
Prints one JSON line: the medians and their ratio, whether a buffer ever moved, and how the
resident memory of the process went. Run it as `python benchmarks/flat.py`.
"""

from __future__ import annotations

import gc
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import tyro

from svlm_core import StreamingVLM, preset
from svlm_core.stream import Stream
from svlm_core.synthetic import Story
from svlm_core.timeline import percentile

WARM_UP = 20  # alternated rounds left out: caches and clocks settle


@dataclass(frozen=True)
class Flat:
    """Compare the cost of a round on an old and on a young stream."""

    old: int = 3600
    """Rounds that the old stream has seen."""
    young: int = 60
    """Rounds that the young stream has seen."""
    rounds: int = 300
    """Alternated rounds to time, of each."""
    model: Path | None = None
    """Checkpoint folder; default: the embedded model."""
    threads: int = 1
    """Threads of torch; one is the least disturbed on a shared machine."""

    def run(self) -> dict[str, object]:
        """Age both streams, time them in turn, and return the figures."""
        torch.set_num_threads(self.threads)
        engine = StreamingVLM.from_pretrained(self.model)
        # Both memories are full from the start, so that age is the only difference between them.
        settings = preset('robot', previous_text='the red ball moves left and right ' * 400)
        old, young = engine.open(settings), engine.open(settings)
        story, addresses = Story(), plane_addresses(old)
        resident = age(old, story, self.old)
        age(young, story, self.young)
        times: dict[str, list[float]] = {'old': [], 'young': []}
        for number in range(WARM_UP + self.rounds):
            order = [('old', old, self.old), ('young', young, self.young)]
            for name, stream, start in order if number % 2 else reversed(order):
                times[name].append(timed(stream, story, start + number))
        ratio = median(times['old'][WARM_UP:]) / median(times['young'][WARM_UP:])
        return {
            'benchmark': 'flat',
            'model': engine.info.model,
            'device': f'{engine.info.device}, {self.threads} threads, {platform.machine()}',
            'rounds': {'old': self.old, 'young': self.young, 'timed': self.rounds},
            'held': {'old': old.held, 'young': young.held, 'capacity': old.capacity},
            'median_ms': {name: 1e3 * median(t[WARM_UP:]) for name, t in times.items()},
            'p90_ms': {n: 1e3 * percentile(t[WARM_UP:], 0.9) for n, t in times.items()},
            'ratio': ratio,
            'buffers_moved': plane_addresses(old) != addresses,
            'resident_mib': {'after_60_rounds': resident[0], 'at_the_end': resident[-1]},
            'resident_growth_mib': max(resident) - resident[0],
        }


def age(stream: Stream, story: Story, rounds: int) -> list[float]:
    """Run a stream for `rounds`; the process's resident MiB after every 60 of them."""
    resident = []
    for number in range(rounds):
        timed(stream, story, number)
        if number % 60 == 59:
            gc.collect()
            resident.append(resident_mib())
    return resident


def timed(stream: Stream, story: Story, second: int) -> float:
    """Seconds that one round takes, frames apart."""
    frames = story.frames(second)
    started = time.perf_counter()
    stream.step(frames, float(second))
    return time.perf_counter() - started


def plane_addresses(stream: Stream) -> list[int]:
    """Where the buffers of a stream's memory lie."""
    return [plane.data_ptr() for plane in stream.planes]


def resident_mib() -> float:
    """Resident memory of this process, in MiB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == '__main__':
    print(json.dumps(tyro.cli(Flat, description=__doc__).run()))
