# SPDX-License-Identifier: Apache-2.0
"""How many tokens a stream can ever hold: computed from its settings, never written down."""

from __future__ import annotations

import math

from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError
from svlm_core.prompt import CLOSING, Prompt
from svlm_core.transcript import Role


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


def whole_stream(prompt: Prompt, settings: StreamSettings, rounds: int) -> int:
    """Slots that a stream of so many rounds cannot exceed, even if nothing ever leaves."""
    asked = len(prompt.tokenizer.encode(settings.query))  # with every opening, as published
    cost = sum(tokens_per_role(prompt, settings).values()) + asked
    return sum(len(s.ids) for s in prompt.opening()) + max(rounds, 1) * cost


def _least(prompt: Prompt, settings: StreamSettings) -> int:
    """Slots without which not even the first round of the smallest frames has room."""
    pairs = 0 if settings.vision_rounds == 0 else math.ceil(settings.frames_per_round / 2)
    first = prompt.round(0, 0, (pairs, 1, 1) if pairs else None, opening=True)
    needed = sum(len(s.ids) for s in (*prompt.opening(), *first))
    return needed + settings.max_new_tokens + CLOSING


def _bound(prompt: Prompt, settings: StreamSettings) -> int | None:
    cost = tokens_per_role(prompt, settings)
    opening = prompt.opening()
    fixed = sum(len(s.ids) for s in opening if s.role is not Role.PREVIOUS)
    given = sum(len(s.ids) for s in opening if s.role is Role.PREVIOUS)
    if settings.published_quirks:
        fixed += len(prompt.tokenizer.encode(settings.query))
    else:
        fixed += max(settings.query_tokens - sum(len(s.ids) for s in prompt.pinned()), 0)
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
