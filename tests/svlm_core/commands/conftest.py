# SPDX-License-Identifier: Apache-2.0
"""An engine that needs no model, for commands that only have to be heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from svlm_core.caption import Caption
from svlm_core.commands import caption as command
from svlm_core.config import StreamSettings
from svlm_core.prompt import ChatTokenizer

CHECKPOINT = Path(__file__).parents[2] / 'parity' / 'checkpoint'


@dataclass
class FakeStream:
    """Says the brightness it sees, and nothing on odd seconds."""

    settings: StreamSettings
    held: int = 0
    capacity: int = 1000
    memory_bytes: int = 4_000_000
    seen: list = field(default_factory=list)
    announced: int | None = None  # which frames were said to come
    before_each: object = staticmethod(lambda number: None)

    def step(self, frames: np.ndarray, start: float, coming: np.ndarray | None = None) -> Caption:
        self.before_each(len(self.seen))
        assert self.announced in (None, id(frames))
        self.announced = None if coming is None else id(coming)
        assert frames.dtype == np.uint8
        assert frames.shape[0] == self.settings.frames_per_round
        self.seen.append(start)
        self.held += 10
        text = (
            '' if int(start) % 2 else f'Brightness {round(frames.mean(), -1):.0f} <b>[red]\x1b[2J'
        )
        return Caption(text, start, start + 1, (1, 2), 'end', self.held, {})


@pytest.fixture(scope='session')
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(CHECKPOINT)


@pytest.fixture
def engine(monkeypatch, tokenizer):
    """An engine that needs no model; `engine.stream` is the stream it opened."""
    fake = SimpleNamespace(trained=True, stream=None, before_each=lambda number: None)
    fake.loaded, fake.limits = None, ''

    def open_stream(settings: StreamSettings) -> FakeStream:
        fake.stream = FakeStream(settings)
        fake.stream.before_each = fake.before_each
        return fake.stream

    def load(model, device, dtype):
        fake.loaded = (model, device, dtype)
        info = SimpleNamespace(
            model='fake', trained=fake.trained, device='cpu', dtype='float32',
            attention='sdpa', kernels='', parameters=1_200_000, limits=fake.limits,
        )  # fmt: skip
        return SimpleNamespace(info=info, open=open_stream, tokenizer=tokenizer)

    monkeypatch.setattr(command, 'load_engine', load)
    return fake
