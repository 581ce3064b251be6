# SPDX-License-Identifier: Apache-2.0
"""The order in which a person counts files."""

from __future__ import annotations

import re
from pathlib import Path


def natural(path: Path) -> tuple[list[str | int], str]:
    """Sort key by name: frame2 comes before frame10, and capitals beside small letters."""
    parts = re.split(r'([0-9]+)', path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name
