# SPDX-License-Identifier: Apache-2.0
"""The Hugging Face Hub: the one place that fetches a model which is named `org/name`.

Nothing is fetched when HF_HUB_OFFLINE is set; what was fetched before is used then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def snapshot(name: str, patterns: Sequence[str]) -> Path:
    """The folder of a model with the files of these patterns. Raises OSError or ValueError."""
    import huggingface_hub  # slow to import, and needed for names alone

    return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns)))


def single(name: str, file: str) -> Path:
    """One file of a model. Raises OSError or ValueError where there is none."""
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(name, file))
