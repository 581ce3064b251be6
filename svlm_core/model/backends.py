# SPDX-License-Identifier: Apache-2.0
"""Which kernel attends: the first that gives the right answer on this very machine.

Whether a kernel runs depends on the GPU, the build of torch, the type and the packages that are
installed; a trial of a millisecond tells more than any list of these.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from svlm_core.errors import SettingsError
from svlm_core.model.attention import BACKENDS, attend

FUSED = ('flash3', 'varlen', 'flash2')  # for 16-bit types on GPUs
PLAIN = 'matmul'
TOLERANCE = 0.02  # of outputs of about 1, in 16 bits
SHAPES = ((1, 40), (1, 200), (24, 96))  # new tokens, and tokens attended over
SPARE = 56  # slots behind those in use


def choose_backend(device: torch.device, dtype: torch.dtype, name: str = 'auto') -> str:
    """The fastest back end that runs there, or the one of this name.

    Raises SettingsError for a name that is unknown, or one that does not run there.
    """
    if name == 'auto':
        return next(n for n in BACKENDS if not verdict(n, device, dtype))
    if name not in BACKENDS:
        raise SettingsError(
            f'attention={name!r} is unknown: choose one of auto, {", ".join(BACKENDS)}'
        )
    if problem := verdict(name, device, dtype):
        raise SettingsError(f'attention={name!r} does not run here: {problem}: choose auto')
    return name


@lru_cache
def verdict(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Why a back end cannot be used there; empty when it can."""
    if name == PLAIN:
        return ''
    if device.type not in {'cpu', 'cuda'}:
        return f'it has not been tried on {device.type}'
    if name in FUSED and (device.type != 'cuda' or dtype.itemsize != 2):
        return 'it is for bfloat16 and float16 on a GPU'
    try:
        apart = max(_apart(name, device, dtype, *shape) for shape in SHAPES)
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines()
        return lines[0] if lines else type(error).__name__
    return '' if apart < TOLERANCE else f'it is wrong by {apart:.2g}'


@torch.inference_mode()
def _apart(name: str, device: torch.device, dtype: torch.dtype, T: int, S: int) -> float:
    """How far a back end lies from the plain product: as called in prefill, and in decoding."""
    draws = torch.Generator().manual_seed(0)
    heads, groups, D = 2, 7, 128
    drawn = torch.randn(S + SPARE, (groups + 2) * heads, D, generator=draws)
    q, k, v = drawn.to(device, dtype).split([groups * heads, heads, heads], dim=1)
    q, keys, values = q[:T], k.contiguous(), v.contiguous()
    length = torch.tensor([S], dtype=torch.int32, device=device)
    expected = attend(q.float(), keys[:S].float(), values[:S].float(), PLAIN)
    found = (
        attend(q, keys[:S], values[:S], name),
        attend(q, keys, values, name, length),
    )
    return max(float((one.float() - expected).abs().max()) for one in found)
