# SPDX-License-Identifier: Apache-2.0
"""A minute of synthetic camera that tells whether a model, here and now, remembers as it should.

The model tells a few worlds whose truth is known, with gold history, under the settings it is to
run with and under settings that take one part of its memory away. What a part holds is what is
lost without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import median
from time import perf_counter

from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.exam import Mark, with_gold_history
from svlm_core.evaluation.measures import Right, Span, share
from svlm_core.synthetic.captions import LAGS
from svlm_core.synthetic.story import Story
from svlm_core.timeline import percentile

SEES = 0.8  # share of seconds told right, below which a model does not know the synthetic world
HOLDS = 0.8  # share of answers that a working memory gives right; there are some twenty of each
GAP = 0.03  # most that reuse of keys may cost
LATER = 40  # seconds after which neither vision nor recent text holds what the start told


@dataclass(frozen=True)
class Finding:
    """One line of the report: `ok` False is a fault, None could not be tried."""

    what: str
    ok: bool | None
    found: str


@dataclass(frozen=True)
class Speed:
    """Seconds that rounds took which the model told by itself, and tokens held after each."""

    rounds: tuple[float, ...]
    held: tuple[int, ...]


def selftest(
    engine: StreamingVLM, settings: StreamSettings, seeds: Sequence[int], seconds: int
) -> Iterator[Finding]:
    """Try a model on the worlds of `seeds`, the first `seconds` of each.

    `settings` are of policy streaming. Yields findings as they are made.
    """
    yield _speed(measure(engine, settings, seeds[0], seconds), settings)
    marks = tell(engine, settings, seeds, seconds)
    seen = Right(span=Span(0, 24))(marks)
    knows = seen >= SEES
    yield Finding('eyes', knows or None, f'{seen:.0%} of the first 24 s told right')
    if knows:
        without = replace(settings, text_sink=0)
        yield _sink(marks, tell(engine, without, seeds, seconds))
        yield _window(settings, marks)
    else:
        note = 'not tried: this model does not tell the synthetic world'
        yield from (Finding(what, None, note) for what in ('sink', 'vision window'))
    anew = replace(settings, policy='recompute', text_refresh_interval=None)
    yield _gap(settings, marks, tell(engine, anew, seeds, seconds))


def tell(
    engine: StreamingVLM, settings: StreamSettings, seeds: Sequence[int], seconds: int
) -> list[Mark]:
    """Marks of the first `seconds` of each world, with gold history."""
    stream, marks = engine.open(settings), list[Mark]()
    for seed in seeds:
        stream.reset()
        marks += with_gold_history(stream, Story(seed), range(seconds), settings.query)
    return marks


def measure(engine: StreamingVLM, settings: StreamSettings, seed: int, seconds: int) -> Speed:
    """What rounds take when the model tells a world by itself; the first warms it up."""
    stream, story = engine.open(settings), Story(seed)
    rounds, held = [], []
    for second in range(seconds):
        frames = story.frames(second)
        began = perf_counter()
        caption = stream.step(frames, float(second))
        rounds.append(perf_counter() - began)
        held.append(caption.held)
    return Speed(tuple(rounds[1:]), tuple(held[1:]))


def _speed(speed: Speed, settings: StreamSettings) -> Finding:
    factor = median(speed.rounds) / settings.chunk_seconds
    late = percentile(speed.rounds, 0.99) / settings.chunk_seconds
    found = f'real-time factor {factor:.2g}, {late:.2g} at worst (p99); {max(speed.held)} tokens'
    return Finding('speed', late < 1, f'{found} held at most')


def _sink(marks: Sequence[Mark], without: Sequence[Mark]) -> Finding:
    """Facts of the start, asked for when nothing but the sink holds them."""
    recalled = Right(('recall',), Span(LATER))
    with_it, alone = recalled(marks), recalled(without)
    if isnan(with_it):
        return Finding('sink', None, f'not tried: no fact was asked for after {LATER} s')
    found = f'{with_it:.0%} of facts from the start known later, {alone:.0%} without a sink'
    return Finding('sink', with_it >= HOLDS and alone < with_it, found)


def _window(settings: StreamSettings, marks: Sequence[Mark]) -> Finding:
    """How far back lights are remembered that were seen and never told."""
    span = settings.vision_rounds
    held = {lag: Right((f'past_{lag}',), Span(LATER))(marks) for lag in LAGS}
    asked = {lag: right for lag, right in held.items() if not isnan(right)}
    reach = max((lag for lag, right in asked.items() if right >= HOLDS), default=0)
    ok = all(right >= HOLDS for lag, right in asked.items() if span is None or lag < span)
    told = ', '.join(
        f'{lag} s not asked' if isnan(right) else f'{right:.0%} at {lag} s'
        for lag, right in held.items()
    )
    found = f'{span} s; seen and still known after {reach} s: {told}'
    return Finding('vision window', ok if asked else None, found)


def _gap(settings: StreamSettings, marks: Sequence[Mark], anew: Sequence[Mark]) -> Finding:
    """What is lost because keys are taken over from rounds of which the frames are gone."""
    late = Span(settings.vision_rounds or 0)
    pairs = list(zip(late.of(anew), late.of(marks), strict=True))
    if not pairs:
        return Finding('reuse gap', None, f'not tried: no frames leave in {late.since} s')
    gap = Right(span=late)(anew) - Right(span=late)(marks)
    other = share([a.said != b.said for a, b in pairs])
    found = f'{gap:+.1%} right if all is encoded anew; other words in {other:.1%} of seconds'
    return Finding('reuse gap', gap <= GAP, found)
