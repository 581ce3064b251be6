# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu.py at small sizes on the CPU: what it times, and that it finds what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path

import pytest
import torch

from svlm_core.benchmark.machine import Ceilings
from svlm_core.benchmark.models import SIZES
from svlm_core.card import EMBEDDED
from svlm_core.model import attention
from svlm_core.model.config import parse_config, read_json

SCRIPT = Path(__file__).parents[3] / 'benchmarks' / 'gpu.py'
LAYER = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']


@pytest.fixture
def script() -> dict:
    return run_path(str(SCRIPT))


@pytest.fixture
def ask(script, capsys, monkeypatch):
    """Its lines for the tiny model, with 70 tokens in memory."""
    monkeypatch.setitem(
        script['Asked'].run.__globals__, 'ceilings', lambda *given: Ceilings(1e10, 1e11)
    )

    def lines(**given: object) -> list[dict]:
        script['Asked'](device='cpu', size='tiny', keys=70, mebibytes=1, **given).run()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return lines


def test_it_tells_of_the_machine_of_every_back_end_and_of_every_shape(ask):
    machine, *lines = ask(queries=(1, 16))
    assert {'time', 'device', 'torch', 'svlm', 'copy_gb_per_second', 'state_before'} <= set(
        machine
    )
    attended = [line for line in lines if 'attention' in line]
    names = [(line['queries'], line['attention']) for line in attended]
    assert names == [(T, name) for T in (1, 16) for name in attention.BACKENDS]
    runs = [line for line in attended if line['attention'] in {'parted', 'sdpa', 'matmul'}]
    assert all(line['wrong_by'] < 1e-5 and not line['captured'] for line in runs)
    assert all(line['microseconds'] > 0 and line['gb_per_second'] > 0 for line in runs)
    assert all('does_not_run' in line for line in attended if line not in runs)
    products = [line for line in lines if 'product' in line]
    assert [line['product'] for line in products] == [*LAYER, 'lm_head']
    assert all(line['gb_per_second'] > 0 for line in products)


def test_a_kernel_that_looks_behind_the_length_is_found_out(ask, monkeypatch):
    kernel = attention.BACKENDS['matmul']
    blind = lambda q, k, v, bound: kernel(q, k, v, None)  # noqa: E731
    monkeypatch.setitem(attention.BACKENDS, 'matmul', blind)
    wrong = {
        line['attention']: line['wrong_by'] for line in ask(queries=(1,)) if 'wrong_by' in line
    }
    assert wrong['matmul'] > 0.1
    assert wrong['sdpa'] < 1e-5


def test_work_that_is_captured_is_said_to_be(ask, captures):
    lines = ask(queries=(1,))
    assert all(line['captured'] for line in lines if 'microseconds' in line)
    assert captures.count == 3 + 8  # three back ends, seven shapes and the head


def test_the_shapes_of_7b_are_those_that_were_published(script):
    config = parse_config({**read_json(EMBEDDED / 'config.json'), **SIZES['7b']})
    found = {
        name: (layer.out_features, layer.in_features)
        for name, layer in script['shapes'](config).items()
    }
    wide, narrow, inner = 3584, 512, 18944
    expected = [(wide, wide), (narrow, wide), (narrow, wide), (wide, wide), (inner, wide),
                (inner, wide), (wide, inner), (152064, wide)]  # fmt: skip
    assert found == dict(zip([*LAYER, 'lm_head'], expected, strict=True))
    assert all(
        layer.weight.device == torch.device('meta') for layer in script['shapes'](config).values()
    )
