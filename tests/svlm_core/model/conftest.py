# SPDX-License-Identifier: Apache-2.0
"""Random models, each both as stock transformers and as ours, from one folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from stock_model import CASES, PARITY, Pair, build, save_stock
from svlm_core.model.checkpoint import load


@pytest.fixture(scope='session', params=[*CASES, PARITY], ids=lambda p: p.name)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    if request.param is PARITY:
        stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            PARITY, dtype=torch.float32, local_files_only=True
        )
        return Pair(stock.eval(), load(PARITY, 'cpu'))
    stock = build(request.param)
    return Pair(stock, load(save_stock(stock, tmp_path_factory.mktemp('model')), 'cpu'))


@pytest.fixture(scope='session')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small stock checkpoint; do not change it, copy it."""
    return save_stock(build(CASES[0]), tmp_path_factory.mktemp('small'))
