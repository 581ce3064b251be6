# SPDX-License-Identifier: Apache-2.0
"""Under which conditions a model sits an exam: the policies and ablations of the paper, by name.

Settings lie over preset `robot` as it suits the model. Costly conditions are tried on fewer and
shorter streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CHUNK = 24  # seconds that models are trained on at once
FREE = 4.0  # minutes of an ablation that runs free: claims about them are tried with gold history
CHANGE = 60  # second at which the task changes, in the conditions about that
NEW_TASK = 'Tell me where each robot is.'

Change = Literal['never', 'pinned', 'said']
NO_TEXT = {'text_sink': 0, 'text_window': 0}
REFRESH = 8.0  # seconds, as in preset `robot`


@dataclass(frozen=True)
class Condition:
    """One way to run a stream.

    `change` is how a task that changes in second CHANGE is told: to the pinned instruction, or as
    a turn among the others. `retrieved` evicted rounds are brought back each round (`recall`).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    costly: bool = False
    minutes: float | None = None  # None: as long as asked for
    free_minutes: float | None = FREE  # likewise, running free
    change: Change = 'never'
    retrieved: int = 0


PLAIN = {'policy': 'streaming', 'text_refresh_interval': None}
OURS = {'policy': 'streaming', 'text_refresh_interval': REFRESH}

CONDITIONS: dict[str, Condition] = {
    'robot': Condition(free_minutes=None),
    'streaming': Condition(PLAIN),
    'refreshed': Condition(OURS, free_minutes=None),
    'full attention': Condition({'policy': 'full_attention'}, costly=True),
    'recompute': Condition({'policy': 'recompute'}, costly=True),
    'window': Condition({'policy': 'window', 'reset_every': CHUNK, **NO_TEXT}),
    'window with text': Condition({'policy': 'window', 'reset_every': CHUNK}),
    'native': Condition({**OURS, 'rope': 'native'}),
    'no sink': Condition({**OURS, 'text_sink': 0}),
    'no text window': Condition({**OURS, 'text_window': 0}),
    **{f'vision {v} s': Condition({**OURS, 'vision_window': v}, minutes=8) for v in (2, 4, 8, 12)},
    'retrieval': Condition(PLAIN, costly=True, retrieved=4),
    'task pinned': Condition(OURS, minutes=4, change='pinned'),
    'task said': Condition(OURS, minutes=4, change='said'),
}
