# SPDX-License-Identifier: Apache-2.0
"""The one sentence that must stand over captions which mean nothing, or may."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import, and no sentence needs it
    from svlm_core.engine import EngineInfo


def untrained(model: str, trained: bool) -> str:
    """What must stand over every caption of `model`; empty for a trained one."""
    return '' if trained else f'UNTRAINED: {model} has random weights, its captions mean nothing'


def warning(info: EngineInfo) -> str:
    """What must stand over every caption of an engine; empty where there is nothing to say."""
    return untrained(info.model, info.trained) or info.limits
