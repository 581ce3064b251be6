# SPDX-License-Identifier: Apache-2.0
"""How much memory a device has left."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path('/proc/meminfo')


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a device says it has free; None where it does not tell."""
    on_gpu = device.type == 'cuda'
    # A GPU without memory of its own takes the host's, and counts what the host can give up.
    if on_gpu and not torch.cuda.get_device_properties(device).is_integrated:
        return int(torch.cuda.mem_get_info(device)[0])
    if (on_gpu or device.type == 'cpu') and MEMINFO.is_file():
        fields = dict(line.split(':') for line in MEMINFO.read_text().splitlines())
        return 1024 * int(fields['MemAvailable'].split()[0])
    return None
