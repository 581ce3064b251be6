# SPDX-License-Identifier: Apache-2.0
"""Processes that work for this one, each on one core; none of them outlives it."""

from __future__ import annotations

import multiprocessing
import os
from threading import Thread

import torch


def begin() -> None:
    """The first that a worker does: keep to one core, and end when its parent does.

    A parent that is killed tells nobody, and its workers would wait for work for good.
    """
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)
