# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose weights lie as a CPU multiplies them fastest: in the blocks of oneDNN.

As published they lie row by row. So a CPU reads them at half of what its memory gives, or less,
and in float32 torch hands them to another library, which on some CPUs takes twice as long. The
operations are those that torch compiles models to; they have no public name, so they are tried
once, and where they do not run or are wrong the layers stay as they are.
Shape legend: N outputs, K inputs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from svlm_core.model.checkpoint import Model

ROWS = 256  # that the blocks are chosen for; for a single one they do as well
LARGE = 2**16  # weights from which on it pays: smaller ones stay in the cache of a core
CLOSE = {2: 1e-2, 4: 1e-5}  # how far it may err, of the largest output, by bytes of a number


class PackedLinear(nn.Module):
    """A linear layer that cannot learn: its weight (N, K) has no order that others could read."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.in_features = weight.shape[1]
        self.register_buffer('weight', _blocks(weight.detach()))
        self.register_buffer('bias', None if bias is None else bias.detach())
        self.weight: Tensor  # (N, K); `to_dense` gives it back to the bit
        self.bias: Tensor | None  # (N,)

    def forward(self, x: Tensor) -> Tensor:
        return _product(x, self.weight, self.bias)


def pack(model: Model) -> None:
    """Pack the large linear layers of a model that will only be read, where a CPU runs it."""
    if model.device.type != 'cpu' or not packs(model.dtype):
        return
    for part in (model.language, model.vision):
        # Names alone, so that each weight is free as soon as it is packed.
        for name in [name for name, layer in part.named_modules() if _pays(layer)]:
            layer = part.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            part.set_submodule(name, PackedLinear(layer.weight, layer.bias))


def packed_layers(model: Model) -> list[PackedLinear]:
    """The packed layers that a model has."""
    modules = chain(model.language.modules(), model.vision.modules())
    return [module for module in modules if isinstance(module, PackedLinear)]


def _pays(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and layer.weight.numel() >= LARGE


@lru_cache
@torch.inference_mode()
def packs(dtype: torch.dtype) -> bool:
    """Whether products with packed weights run on this CPU, and are right."""
    weight = torch.linspace(-9, 9, 320 * 512).view(320, 512).sin().to(dtype)  # (N, K)
    bias, rows = weight[:, 0].contiguous(), weight[:40].cos()  # (N,), (40, K)
    expected = functional.linear(rows.float(), weight.float(), bias.float())
    try:
        found = [_product(x, _blocks(weight), bias) for x in (rows, rows[:1])]
    except (AttributeError, RuntimeError):  # another build of torch, or not for this CPU or type
        return False
    apart = max((x.float() - expected[: len(x)]).abs().max() for x in found)
    return bool(apart <= CLOSE[dtype.itemsize] * expected.abs().max())


def _blocks(weight: Tensor) -> Tensor:
    """A weight (N, K) in the order that products with it want."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a linear layer makes of `x` (..., K): (..., N)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
