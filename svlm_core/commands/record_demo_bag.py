# SPDX-License-Identifier: Apache-2.0
"""`svlm record-demo-bag`: a small bag of the synthetic camera, to try `svlm replay` with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from svlm_core.bags import require_rosbags


@dataclass(frozen=True)
class RecordDemoBag:
    """Record a bag of the synthetic camera, for `svlm replay` and `ros2 bag play`.

    The same flags give the same bag, byte for byte. The folder appears when it is complete.

      svlm record-demo-bag demo_bag
      svlm replay demo_bag --output demo_replay
    """

    folder: Annotated[Positional[Path], arg(help='the bag to make', metavar='DIR')]
    seconds: Annotated[float, arg(help='seconds of stream', metavar='SECONDS')] = 20
    seed: Annotated[int, arg(help='which synthetic world', metavar='NUMBER')] = 0
    rate: Annotated[float, arg(help='frames per second', metavar='RATE')] = 10
    width: Annotated[int, arg(help='pixels', metavar='PIXELS')] = 224
    height: Annotated[int, arg(help='pixels', metavar='PIXELS')] = 224
    storage: Annotated[Literal['mcap', 'db3'], arg(help='format of the file in the bag')] = 'mcap'
    compressed: Annotated[bool, arg(help='JPEG rather than raw pixels')] = False

    def run(self) -> int:
        """Record and return the exit status. Raises SvlmError."""
        require_rosbags()
        from svlm_core.bags.demo import DemoBag, record_demo_bag

        folder = record_demo_bag(
            self.folder,
            DemoBag(
                float(self.seconds),
                self.seed,
                float(self.rate),
                self.width,
                self.height,
                self.storage,
                self.compressed,
            ),
        )
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f'{folder}: {self.seconds:g} s at {self.rate:g} Hz, {size / 1e6:.1f} MB')
        return 0
