# SPDX-License-Identifier: Apache-2.0
"""The one sentence that must stand over captions which mean nothing, or may."""

from __future__ import annotations


def untrained(model: str, trained: bool) -> str:
    """What must stand over every caption of `model`; empty for a trained one."""
    return '' if trained else f'UNTRAINED: {model} has random weights, its captions mean nothing'
