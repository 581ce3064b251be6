# SPDX-License-Identifier: Apache-2.0
"""The model of a node: loaded when the node is configured, given back when it is cleaned up.

Nodes of one process that want the same model share one copy of its weights, as do the cameras of
one node; the last to be cleaned up frees it.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

_loading = Lock()
_loaded: WeakValueDictionary[tuple[str, str, str], Any] = WeakValueDictionary()


def load_engine(node: Any) -> Any:
    """The engine that the parameters of a Captioner name.

    What it and the memories of all cameras will take is told first. Raises DeviceFull when the
    device has no room for it, and SvlmError when it cannot be loaded.
    """
    from svlm_core import StreamingVLM  # loads torch, which takes seconds: only once needed
    from svlm_core.budget import draw_up
    from svlm_core.cores import keep_to_cores

    settings = node.settings
    model, device, dtype = settings.model or None, settings.device, settings.dtype
    wanted = (settings.model, device, dtype)
    with _loading:
        engine = _loaded.get(wanted)
        budget = draw_up(model, [camera.opened for camera in node.cameras], device, dtype)
        if engine is not None:
            budget = replace(budget, weights=0)
        node.get_logger().info(str(budget))
        budget.check()
        if engine is None:
            keep_to_cores()
            engine = StreamingVLM.from_pretrained(model, device=device, dtype=dtype)
            _loaded[wanted] = engine
        return engine


def give_back() -> None:
    """Return the memory of an engine that nobody holds any more to the system and the GPU."""
    gc.collect()
    torch = sys.modules.get('torch')  # never loaded: nothing to give back
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
