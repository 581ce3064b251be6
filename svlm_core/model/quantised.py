# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose weights are held in 8 or 4 bits; what they compute stays in 16 or 32.

Decoding a token reads every weight once, so its time is that of their bytes. Reading many tokens
computes instead, and there the kernels for few bits are slow: such layers are widened and
multiplied as they are. 8 bits: a scale for each output. 4 bits: scale and offset for each group of
inputs, w = scale * (q - 8) + zero. Kernels are those of torch; a layer that they do not take, get
wrong, or are slower for, uses the plain product.
Shape legend: T rows, N outputs, K inputs, g inputs of a group.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from svlm_core import gpu
from svlm_core.errors import SettingsError

FEW = 16  # rows up to which weights are read as they are
GROUPS = (128, 64, 32)
HEAD = 'lm_head'
HEAD_BITS = 8  # of the head: a quarter of the bytes of a 4-bit token, and what decides on words
CLOSE = 0.02  # how far a kernel may lie from the plain product, relative to the largest output


class Quantised(nn.Module):
    """What the layers of 8 and 4 bits share."""

    bits: ClassVar[int]
    weight: Tensor  # as it is held

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.fast = False  # whether the kernel for few rows is used

    def forward(self, x: Tensor) -> Tensor:
        out = self._few(x) if self.fast and len(x) <= FEW else self._many(x)
        return out if self.bias is None else out + self.bias

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight (N, K) in full."""
        raise NotImplementedError

    def pack(self, dtype: torch.dtype) -> None:
        """Make ready for the kernel for few rows, if there is one that is right."""
        raise NotImplementedError

    def unpack(self) -> None:
        """Do without the kernel."""
        self.fast = False

    def quick(self, dtype: torch.dtype) -> bool:
        """Whether a GPU takes less time for one row with the kernel than with the plain product.

        A kernel that cannot be captured does not.
        """
        device = self.weight.device
        x = torch.ones(1, self.inputs, dtype=dtype, device=device)
        try:
            few, many = (
                gpu.seconds(partial(product, x), device) for product in (self._few, self._many)
            )
        except RuntimeError:
            return False
        return few < many

    def _many(self, x: Tensor) -> Tensor:
        """The product for any number of rows (T, K), without bias."""
        return functional.linear(x, self.widened(x.dtype))

    def _few(self, x: Tensor) -> Tensor:
        """The product for few rows (T, K), without bias."""
        raise NotImplementedError

    @torch.inference_mode()
    def _right(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether the kernel runs here and agrees with the plain product."""
        x = torch.linspace(-1, 1, 2 * self.inputs, device=device).view(2, -1).sin().to(dtype)
        try:
            found = self._few(x).float()
        except RuntimeError:  # not for this device, type or size
            return False
        expected = functional.linear(x.float(), self.widened(torch.float32))
        return bool((found - expected).abs().max() <= CLOSE * expected.abs().max())


