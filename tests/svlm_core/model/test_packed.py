# SPDX-License-Identifier: Apache-2.0
"""Packed layers: the same products from weights in another order, and only where they pay."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from streams import noise, small
from svlm_core import StreamingVLM
from svlm_core.benchmark.costs import Costs
from svlm_core.benchmark.models import random_engine
from svlm_core.commands.engine_flags import introduction
from svlm_core.model import packed
from svlm_core.model.checkpoint import load
from svlm_core.model.packed import LARGE, PackedLinear, pack, packed_layers, packs
from svlm_core.parity import Case, compare

pytestmark = pytest.mark.skipif(not packs(torch.float32), reason='this CPU has no packed products')


@pytest.fixture
def all_packed(monkeypatch):
    """However small a layer is, it is packed."""
    monkeypatch.setattr(packed, 'LARGE', 1)


@given(
    outputs=st.integers(1, 300),
    inputs=st.integers(1, 300),
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@settings(max_examples=60, deadline=None)
def test_products_are_those_of_the_plain_layer(outputs, inputs, rows, bias, dtype):
    if not packs(dtype):
        return
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias).to(dtype)
    x = torch.randn(*rows, inputs).to(dtype)
    with torch.inference_mode():
        layer = PackedLinear(plain.weight, plain.bias)
        made, exact = layer(x), plain.float()(x.float())
    assert made.shape == exact.shape
    assert made.dtype is dtype
    near = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(made.float(), exact, rtol=near, atol=near)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_packed_weight_can_be_had_back_to_the_bit(dtype):
    if not packs(dtype):
        pytest.skip(f'this CPU has no packed products of {dtype}')
    plain = nn.Linear(300, 500).to(dtype)
    assert torch.equal(PackedLinear(plain.weight).weight.to_dense(), plain.weight)


def test_large_layers_of_both_models_are_packed_and_others_are_not():
    engine = random_engine('mid', 'cpu')
    layers = packed_layers(engine.model)
    assert len(layers) > 8 * 7
    assert all(layer.weight.numel() >= LARGE for layer in layers)
    for part in (engine.model.language, engine.model.vision):
        linear = [module for module in part.modules() if isinstance(module, nn.Linear)]
        assert all(layer.weight.numel() < LARGE for layer in linear)
    told = engine.info.kernels
    assert told == f'{len(layers)} packed layers'
    assert told in introduction(engine.info)


@pytest.mark.parametrize('name', ['streaming-small-budget', 'native-rope', 'recompute'])
def test_golden_traces_hold_with_every_layer_packed(golden, all_packed, name):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32')
    assert len(packed_layers(engine.model)) > 20
    report = compare(Case(golden / name), engine)
    assert report.exact
    assert report.logit_max_diff <= 2e-4


def test_golden_traces_hold_with_packed_layers_in_captured_steps(golden, all_packed, captures):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32')
    assert compare(Case(golden / 'streaming-small-budget'), engine).exact
    assert captures.replays


def test_a_packed_model_is_the_same_model(golden, all_packed):
    """To a memory that was saved, and to the floor of its time."""
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32')
    plain = load(golden / 'checkpoint', 'cpu', 'float32')
    assert packed_layers(engine.model)
    assert engine.model.identity == plain.identity
    assert Costs.of(engine.model).weight_bytes == Costs.of(plain).weight_bytes


def test_each_plain_weight_is_free_as_soon_as_it_is_packed(golden, all_packed, monkeypatch):
    model = load(golden / 'checkpoint', 'cpu', 'float32')
    modules = [*model.language.modules(), *model.vision.modules()]
    plain = [weakref.ref(module) for module in modules if isinstance(module, nn.Linear)]
    modules.clear()
    there, blocks = [], packed._blocks
    monkeypatch.setattr(
        packed,
        '_blocks',
        lambda weight: there.append(sum(layer() is not None for layer in plain)) or blocks(weight),
    )
    pack(model)
    left = list(range(len(plain), 0, -1))
    assert all(count <= most + 1 for count, most in zip(there, left, strict=True))
    assert there[-1] <= 2


@pytest.mark.parametrize('fault', ['missing', 'refused', 'wrong'])
def test_where_packed_products_do_not_run_or_are_wrong_layers_stay_as_they_are(
    golden, all_packed, monkeypatch, fault
):
    def broken(x, weight, bias):
        if fault == 'missing':
            raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")
        if fault == 'refused':
            raise RuntimeError('could not create a primitive')
        return torch.zeros(*x.shape[:-1], weight.shape[0], dtype=x.dtype)

    monkeypatch.setattr(packed, '_product', broken)
    monkeypatch.setattr(packed, 'packs', packs.__wrapped__)  # without what is known
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32')
    assert packed_layers(engine.model) == []
    assert engine.info.kernels == ''
    engine.open(small()).step(noise(0), 0)
