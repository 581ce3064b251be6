# SPDX-License-Identifier: Apache-2.0
"""`svlm selftest`: a minute that tells whether memory and speed are what they should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from svlm_core.commands.engine_flags import EngineFlags, introduction, load_engine
from svlm_core.errors import SettingsError


@dataclass(frozen=True)
class Selftest:
    """Let the model tell a synthetic camera whose truth is known, and say how it does.

    It takes about a minute with the built-in model. A model that does not know the synthetic
    world is tried for speed and for its reuse gap alone: how often keys that are taken over from
    earlier rounds make it say something else than if all were encoded anew.

    The exit status is 0 when nothing is at fault.
    """

    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)
    worlds: Annotated[int, arg(help='how many worlds are told', metavar='NUMBER')] = 8
    seconds: Annotated[int, arg(help='seconds of each', metavar='SECONDS')] = 120
    world: Annotated[int, arg(help='which world comes first', metavar='NUMBER')] = 0

    def run(self) -> int:
        """Print the findings and return the exit status. Raises SvlmError."""
        if self.worlds < 1 or self.seconds < 60 or self.world < 0:
            raise SettingsError('give at least --worlds 1 --seconds 60 --world 0')
        settings = self.engine.settings()
        if settings.policy != 'streaming' or not settings.vision_rounds:
            raise SettingsError('selftest is about policy streaming with a vision window')
        from svlm_core.commands.console import marked, screen
        from svlm_core.evaluation.selftest import selftest
        from svlm_core.synthetic.story import seed_to_test

        flags, console, fault = self.engine, screen(), False
        engine = load_engine(flags.model, flags.device, flags.dtype)
        console.print(introduction(engine.info))
        seeds = [seed_to_test(self.world + n) for n in range(self.worlds)]
        for found in selftest(engine, settings, seeds, self.seconds):
            console.print(marked(found.ok, found.what, found.found))
            fault = fault or found.ok is False
        return int(fault)
