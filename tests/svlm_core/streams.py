# SPDX-License-Identifier: Apache-2.0
"""What tests of streams share: small settings, all policies, rounds of noise, and a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from svlm_core import Caption, Stream, StreamSettings, preset

SMALL = {
    'vision_window': 3,
    'text_rounds': 3,
    'text_sink': 8,
    'text_window': 8,
    'reset_every': 3,
    'max_new_tokens': 4,
    'max_vision_tokens': 16,
}
POLICIES = [
    {'policy': 'streaming'},
    {'policy': 'streaming', 'rope': 'native'},
    {'policy': 'recompute'},
    {'policy': 'window'},
    {'policy': 'full_attention', 'capacity': 2000},
    {'policy': 'streaming', 'published_quirks': True},
]


def each(policies: list[dict]) -> pytest.MarkDecorator:
    """One test for each of these settings, as argument `policy`."""
    return pytest.mark.parametrize(
        'policy', policies, ids=lambda p: '-'.join(map(str, p.values()))
    )


named = each(POLICIES)
pinning = each(POLICIES[:5])  # what has a pinned segment, and keeps answers


def small(**changes) -> StreamSettings:
    return preset('robot', **{**SMALL, **changes})


def noise(number: int, height: int = 28, width: int = 28, count: int = 2) -> np.ndarray:
    """Random frames (count, height, width, 3) of a round; the same number, the same frames."""
    return np.random.default_rng(number).integers(0, 256, (count, height, width, 3), np.uint8)


def watch(stream: Stream, rounds: Iterable[int]) -> list[Caption]:
    """Show a stream the noise of these rounds, each at its second."""
    return [stream.step(noise(number), number) for number in rounds]


def said(captions: list[Caption]) -> list[tuple[int, ...]]:
    return [caption.ids for caption in captions]


def state(stream: Stream) -> tuple:
    return stream.transcript, stream.held, stream.encoded, stream.positions.tolist()


def failing(error: BaseException, after: int = 0) -> Callable[..., None]:
    """A function that fails from call number `after` on."""
    calls = iter(range(after))

    def fail(*args, **kwargs):
        if next(calls, None) is None:
            raise error

    return fail
