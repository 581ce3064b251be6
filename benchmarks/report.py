# SPDX-License-Identifier: Apache-2.0
"""What every benchmark prints and writes: a Markdown table, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from svlm_core.benchmark.tables import table
from svlm_core.timeline import write_whole


def machine() -> dict[str, Any]:
    """Where and when something was measured, and what else the machine did then."""
    return {
        'day': date.today().isoformat(),
        'processor': f'{os.cpu_count()}-core {platform.machine()} CPU',
        'load_1min_before': round(os.getloadavg()[0], 2),
    }


def tell(rows: Sequence[Sequence[str]], figures: dict[str, Any], output: Path | None) -> None:
    """Print the table; write the figures to `output`. Raises OutputError when that fails."""
    print(table(rows), flush=True)
    if output is not None:
        write_whole(output, json.dumps(figures, indent=2) + '\n')
