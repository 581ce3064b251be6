# SPDX-License-Identifier: Apache-2.0
"""Which kernel attends: the first that gives the right answer on this very machine.

Whether a kernel runs depends on the GPU, the build of torch, the type and the packages that are
installed; a trial of milliseconds tells more than any list of these.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from svlm_core import gpu
from svlm_core.errors import SettingsError
from svlm_core.model.attention import BACKENDS, FUSED, attend, bounded

PLAIN, PARTED = 'matmul', 'parted'
TOLERANCE = 0.02  # of the largest output, in 16 bits
SHAPES = ((1, 40), (1, 200), (24, 96))  # new tokens, and tokens attended over
FULL = ((1, 13_312), (768, 13_312))  # of a window of 16 s, 720 vision tokens each
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
    if name == PARTED and device.type != 'cpu':
        return 'it is for CPUs'
    shapes = SHAPES if device.type == 'cpu' else SHAPES + FULL
    try:
        for shape in shapes:
            apart = _apart(name, device, dtype, *shape)
            if not apart < TOLERANCE:  # nor when it is no number
                return f'it is wrong by {apart:.2g}'
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines()
        return lines[0] if lines else type(error).__name__
    return ''


@torch.inference_mode()
def _apart(name: str, device: torch.device, dtype: torch.dtype, T: int, S: int) -> float:
    """How far a back end lies from the plain product: as called in prefill, and in decoding.

    Decoding is captured on a GPU, and raises RuntimeError where it cannot be.
    """
    draws = torch.Generator(device).manual_seed(0)
    heads, groups, D = 2, 7, 128
    shape = S + SPARE, (groups + 2) * heads, D
    drawn = torch.randn(shape, generator=draws, device=device).to(dtype)
    q, k, v = drawn.split([groups * heads, heads, heads], dim=1)
    q = 4 * q[:T]  # 4: few of many keys decide
    keys, values = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (k, v))  # as cached
    keys[S:], values[S:] = 100, 100  # nobody may see them
    length = torch.tensor([S], dtype=torch.int32, device=device)

    def prefill() -> Tensor:
        return attend(q, keys[:S], values[:S], name)

    def decode() -> Tensor:
        return attend(q, keys, values, name, bounded(length, len(keys), name))

    found = [prefill()]
    if T == 1:
        found.append((gpu.capture(decode, device) if gpu.replays(device) else decode)())
    # The first and the last rows of many tell enough, and take less room.
    some = min(T, 24)
    first = _plain(q[:some], keys[: S - T + some], values[: S - T + some])
    last = _plain(q[-some:], keys[:S], values[:S])
    expected = torch.cat([first, last])  # (2 * some, Hq, D) float32
    ends = [torch.cat([one[:some], one[-some:]]).float() for one in found]
    apart = (torch.stack(ends) - expected).abs().max() / expected.abs().max()
    return float(apart)


def _plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attend(q.float(), k.float(), v.float(), PLAIN)
