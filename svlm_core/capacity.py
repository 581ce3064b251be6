# SPDX-License-Identifier: Apache-2.0
"""How many tokens a stream can ever hold: computed from its settings, never written down."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from svlm_core.config import Sampling, StreamSettings, check_ranges
from svlm_core.errors import SettingsError
from svlm_core.prompt import CLOSING, Prompt
from svlm_core.transcript import Role


@dataclass(frozen=True)
class Limits:
    """What a round may take, and how its words are drawn: may change while a stream runs."""

    max_new_tokens: int
    max_vision_tokens: int
    sampling: Sampling

    def __post_init__(self) -> None:
        check_ranges(self)

    @classmethod
    def of(cls, settings: StreamSettings) -> Limits:
        """The limits that a stream is opened with."""
        return cls(settings.max_new_tokens, settings.max_vision_tokens, settings.sampling)

    def changed(self, opened: StreamSettings, **given: Any) -> Limits:
        """These limits with those that are given (not None) laid over them.

        Raises SettingsError for a value that is none, or is more than was `opened`.
        """
        wanted = replace(self, **{n: v for n, v in given.items() if v is not None})
        least = {'max_new_tokens': 1, 'max_vision_tokens': opened.min_vision_tokens}
        for name, low in least.items():
            value, high = getattr(wanted, name), getattr(opened, name)
            if not low <= value <= high:
                raise SettingsError(
                    f'{name}={value} must lie between {low} and the {high} that the stream was '
                    'opened with'
                )
        return wanted


def tokens_per_role(prompt: Prompt, settings: StreamSettings) -> dict[Role, int]:
    """The most tokens that each part of one round can take."""
    pairs = math.ceil(settings.frames_per_round / 2)
    vision = 0 if settings.vision_rounds == 0 else settings.max_vision_tokens * pairs
    return {s.role: len(s.ids) for s in prompt.longest_round(vision)}


def capacity(prompt: Prompt, settings: StreamSettings) -> int:
    """Slots to allocate: the bound of the policy, or what the user gave.

    Raises SettingsError when the policy has no bound and no capacity was given, or one that
    cannot hold a single round.
    """
    if settings.capacity is not None:
        least = _least(prompt, settings)
        if settings.capacity < least:
            raise SettingsError(
                f'capacity={settings.capacity} cannot hold the opening and one round: give at '
                f'least {least}'
            )
        return settings.capacity
    bound = _bound(prompt, settings)
    if bound is None:
        raise SettingsError(
            f'policy={settings.policy} with these limits has no bound: give capacity= in tokens, '
            'or set vision_window, text_rounds, text_sink and text_window'
        )
    return bound


def sized(prompt: Prompt, settings: StreamSettings, seconds: float) -> StreamSettings:
    """The settings with room for so many seconds of stream, where nothing bounds the memory."""
    if settings.capacity is not None or _bound(prompt, settings) is not None:
        return settings
    rounds = math.ceil(seconds / settings.chunk_seconds) + 1  # what a file announces is rough
    return replace(settings, capacity=whole_stream(prompt, settings, rounds))


def room_for_pinned(prompt: Prompt, settings: StreamSettings) -> int:
    """Tokens that query and pinned sentences may take together."""
    given = sum(len(s.ids) for s in prompt.pinned(settings.query, ()))
    return max(settings.query_tokens, given)


def whole_stream(prompt: Prompt, settings: StreamSettings, rounds: int) -> int:
    """Slots that a stream of so many rounds cannot exceed, even if nothing ever leaves."""
    asked = len(prompt.tokenizer.encode(settings.query))  # with every opening, as published
    cost = sum(tokens_per_role(prompt, settings).values()) + asked
    opening = sum(len(s.ids) for s in prompt.opening())
    return opening + settings.ask_tokens + max(rounds, 1) * cost


def _least(prompt: Prompt, settings: StreamSettings) -> int:
    """Slots without which not even the first round of the smallest frames has room."""
    pairs = 0 if settings.vision_rounds == 0 else math.ceil(settings.frames_per_round / 2)
    first = prompt.round(0, 0, (pairs, 1, 1) if pairs else None, opening=True)
    needed = sum(len(s.ids) for s in (*prompt.opening(), *first))
    return needed + settings.max_new_tokens + CLOSING


def _bound(prompt: Prompt, settings: StreamSettings) -> int | None:
    cost = tokens_per_role(prompt, settings)
    opening = prompt.opening()
    fixed = sum(len(s.ids) for s in opening if s.role not in (Role.PINNED, Role.PREVIOUS))
    given = sum(len(s.ids) for s in opening if s.role is Role.PREVIOUS)
    if settings.published_quirks:
        fixed += len(prompt.tokenizer.encode(settings.query))
    else:
        fixed += room_for_pinned(prompt, settings) + settings.ask_tokens
    if settings.text_sink is None or settings.text_window is None:
        return None
    previous = max(given, settings.text_sink + settings.text_window)
    if settings.policy == 'window':
        return fixed + previous + settings.reset_rounds * sum(cost.values())
    seen, read = settings.vision_rounds, settings.text_rounds
    if settings.policy == 'full_attention' or seen is None or read is None:
        return None
    replies = cost[Role.TIME] + cost[Role.ASSISTANT] + cost[Role.REPLY]
    turns = cost[Role.USER] + cost[Role.TAIL]
    return (
        fixed
        + previous
        + seen * cost.get(Role.VISION, 0)
        + max(seen, read) * turns
        + read * replies
    )
