# SPDX-License-Identifier: Apache-2.0
"""The small layers of the language model and the vision tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension: taken in float32, cast back."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != 'cpu' or torch.is_grad_enabled():
            return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # On a CPU torch takes nine passes for it, and one for the layer norm, which does the same
        # to what has the mean 0.
        both = torch.cat([x, -x], dim=-1)
        normed = functional.layer_norm(both, both.shape[-1:], eps=self.eps)
        return normed[..., : x.shape[-1]] * self.weight


class GatedMLP(nn.Module):
    """Feed-forward layer whose SiLU gate scales what goes up before it comes down."""

    def __init__(self, size: int, inner: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size, inner, bias=bias)
        self.up_proj = nn.Linear(size, inner, bias=bias)
        self.down_proj = nn.Linear(inner, size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class MLP(nn.Module):
    """Feed-forward layer of two steps with a quick GELU between: x * sigmoid(1.702 x)."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, inner)
        self.fc2 = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))
