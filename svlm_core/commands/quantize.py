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
    the same, and how fast. --also adds the model in other types. Measure on what the model is for,
    too.

      svlm quantize small --bits 4 --model checkpoint-7b
      svlm quantize small --bits 8 --measure --also bfloat16 float16
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
    dtype: Annotated[
        str, arg(help='to measure in: auto, float32, bfloat16 or float16', metavar='DTYPE')
    ] = 'auto'
    also: Annotated[
        tuple[Literal['float32', 'bfloat16', 'float16'], ...],
        arg(help='to measure: the model as it is in these types, too'),
    ] = ()
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
        from svlm_core.benchmark.agreement import agreements, paces, told_right
        from svlm_core.benchmark.tables import table
        from svlm_core.card import suited
        from svlm_core.engine import StreamingVLM

        one = StreamingVLM.from_pretrained(source, self.device, self.dtype)
        others = [StreamingVLM.from_pretrained(source, self.device, kind) for kind in self.also]
        others.append(StreamingVLM.from_pretrained(self.output, self.device, self.dtype))
        engines, given = [one, *others], (suited('robot', source), self.worlds, self.seconds)
        found = agreements(one, others, *given)
        right = [f'{told_right(engine, *given):.1%}' for engine in engines]
        speed = [f'{1000 * pace:.2f} ms' for pace in paces(engines)]
        same = [
            ('', ''),
            *((f'{other.same:.1%}', f'{other.divergence:.4f} nats') for other in found),
        ]
        rows = [
            [engine.info.dtype, *told, *rest]
            for engine, told, *rest in zip(engines, same, right, speed, strict=True)
        ]
        head = ['', 'would be the same', 'divergence', 'told right', 'decoding a token']
        return (
            f'{table([head, *rows])}\n{found[0].tokens} tokens in {self.worlds} synthetic worlds '
            f'of {self.seconds} s on {one.info.device}, told right with true history; decoding: '
            'medians with the window full, in turns'
        )
