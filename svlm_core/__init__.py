# SPDX-License-Identifier: Apache-2.0
"""svlm_core: watch a camera for hours and say, second by second, what it shows.

The engine of svlm, free of ROS. Names are imported when first used, so that a command that only
prints its help does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svlm_core.caption import Caption, Token
    from svlm_core.config import Sampling, StreamSettings, preset
    from svlm_core.engine import StreamingVLM
    from svlm_core.stream import Stream

__all__ = ['Caption', 'Sampling', 'Stream', 'StreamSettings', 'StreamingVLM', 'Token', 'preset']

_HOMES = {
    'Caption': 'caption',
    'Sampling': 'config',
    'Stream': 'stream',
    'StreamSettings': 'config',
    'StreamingVLM': 'engine',
    'Token': 'caption',
    'preset': 'config',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
