# SPDX-License-Identifier: Apache-2.0
"""The benchmarks as published, and the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest

import official_files
from svlm_core import StreamingVLM


@pytest.fixture(scope='session')
def published(tmp_path_factory) -> dict[str, Path]:
    """A folder for each benchmark; do not change it, copy it."""
    return {
        name: make(tmp_path_factory.mktemp(name)) for name, make in official_files.MADE.items()
    }


@pytest.fixture(scope='session')
def tiny() -> StreamingVLM:
    return StreamingVLM.from_pretrained(device='cpu')
