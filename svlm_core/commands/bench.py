# SPDX-License-Identifier: Apache-2.0
"""`svlm bench`: how fast, how steady, and how close to what the machine allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from svlm_core.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.benchmark.run import Arm, Course, Lap
    from svlm_core.engine import StreamingVLM


@dataclass(frozen=True)
class Bench:
    """Time seconds of stream under each policy.

    The four policies of the paper see the same frames and say as many tokens. The window is full
    before anything counts, and bandwidth and operations are held against what the device reaches
    in the same run. Each policy is timed with every number of --tokens.

    Times depend on what else the machine does: leave it alone meanwhile.

      svlm bench                                  # the built-in model, in some minutes on a CPU
      svlm bench --random 7b --tokens-per-second 720 --output h200
      svlm bench --random 7b --tokens-per-second 384 --policies streaming --streams 4
      svlm bench --random 7b --compare h200/bench.json
    """

    model: Annotated[
        str | None,
        arg(help='checkpoint folder or Hugging Face id; None: the built-in svlm-tiny',
            metavar='MODEL'),
    ] = None  # fmt: skip
    random: Annotated[
        Literal['7b', '3b', 'mid', 'tiny'] | None,
        arg(help='random weights of this size instead of a model'),
    ] = None
    bits: Annotated[
        Literal[8, 4] | None, arg(help='with --random: of the weights of the language model')
    ] = None
    device: Annotated[str, arg(help='auto, cpu, cuda, cuda:1, ...', metavar='DEVICE')] = 'auto'
    dtype: Annotated[str, arg(help='auto, float32, bfloat16 or float16', metavar='DTYPE')] = 'auto'
    attention: Annotated[
        str, arg(help='back end, as svlm doctor lists them; auto: the fastest', metavar='NAME')
    ] = 'auto'
    tokens_per_second: Annotated[
        Literal[720, 384, 180],
        arg(help='vision tokens of each second with 2 frames, of each pair of frames with more'),
    ] = 180
    fps: Annotated[int, arg(help='frames of each second', metavar='NUMBER')] = 2
    streams: Annotated[
        int, arg(help='cameras of one engine that take turns', metavar='NUMBER')
    ] = 1
    ahead: Annotated[
        FlagCreatePairsOff[bool],
        arg(help='tell streams the frames of the next second: a GPU encodes them while it speaks'),
    ] = False
    tokens: Annotated[
        tuple[int, ...], arg(help='tokens of each reply', metavar='NUMBER [NUMBER ...]')
    ] = (10, 20)
    seconds: Annotated[int, arg(help='seconds of stream for each policy', metavar='NUMBER')] = 80
    reset_every: Annotated[
        int, arg(help='policy window: seconds between hard resets', metavar='SECONDS')
    ] = 25
    policies: Annotated[
        tuple[Literal['full_attention', 'window', 'recompute', 'streaming'], ...],
        arg(help='which policies'),
    ] = ('full_attention', 'window', 'recompute', 'streaming')
    output: Annotated[
        Path | None,
        arg(help='new folder for bench.json, chunks.csv and latency.png', metavar='DIR'),
    ] = None
    compare: Annotated[Path | None, arg(help='bench.json of an earlier run', metavar='FILE')] = (
        None
    )

    def run(self) -> int:
        """Measure, print, write, and return the exit status. Raises SvlmError."""
        if not self.tokens or min(self.tokens) < 2 or not self.policies:
            raise SettingsError('give at least one policy, and --tokens of at least 2')
        if self.model is not None and self.random is not None:
            raise SettingsError('--model and --random exclude each other: give one')
        if self.bits is not None and self.random is None:
            raise SettingsError('--bits is for --random; svlm quantize makes such a checkpoint')
        from svlm_core.benchmark.costs import Costs
        from svlm_core.benchmark.machine import ceilings, describe, untold
        from svlm_core.benchmark.outputs import Run, check_output, read_run, write_run
        from svlm_core.benchmark.run import Course
        from svlm_core.benchmark.summary import summarise
        from svlm_core.benchmark.tables import comparison, figures
        from svlm_core.commands.console import screen
        from svlm_core.commands.engine_flags import introduction

        course = Course(
            self.seconds,
            self.tokens_per_second,
            self.reset_every,
            self.fps,
            self.streams,
            self.ahead,
        )
        old = None if self.compare is None else read_run(self.compare)
        if self.output is not None:
            check_output(self.output)
        engine, out = self._engine(), screen()
        device = engine.model.device
        about = describe(device)
        most = ceilings(device, engine.model.dtype)
        out.print(f'{introduction(engine.info)}\n{about.get("gpu", about["processor"])}, '
                  f'{most.bytes_per_second / 1e9:.0f} GB/s, '
                  f'{most.operations_per_second / 1e12:.3g} TFLOP/s')  # fmt: skip
        if missing := untold(about):
            out.print(missing)
        laps = self._laps(engine, course)
        costs = Costs.of(engine.model)
        found = [summarise(lap, course, costs, most) for lap in laps]
        about |= {
            **asdict(engine.info),
            **asdict(course),
            'problems': {lap.arm.name: lap.problem for lap in laps if lap.problem},
        }
        run = Run(about, most, tuple(s for s in found if s is not None))
        if run.summaries:
            out.print(figures(run.summaries, most))
        for name, problem in about['problems'].items():
            out.print(f'{name} ended early: {problem}')
        if old is not None:
            out.print(comparison(run.summaries, old.summaries))
            out.print('\n'.join(_differences(old.about, about)))
        if self.output is not None:
            write_run(self.output, run, laps, course)
        return 0

    def _engine(self) -> StreamingVLM:
        from svlm_core.benchmark.models import random_engine
        from svlm_core.commands.engine_flags import load_engine

        if self.random is not None:
            return random_engine(self.random, self.device, self.dtype, self.attention, self.bits)
        return load_engine(self.model, self.device, self.dtype, self.attention)

    def _laps(self, engine: StreamingVLM, course: Course) -> list[Lap]:
        from svlm_core.benchmark.run import run_arm
        from svlm_core.commands.console import errors, progress

        arms = self._arms()
        laps = []
        with progress(errors(), len(arms) * course.seconds) as show:
            for number, arm in enumerate(arms):
                before, name = number * course.seconds, arm.name

                def moved(second: int, before: int = before, name: str = name) -> None:
                    show(before + second, name)

                laps.append(run_arm(engine, arm, course, moved))
        return laps

    def _arms(self) -> list[Arm]:
        from svlm_core.benchmark.run import Arm

        policies = dict.fromkeys(self.policies)
        return [Arm(policy, count) for count in dict.fromkeys(self.tokens) for policy in policies]


def _differences(old: object, new: object) -> list[str]:
    """Lines on what differs between two runs besides their figures."""
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    what = ('model', 'device', 'gpu', 'processor', 'threads', 'dtype', 'attention', 'torch',
            'vision_tokens', 'seconds', 'reset_every', 'fps', 'streams', 'ahead')  # fmt: skip
    return [
        f'not the same {name}: {old.get(name)}, now {new.get(name)}'
        for name in what
        if old.get(name) != new.get(name)
    ]
