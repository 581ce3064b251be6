# SPDX-License-Identifier: Apache-2.0
"""`svlm quantize`: a checkpoint with weights of fewer bits, and what that costs in quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from svlm_core.errors import OutputError, SettingsError


@dataclass(frozen=True)
class Quantize:
    """Write a checkpoint with weights of 8 or 4 bits.

    A token is as fast as the weights can be read, so fewer bits are faster where a GPU is fast
    enough to use them. Linear layers of the language model get fewer bits (the last one 8), the
    vision tower and the embeddings keep theirs. The new folder is used like any other:
    `svlm caption VIDEO --model DIR`.

    With --measure both models tell a synthetic camera, and it is printed how often they would say
    the same. Measure on what the model is for, too.

      svlm quantize small --bits 4 --model checkpoint-7b
      svlm quantize small --bits 8 --measure
    """

    output: Annotated[Positional[Path], arg(help='new folder for the checkpoint', metavar='DIR')]
    model: Annotated[
        str | None,
        arg(help='checkpoint folder or Hugging Face id; None: the built-in svlm-tiny',
            metavar='MODEL'),
    ] = None  # fmt: skip
    bits: Annotated[Literal[8, 4], arg(help='of a weight')] = 4
    measure: Annotated[
        FlagCreatePairsOff[bool], arg(help='hold it against the model it is made of')
    ] = False
    device: Annotated[
        str, arg(help='to measure on: auto, cpu, cuda, cuda:1, ...', metavar='DEVICE')
    ] = 'auto'
    worlds: Annotated[int, arg(help='to measure: worlds to tell', metavar='NUMBER')] = 4
    seconds: Annotated[int, arg(help='to measure: seconds of each', metavar='NUMBER')] = 120

    def run(self) -> int:
        """Write, measure, print, and return the exit status. Raises SvlmError."""
        if self.output.exists():
            raise OutputError(f'{self.output} exists: name a folder that does not')
        if self.worlds < 1 or self.seconds < 1:
            raise SettingsError('give at least --worlds 1 --seconds 1')
        from svlm_core.card import EMBEDDED
        from svlm_core.commands.console import screen
        from svlm_core.model.checkpoint import resolve
        from svlm_core.model.narrow import write_quantised

        source = EMBEDDED if self.model is None else resolve(self.model)
        before, after = write_quantised(self.output, source, self.bits)
        out = screen()
        out.print(
            f'{self.output}: {after / 2**20:.1f} MiB of weights, {before / 2**20:.1f} before'
        )
        if self.measure:
            out.print(self._measured(source))
        return 0

    def _measured(self, source: Path) -> str:
        from svlm_core.benchmark.agreement import agreement
        from svlm_core.card import suited
        from svlm_core.engine import StreamingVLM

        one = StreamingVLM.from_pretrained(source, self.device)
        other = StreamingVLM.from_pretrained(self.output, self.device)
        settings = suited('robot', source)
        found = agreement(one, other, settings, self.worlds, self.seconds)
        was, now = found.right
        return (
            f'{found.tokens} tokens: {found.same:.1%} would be the same, divergence '
            f'{found.divergence:.4f} nats; told right with true history: {was:.1%} before, '
            f'{now:.1%} now ({self.worlds} synthetic worlds of {self.seconds} s, '
            f'{one.info.dtype} and {other.info.dtype} on {one.info.device})'
        )
