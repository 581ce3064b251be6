# SPDX-License-Identifier: Apache-2.0
"""The tiny golden checkpoint as an engine, and noise for it to watch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.nn.attention import varlen

import flash
import streams
from captured import Captures
from svlm_core import StreamingVLM, gpu
from svlm_core.prompt import ChatTokenizer

GOLDEN = Path(__file__).parents[1] / 'parity'
Frames = Callable[..., np.ndarray]


@pytest.fixture(scope='session')
def golden() -> Path:
    """The folder of the golden cases and their checkpoint; do not change it, copy it."""
    return GOLDEN


@pytest.fixture(scope='session')
def engine() -> StreamingVLM:
    return StreamingVLM.from_pretrained(GOLDEN / 'checkpoint', device='cpu', dtype='float32')


@pytest.fixture(scope='session')
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(GOLDEN / 'checkpoint')


@pytest.fixture(scope='session')
def noise() -> Frames:
    """Random frames (count, height, width, 3) of a round; the same number, the same frames."""
    return streams.noise


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Captures:
    """Let the CPU work as a GPU does: what repeats is captured, and the next token begun ahead."""
    captures = Captures()
    monkeypatch.setattr(gpu, 'replays', lambda device: True)
    monkeypatch.setattr(gpu, 'capture', captures)
    return captures


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels of flash attention, on the CPU."""
    monkeypatch.setattr(varlen, 'varlen_attn', flash.varlen_attn)
    for package in ('flash_attn', 'flash_attn_interface'):
        monkeypatch.setitem(sys.modules, package, flash)
