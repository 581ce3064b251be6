# SPDX-License-Identifier: Apache-2.0
"""A record of a second, as svlm writes it of whoever says something."""

from __future__ import annotations

from svlm_core.records import Record, kind_of


def told(second: float, text: str, camera: str = 'front', **changes: object) -> Record:
    """What is said of a second by a camera that saw all of it; `changes` lie over that."""
    values = {
        'stamp': second + 0.5,
        'frame_id': '',
        'camera': camera,
        'window_start': float(second),
        'sequence': int(second),
        'kind': kind_of(text),
        'text': text,
        'delta': text,
        'done': True,
        'late': False,
        'frames_used': 2,
        'frames_repeated': 0,
        'frames_dropped': 0,
        'tokens': 3,
        'latency': None,
    }
    return Record(**{**values, **changes})
