# SPDX-License-Identifier: Apache-2.0
"""Watching the same frames under each policy, with replies of a fixed length.

A model that says less looks faster, so replies never end by themselves. The frames are noise of
exactly the size that the model sees, the same for all. Several streams of one engine take turns,
second by second, as the cameras of a node do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
    """What all arms see: seconds of stream, vision tokens of a pair of frames, the policy's clock.

    With `fps` frames in a second there are fps / 2 pairs. Each of the `streams` sees a second
    before the next one begins; `ahead`: it is told the frames of the coming second, too.
    """

    seconds: int
    vision_tokens: int
    reset_every: int
    fps: int = 2
    streams: int = 1
    ahead: bool = False

    def __post_init__(self) -> None:
        if self.fps < 1 or self.streams < 1:
            raise SettingsError('give at least one frame in a second, and one stream')
        if self.vision_tokens not in GRIDS:
            raise SettingsError(f'vision tokens of a pair of frames must be one of {list(GRIDS)}')
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
    """One second of one stream. Times in seconds, `chunk` of all; `gaps` are from each token to
    the next. `new` tokens were read in, after which `keys` were in memory. `joules` have been used
    since the counter began; None: no counter.
    """

    second: int
    stream: int
    chunk: float
    gaps: tuple[float, ...]
    stages: dict[str, float]
    tokens: int
    new: int
    keys: int
    grids: int  # seconds whose frames were encoded
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
    grid: Grid  # of the patches of a second
    peak: int
    reserved: int | None
    after: State
    problem: str = ''


def run_arm(
    engine: StreamingVLM, arm: Arm, course: Course, done: Callable[[int], None] = lambda n: None
) -> Lap:
    """Watch a course; `done` is told of each second that all streams have seen."""
    vision = engine.model.config.vision
    rows, columns = GRIDS[course.vision_tokens]
    steps = ceil(course.fps / vision.temporal_patch)
    grid = (steps, rows * vision.merge_size, columns * vision.merge_size)
    device = engine.model.device
    forget_memory(device)
    chunks: list[Chunk] = []
    streams: list[Stream] = []
    problem = ''
    try:
        settings = settings_of(engine, arm, course)
        for _ in range(course.streams):
            streams.append(engine.open(settings, endless=True))
        for chunk in watch(streams, films(engine, course), course.seconds, course.ahead):
            chunks.append(chunk)
            if chunk.stream == course.streams - 1:
                done(chunk.second)
    except (MemoryFull, DeviceFull) as error:  # a result: the paper's column (a) ends so
        problem = str(error)
    return Lap(
        arm=arm,
        chunks=tuple(chunks),
        memory_bytes=sum(stream.memory_bytes for stream in streams),
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
        fps=course.fps,
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
    """Some seconds of frames (fps, H, W, 3) uint8 of exactly the size that the model sees."""
    vision = engine.model.config.vision
    cell = vision.patch_size * vision.merge_size
    rows, columns = GRIDS[course.vision_tokens]
    draws = np.random.default_rng(0)
    shape = (FILMS, course.fps, rows * cell, columns * cell, 3)
    return list(draws.integers(0, 256, shape, np.uint8))


def watch(
    streams: Sequence[Stream], shown: Sequence[np.ndarray], seconds: int, ahead: bool = False
) -> Iterator[Chunk]:
    """Step streams in turns as fast as it goes, and say what each second of each cost.

    `shown` are rounds of frames, which come again and again. The streams are of one model;
    `ahead`: each is told its next round.
    """
    with counting(energy_source(streams[0].model.device)) as joules:
        for second in range(seconds):
            for number, stream in enumerate(streams):
                now, after = (shown[(second + number + n) % len(shown)] for n in range(2))
                coming = after if ahead and second + 1 < seconds else None
                yield _chunk(stream, (second, number), now, coming, joules)


def _chunk(
    stream: Stream,
    place: tuple[int, int],
    frames: np.ndarray,
    coming: np.ndarray | None,
    joules: Reading,
) -> Chunk:
    second, number = place
    device = stream.model.device
    settle(device)
    times, new, keys = [time.perf_counter()], 0, 0
    for _ in stream.tokens(frames, float(second), coming):
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
        stream=number,
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