class Int8Linear(Quantised):
    """8 bits a weight, one scale for each output."""

    bits = 8

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias)
        self.register_buffer('weight', torch.empty(outputs, inputs, dtype=torch.int8))
        self.register_buffer('weight_scale', torch.empty(outputs))
        self.weight: Tensor  # (N, K) int8
        self.weight_scale: Tensor  # (N,)

    @staticmethod
    def parts(weight: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """The buffers for a weight (N, K); scales in `dtype`, which rounding heeds."""
        wide = weight.float()
        scale = _sound(wide.abs().amax(1) / 127).to(dtype)
        levels = (wide / scale.float()[:, None]).round().clamp(-127, 127)
        return {'weight': levels.to(torch.int8), 'weight_scale': scale}

    def widened(self, dtype: torch.dtype) -> Tensor:
        return self.weight.to(dtype) * self.weight_scale.to(dtype)[:, None]

    def pack(self, dtype: torch.dtype) -> None:
        device = self.weight.device
        # On CPUs the kernel is fast for bfloat16 alone, and for others slower than the product.
        wanted = dtype is torch.bfloat16 or device.type == 'cuda'
        self.fast = wanted and self._right(dtype, device)

    def _many(self, x: Tensor) -> Tensor:
        if x.dtype is torch.float16:  # sums of whole levels may be too large for it
            return super()._many(x)
        # To scale the outputs, not the weights, writes and reads these once less.
        return functional.linear(x, self.weight.to(x.dtype)) * self.weight_scale.to(x.dtype)

    def _few(self, x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x, self.weight, self.weight_scale)


class Int4Linear(Quantised):
    """4 bits a weight, scale and offset for each group of inputs."""

    bits = 4

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias)
        self.group = group_of(inputs)
        pairs = inputs // self.group, outputs, 2
        self.register_buffer('weight', torch.empty(outputs, inputs // 2, dtype=torch.uint8))
        self.register_buffer('weight_scale_zero', torch.empty(pairs))
        self.register_buffer('_packed', None, persistent=False)
        self.weight: Tensor  # (N, K / 2) uint8, the first of two inputs in the high bits
        self.weight_scale_zero: Tensor  # (K / g, N, 2)
        self._packed: Tensor | None  # as the kernel of the device wants it

    @staticmethod
    def parts(weight: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """The buffers for a weight (N, K); scales and offsets in `dtype`, which rounding heeds."""
        groups = weight.float().unflatten(1, (-1, group_of(weight.shape[1])))  # (N, K / g, g)
        low, high = groups.amin(-1), groups.amax(-1)
        scale = _sound((high - low) / 15).to(dtype)
        zero = (low + 8 * scale.float()).to(dtype)
        levels = (groups - zero.float()[..., None]) / scale.float()[..., None] + 8
        q = levels.round().clamp(0, 15).flatten(1).to(torch.uint8)  # (N, K)
        return {
            'weight': q[:, ::2] << 4 | q[:, 1::2],
            'weight_scale_zero': torch.stack([scale, zero], -1).transpose(0, 1).contiguous(),
        }

    def widened(self, dtype: torch.dtype) -> Tensor:
        scale, zero = self.weight_scale_zero.to(dtype).transpose(0, 1).split(1, -1)  # (N, K/g, 1)
        q = self._levels().to(dtype).unflatten(1, (-1, self.group))
        return ((q - 8) * scale + zero).flatten(1)

    def pack(self, dtype: torch.dtype) -> None:
        device = self.weight.device
        try:
            if device.type == 'cuda':
                self._packed = torch._convert_weight_to_int4pack(self.weight, 8)
            else:
                levels = self._levels().int()
                self._packed = torch._convert_weight_to_int4pack_for_cpu(levels, 1)
        except RuntimeError:  # not for this device or size
            return
        self.fast = self._right(dtype, device)
        if not self.fast:
            self.unpack()

    def unpack(self) -> None:
        super().unpack()
        self._packed = None

    def _few(self, x: Tensor) -> Tensor:
        assert self._packed is not None
        given = x, self._packed, self.group, self.weight_scale_zero
        if x.device.type == 'cuda':
            return torch._weight_int4pack_mm(*given)
        return torch._weight_int4pack_mm_for_cpu(*given)

    def _levels(self) -> Tensor:
        """The 4 bits of each weight (N, K) uint8."""
        return torch.stack([self.weight >> 4, self.weight & 15], -1).flatten(1)


KINDS: dict[int, type[Int8Linear] | type[Int4Linear]] = {8: Int8Linear, 4: Int4Linear}


def replace_layers(language: nn.Module, bits: int) -> None:
    """Put empty layers of `bits` in the place of all linear layers of a language model."""
    for name, layer in list(language.named_modules()):
        if isinstance(layer, nn.Linear):
            kind = KINDS[HEAD_BITS if name == HEAD else bits]
            new = kind(layer.in_features, layer.out_features, layer.bias is not None)
            language.set_submodule(name, new)


def pack_layers(language: nn.Module, dtype: torch.dtype) -> None:
    """Make the layers ready, once they hold their weights; warns where no kernel helps.

    On a GPU, layers of each shape are timed once: there are slow kernels.
    """
    quick: dict[tuple[int, int, int], bool] = {}
    for layer in (layers := quantised_layers(language)):
        layer.pack(dtype)
        if not (layer.fast and gpu.replays(layer.weight.device)):
            continue
        shape = layer.bits, layer.outputs, layer.inputs
        if shape not in quick:
            quick[shape] = layer.quick(dtype)
        if not quick[shape]:
            layer.unpack()
    if layers and not any(layer.fast for layer in layers):
        where = f'{str(dtype).removeprefix("torch.")} on {layers[0].weight.device}'
        warnings.warn(
            f'no kernel for few bits is fast in {where}: that saves memory, and words take longer',
            stacklevel=2,
        )


def quantised_layers(language: nn.Module) -> list[Quantised]:
    """The layers of few bits that a language model has."""
    return [layer for layer in language.modules() if isinstance(layer, Quantised)]


def quantise(
    weights: Mapping[str, Tensor], language: nn.Module, bits: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Weights by published name, with those of the linear layers of `language` in `bits`."""
    layers = {
        (name if name == HEAD else f'model.{name}'): HEAD_BITS if name == HEAD else bits
        for name, layer in language.named_modules()
        if isinstance(layer, nn.Linear)
    }
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        layer = name.removesuffix('.weight')
        if layer in layers and name != layer:
            parts = KINDS[layers[layer]].parts(weight, dtype)
            found |= {f'{layer}.{part}': held for part, held in parts.items()}
        else:
            found[name] = weight
    return found


def group_of(inputs: int) -> int:
    """Inputs that share a scale: as many as fit. Raises SettingsError where none do."""
    for group in GROUPS:
        if inputs % group == 0:
            return group
    raise SettingsError(
        f'a layer of {inputs} inputs cannot be held in 4 bits: they must be a multiple of '
        f'{GROUPS[-1]}: take 8 bits'
    )


def _sound(scale: Tensor) -> Tensor:
    """Scales by which one can divide: those of weights that are all equal become 1."""
    return torch.where(scale > 0, scale, 1.0)
