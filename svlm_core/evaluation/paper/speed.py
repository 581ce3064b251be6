# SPDX-License-Identifier: Apache-2.0
"""Milliseconds a token under each policy over a stream, as `svlm bench` measures them."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any, cast

from svlm_core.benchmark.run import Arm, Course, films, settings_of, watch
from svlm_core.benchmark.summary import amortised
from svlm_core.config import Policy
from svlm_core.errors import DeviceFull, MemoryFull
from svlm_core.evaluation.identity import model_identity, of_stream
from svlm_core.evaluation.paper.captions import load
from svlm_core.evaluation.paper.inplace import of_model
from svlm_core.evaluation.paper.items import Item
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.timeline import make_folder, write_lines

SECONDS, TOKENS, VISION = 240, 20, 180  # of a stream; of a reply; of a second
MOST = 28  # seconds with svlm-tiny
PART = 10  # start and end are a tenth of a stream each


def measure(item: Item, label: str, setup: Setup) -> tuple[list[dict[str, Any]], str]:
    """The rows of one policy, and why its memory ended early, if it did. Raises OutputError."""
    who = item.rows[label]
    policy = cast(Policy, who.settings.get('policy', 'streaming'))
    seconds = SECONDS if setup.size is None else min(MOST, setup.size.seconds)
    tokens = TOKENS if setup.size is None else TOKENS // 4
    reset = 100 if setup.size is None else max(1, seconds // 2)
    # A course has room for its own warm-up; here the start counts too.
    course = Course(max(seconds, MOST), VISION, reset)
    engine, arm = load(setup.model(who.model), setup.device), Arm(policy, tokens)
    settings, chunks, problem = settings_of(engine, arm, course), [], ''
    try:
        stream = engine.open(settings, endless=True)
        for chunk in watch([stream], films(engine, course), seconds):
            chunks.append(chunk)
    except (MemoryFull, DeviceFull) as error:  # a result: the paper's (a) ends so
        problem = str(error)
    folder = setup.folder / 'times'
    make_folder(folder)
    write_lines(folder / f'{policy}.jsonl', map(asdict, chunks))
    identity = of_stream(
        settings,
        'streaming',
        model=model_identity(engine),
        data={'name': 'noise', 'seconds': seconds, 'vision tokens': VISION, 'tokens': tokens},
        seed=0,
    ).row()
    identity['settings'] = {k: v for k, v in identity['settings'].items() if k != 'previous_text'}
    rows = [
        {
            'item': item.name,
            'label': label,
            'column': column,
            'value': value,
            'value_ci': None,
            'published': item.published[label].get(column),
            'stand_in': of_model(who.model, setup),
            'seconds': len(chunks),
            'problem': problem,
            **identity,
        }
        for column, value in _moments([amortised(chunk) for chunk in chunks]).items()
    ]
    return rows, problem


def _moments(times: list[float]) -> dict[str, float]:
    """What the paper's figure shows, of the times of all seconds in order; none of none."""
    if not times:
        return {}
    tenth = max(1, len(times) // PART)
    return {
        'start': median(times[:tenth]),
        'least': min(times),
        'median': median(times),
        'most': max(times),
        'end': median(times[-tenth:]),
    }
