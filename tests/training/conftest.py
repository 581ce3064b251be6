# SPDX-License-Identifier: Apache-2.0
"""The small models that the tests of training use."""

from __future__ import annotations

from pathlib import Path

import pytest

from svlm_core import StreamingVLM

GOLDEN = Path(__file__).parents[1] / 'parity' / 'checkpoint'


@pytest.fixture(scope='session')
def engine() -> StreamingVLM:
    """The golden checkpoint: a true Qwen2.5-VL, small and random. Do not train it, load it."""
    return StreamingVLM.from_pretrained(GOLDEN, device='cpu', dtype='float32')
