# SPDX-License-Identifier: Apache-2.0
"""How fast is the synthetic world made, and what does it demand?

Paints seconds of stream on one core, in batches, and reads far seconds of fresh worlds. Prints one
JSON line: rounds per second, what happens how often, tokens of captions, and how far guessing gets
with each skill. Run it as `python benchmarks/world.py`.
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass
from statistics import mean, median

import tyro

from svlm_core.synthetic import Story, seed_to_test, seed_to_train
from svlm_core.synthetic.guessing import best_guesses
from svlm_core.synthetic.script import Second, second
from svlm_core.synthetic.tokenizer import build_tokenizer

BATCH = 24  # seconds of stream that are timed together, as many as a chunk has


@dataclass(frozen=True)
class World:
    """Measure the synthetic world."""

    batches: int = 40
    """batches of 24 seconds to paint"""
    size: int = 112
    """pixels, height and width of a frame"""
    worlds: int = 30
    """worlds of half an hour whose captions are counted"""

    def run(self) -> dict[str, object]:
        """Paint, count, and return the figures."""
        tokenizer = build_tokenizer()
        shown = [second(seed_to_test(n), i) for n in range(self.worlds) for i in range(1800)]
        spoken = [now for now in shown if now.caption]
        sizes = [len(tokenizer.encode(f' {now.caption}').ids) for now in spoken]
        guesses = best_guesses(
            map(seed_to_train, range(2 * self.worlds)), map(seed_to_test, range(self.worlds)), 900
        )
        return {
            'benchmark': 'world',
            'device': f'one core, {platform.machine()}',
            'frame': f'{self.size}x{self.size}',
            'rounds_per_second': round(self.painted()),
            'fresh_world_at_one_hour_ms': round(1e3 * median(map(far, range(20))), 2),
            'skills_per_minute': per_minute(shown),
            'caption_tokens': {'mean': round(mean(sizes), 2), 'most': max(sizes)},
            'caption_tokens_per_second': round(sum(sizes) / len(shown), 2),
            'best_guess': {
                skill: [round(right, 3), f'knowing {way}']
                for skill, (way, right) in guesses.items()
            },
        }

    def painted(self) -> float:
        """Seconds of stream painted in a second, by the median batch."""
        story = Story(seed_to_test(0), self.size, self.size)
        times = []
        for batch in range(1 + self.batches):
            started = time.perf_counter()
            for index in range(batch * BATCH, (batch + 1) * BATCH):
                story.frames(index)
            times.append(time.perf_counter() - started)
        return BATCH / median(times[1:])


def far(number: int) -> float:
    """Seconds until the caption of a second in the second hour of a fresh world is known."""
    started = time.perf_counter()
    second(seed_to_train(10**6 + number), 3600)
    return time.perf_counter() - started


def per_minute(seconds: list[Second]) -> dict[str, float]:
    """How often each skill is asked for in a minute."""
    counts = Counter(now.skill for now in seconds)
    return {skill: round(60 * count / len(seconds), 2) for skill, count in counts.items()}


if __name__ == '__main__':
    print(json.dumps(tyro.cli(World, description=__doc__).run()))
