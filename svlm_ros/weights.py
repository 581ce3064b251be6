# SPDX-License-Identifier: Apache-2.0
"""The model of a node: loaded when the node is configured, given back when it is cleaned up."""

from __future__ import annotations

import gc
import sys
from typing import Any

from svlm_ros.parameters import NodeSettings


def load_engine(settings: NodeSettings) -> Any:
    """The engine that the parameters name. Raises SvlmError when it cannot be loaded."""
    from svlm_core import StreamingVLM  # loads torch, which takes seconds: only once needed

    return StreamingVLM.from_pretrained(
        settings.model or None, device=settings.device, dtype=settings.dtype
    )


def give_back() -> None:
    """Return the memory of an engine that nobody holds any more to the system and the GPU."""
    gc.collect()
    torch = sys.modules.get('torch')  # never loaded: nothing to give back
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
