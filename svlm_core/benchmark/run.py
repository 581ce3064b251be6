# SPDX-License-Identifier: Apache-2.0
"""Watching the same frames under each policy, with replies of a fixed length.

A model that says less looks faster, so replies never end by themselves. The frames are noise of
exactly the size that the model sees, the same for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

import numpy as np

from svlm_core.benchmark.energy import Reading, counting, energy_source
from svlm_core.benchmark.machine import (
    allocations,
    forget_memory,
    memory_peak,
    memory_reserved,
    memory_used,
    settle,
)
from svlm_core.benchmark.sensors import State, state
from svlm_core.capacity import whole_stream
from svlm_core.config import Policy, StreamSettings, preset
from svlm_core.engine import StreamingVLM
from svlm_core.errors import DeviceFull, MemoryFull, SettingsError
from svlm_core.prompt import Prompt
from svlm_core.rope import Grid
from svlm_core.stream import Stream
from svlm_core.transcript import Role

GRIDS = {720: (20, 36), 384: (16, 24), 180: (10, 18)}  # vision tokens: rows, columns
FILMS = 8  # different rounds of frames, shown in turn
SETTLING = 4  # rounds after the window is full that are not timed yet

# The columns of the paper's figure 1.
COLUMNS: dict[str, str] = {
    'full_attention': '(a) full attention',
    'window': '(b) window',
    'recompute': '(c) recompute',
    'streaming': '(d) streaming',
}


@dataclass(frozen=True)
class Arm:
    """One line of the figure: a policy, and the tokens that it says in each second."""

    policy: Policy
    tokens: int

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return f'{COLUMNS[self.policy]}, {self.tokens} tokens'


@dataclass(frozen=True)
class Course:
    """What all arms see: seconds of stream, vision tokens of each, the policy's clock."""

    seconds: int
    vision_tokens: int
    reset_every: int

    def __post_init__(self) -> None:
        if self.vision_tokens not in GRIDS:
            raise SettingsError(f'vision tokens per second must be one of {list(GRIDS)}')
        if self.seconds < self.warm_up + 8:
            raise SettingsError(
                f'the window is full after {self.warm_up} seconds: give at least '
                f'{self.warm_up + 8}'
            )

    @property
    def warm_up(self) -> int:
        """Rounds before anything counts: the vision window fills, and what is lazy is made."""
        window = preset('robot').vision_window
        assert window is not None
        return ceil(window) + SETTLING


@dataclass(frozen=True)
class Chunk:
    """One second of stream. Times in seconds, `chunk` of all; `gaps` are from each token to the
    next. `new` tokens were read in, after which `keys` were in memory. `joules` have been used
    since the counter began; None: no counter.
    """

    second: int
    chunk: float
    gaps: tuple[float, ...]
    stages: dict[str, float]
    tokens: int
    new: int
    keys: int
    grids: int  # pairs of frames that were encoded
    used: int  # bytes of memory at its end
    allocations: int | None  # how often the GPU was asked for memory so far
    joules: float | None

    @property
    def token(self) -> float:
        """Seconds of a token: the mean of the gaps."""
        return sum(self.gaps) / len(self.gaps)


@dataclass(frozen=True)
class Lap:
    """An arm's seconds, as far as it came; `problem` says what ended it early.

    `peak` is the most memory in bytes, weights included: of tensors on a GPU, and resident at the
    end of a second on a CPU. `reserved` is what torch kept of a GPU, `after` has clocks and
    temperature, both as they were at the end.
    """

    arm: Arm
    chunks: tuple[Chunk, ...]
    memory_bytes: int
    grid: Grid  # of the patches of a pair of frames
    peak: int
    reserved: int | None
    after: State
    problem: str = ''


def run_arm(
    engine: StreamingVLM, arm: Arm, course: Course, done: Callable[[int], None] = lambda n: None
) -> Lap:
    """Watch a course; `done` is told of each second."""
    vision = engine.model.config.vision
    rows, columns = GRIDS[course.vision_tokens]
    grid = (1, rows * vision.merge_size, columns * vision.merge_size)
    device = engine.model.device
    forget_memory(device)
    chunks: list[Chunk] = []
    stream: Stream | None = None
    problem = ''
    try:
        stream = engine.open(settings_of(engine, arm, course), endless=True)
        for chunk in watch(stream, films(engine, course), course.seconds):
            chunks.append(chunk)
            done(chunk.second)
    except (MemoryFull, DeviceFull) as error:  # a result: the paper's column (a) ends so
        problem = str(error)
    return Lap(
        arm=arm,
        chunks=tuple(chunks),
        memory_bytes=stream.memory_bytes if stream else 0,
        grid=grid,
        peak=max([memory_peak(device), *(chunk.used for chunk in chunks)]),
        reserved=memory_reserved(device),
        after=state(device),
        problem=problem,
    )


def settings_of(engine: StreamingVLM, arm: Arm, course: Course) -> StreamSettings:
    """Preset robot, all its windows full from the start but that of vision.

    Previous text is not refreshed, so that a second costs what it does in the published system.
    """
    settings = preset(
        'robot',
        text_refresh_interval=None,
        policy=arm.policy,
        max_new_tokens=arm.tokens,
        max_vision_tokens=course.vision_tokens,
        reset_every=course.reset_every,
        previous_text='the camera shows a room ' * 1024,  # cut to sink and window
    )
    if arm.policy != 'full_attention':
        return settings
    room = whole_stream(Prompt(engine.tokenizer, settings), settings, course.seconds)
    return replace(settings, capacity=room)


def films(engine: StreamingVLM, course: Course) -> list[np.ndarray]:
    """Some rounds of frames (2, H, W, 3) uint8 of exactly the size that the model sees."""
    vision = engine.model.config.vision
    cell = vision.patch_size * vision.merge_size
    rows, columns = GRIDS[course.vision_tokens]
    draws = np.random.default_rng(0)
    shape = (FILMS, 2, rows * cell, columns * cell, 3)
    return list(draws.integers(0, 256, shape, np.uint8))


def watch(stream: Stream, shown: list[np.ndarray], seconds: int) -> Iterator[Chunk]:
    """Step a stream as fast as it goes, and say what each second cost."""
    with counting(energy_source(stream.model.device)) as joules:
        for second in range(seconds):
            yield _second(stream, shown[second % len(shown)], second, joules)


def _second(stream: Stream, frames: np.ndarray, second: int, joules: Reading) -> Chunk:
    device = stream.model.device
    settle(device)
    times, new, keys = [time.perf_counter()], 0, 0
    for _ in stream.tokens(frames, float(second)):
        times.append(time.perf_counter())
        if len(times) == 2:
            keys = stream.encoded
            new = keys - stream.reused
    settle(device)
    chunk = time.perf_counter() - times[0]
    assert stream.last is not None
    pairs = [s for s in stream.transcript.segments if s.role is Role.VISION]
    return Chunk(
        second=second,
        chunk=chunk,
        gaps=tuple(later - now for now, later in pairwise(times[1:])),
        stages=stream.last.seconds,
        tokens=len(stream.last.ids),
        new=new,
        keys=keys,
        grids=len(pairs) if stream.settings.policy == 'recompute' else 1,
        used=memory_used(device),
        allocations=allocations(device),
        joules=joules(),
    )
