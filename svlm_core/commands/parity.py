# SPDX-License-Identifier: Apache-2.0
"""`svlm parity`: is this the algorithm of the published system, to the token?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Parity:
    """Replay a golden trace of the published system.

    Prints every difference, as one JSON line. The replay runs free: frames and settings go in,
    and only then is the trace compared. The exit status is 0 when all seconds were replayed, ids
    agree, positions agree exactly and logits to 2e-4 (float32 on the CPU).
    """

    case: tyro.conf.Positional[Path]
    """Folder with case.json and trace.npz."""
    checkpoint: Path | None = None
    """Model the trace was made with; default: the folder 'checkpoint' beside the case."""
    attention: str = 'auto'
    """Back end of attention, as svlm doctor lists them; auto: the fastest."""

    def run(self) -> int:
        """Replay, print, and return the exit status."""
        from svlm_core.engine import StreamingVLM
        from svlm_core.parity import Case, compare

        case = Case(self.case)
        checkpoint = self.checkpoint or self.case.resolve().parent / 'checkpoint'
        engine = StreamingVLM.from_pretrained(checkpoint, 'cpu', 'float32', self.attention)
        report = compare(case, engine)
        print(report.to_json())
        return 0 if report.exact else 1
