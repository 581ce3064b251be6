# SPDX-License-Identifier: Apache-2.0
"""`svlm paper`: every table and figure of the paper, beside the published values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from svlm_core.commands.endpoint_flags import EndpointFlags
from svlm_core.errors import SettingsError

if TYPE_CHECKING:
    from svlm_core.evaluation.paper.items import Item
    from svlm_core.evaluation.paper.setup import Setup
    from svlm_core.evaluation.paper.sources import Sources


@dataclass(frozen=True)
class Paper:
    """Run the tables and figures of the paper.

    Without --output it lists them: what each needs, what of it is there, and the command that
    gets the rest. With --output those that can run are run; each writes its rows to a file of its
    name (table-1.json), and report.html shows all beside the published values. With --tiny the
    built-in svlm-tiny and synthetic worlds stand in for everything, on a CPU.

    A run that was broken off goes on where it was; a folder that holds a run with other settings
    is refused. Without --base-url words and events that agree with the reference are counted;
    with it --model judges, as --events-model does events.

      svlm paper
      svlm paper --tiny --output paper-tiny
      svlm paper --weights streamingvlm=DIR --data inf-streams=DIR \\
        --captions gpt-4o-mini=DIR --output paper
    """

    output: Annotated[
        Path | None, arg(help='folder for results; None: only list', metavar='DIR')
    ] = None
    tiny: Annotated[bool, arg(help='svlm-tiny and synthetic worlds stand in')] = False
    items: Annotated[
        tuple[str, ...], arg(help='some of them, as table-1 fig-6; none: all', metavar='ITEM')
    ] = ()
    weights: Annotated[tuple[str, ...], arg(help='checkpoints', metavar='NAME=DIR')] = ()
    data: Annotated[
        tuple[str, ...], arg(help='folders of official files and videos', metavar='NAME=DIR')
    ] = ()
    captions: Annotated[tuple[str, ...], arg(help='captions of others', metavar='NAME=PATH')] = ()
    lab: Annotated[Path, arg(help='with --tiny: folder of training/lab.py', metavar='DIR')] = Path(
        'runs/lab'
    )
    streams: Annotated[int, arg(help='with --tiny: worlds', metavar='NUMBER')] = 2
    seconds: Annotated[int, arg(help='with --tiny: of each world', metavar='NUMBER')] = 144
    seed: Annotated[int, arg(help='which worlds, and draws of the bootstrap')] = 0
    processes: Annotated[
        int, arg(help='with --tiny: processes; 0: one for each core', metavar='NUMBER')
    ] = 0
    device: Annotated[str, arg(help='auto, cpu, cuda, cuda:1, ...', metavar='DEVICE')] = 'auto'
    events_model: Annotated[
        str, arg(help='judges events of LiveSports-3K; empty: --model', metavar='NAME')
    ] = ''
    commentator: Annotated[
        str, arg(help='captions games in place of GPT-4o mini; empty: nobody', metavar='NAME')
    ] = ''
    workers: Annotated[int, arg(help='requests at a time', metavar='NUMBER')] = 4
    judge: Annotated[EndpointFlags, arg(name='')] = field(default_factory=EndpointFlags)

    def run(self) -> int:
        """List or run, and return the exit status. Raises SvlmError."""
        if self.streams < 1 or self.seconds < 12 or self.seed < 0 or self.processes < 0:
            raise SettingsError('give at least --streams 1 --seconds 12 --seed 0 --processes 0')
        if self.workers < 1:
            raise SettingsError('give --workers of at least 1')
        from svlm_core.commands.console import errors, progress, screen
        from svlm_core.evaluation.paper.items import ITEMS
        from svlm_core.evaluation.paper.sources import Sources, named

        if unknown := [name for name in self.items if name not in ITEMS]:
            raise SettingsError(f'no item {unknown[0]!r}: the paper has {", ".join(ITEMS)}')
        sources = Sources(
            weights=named(self.weights, 'weights'),
            data=named(self.data, 'data'),
            captions=named(self.captions, 'captions'),
            endpoints={'gpt-4o-mini': self.commentator} if self.commentator else {},
            lab=self.lab,
        )
        chosen = [ITEMS[name] for name in self.items or ITEMS]
        if self.output is None:
            screen().print(listing(chosen, sources), markup=False)
            return 0
        from svlm_core.evaluation.paper.run import carry_out

        setup = self._setup(self.output, sources)
        with progress(errors(), None) as moved:
            found = carry_out(
                chosen,
                setup,
                lambda name, n, of: moved(100 * n / max(of, 1), f'{name}: {n} of {of} captioned'),
            )
        for content in found:
            gaps = {w: h for gap in content['missing'] for w, h in gap['lacks'].items()}
            print(f'{content["item"]}: {len(content["rows"])} values', flush=True)
            for what, how in gaps.items():
                print(f'  lacks {what}: {how}', flush=True)
            for problem in content['problems']:
                print(f'  problem: {problem}', flush=True)
        print(f'the report is {self.output / "report.html"}', flush=True)
        return int(any(content['problems'] for content in found))

    def _setup(self, output: Path, sources: Sources) -> Setup:
        from svlm_core.evaluation.paper.items import INF, LIVE
        from svlm_core.evaluation.paper.setup import Setup, Voice
        from svlm_core.evaluation.paper.standins import Size

        def voice(model: str) -> Voice:
            flags = replace(self.judge, model=model)
            return Voice(model, flags.base_url, flags.chat(output / 'replies'))

        named = {INF: self.judge.model, LIVE: self.events_model or self.judge.model}
        asked = self.judge.base_url and (self.judge.model or not self.commentator)
        if self.events_model and not asked:
            raise SettingsError('--events-model is a second judge: name --base-url and --model')
        return Setup(
            folder=output,
            sources=sources,
            size=Size(self.streams, self.seconds) if self.tiny else None,
            seed=self.seed,
            processes=(self.processes or os.cpu_count() or 1) if self.tiny else 1,
            device='cpu' if self.tiny else self.device,
            judges={of: voice(model) for of, model in named.items()} if asked else {},
            commentator=voice(self.commentator) if self.commentator else None,
            workers=self.workers if self.judge.base_url else 1,
        )


def listing(items: list[Item], sources: Sources) -> str:
    """The items, what each needs, and what of it is there, in words."""
    from svlm_core.evaluation.paper.sources import lacking, needs

    lines, commands = list[str](), dict[str, str]()
    for item in items:
        wanted = needs(item, sources)
        gone = lacking(wanted, sources)
        lines.append(f'{item.name}: {item.title}')
        lines += [f'  {"--" if need in gone else "ok"} {need}' for need in wanted]
        commands |= {str(need): need.how for need in gone}
    told = [f'  {what}: {how}' for what, how in commands.items()]
    return '\n'.join(
        [
            *lines,
            *(['', 'How to get what is lacking:', *told] if told else []),
            '',
            'A judge is optional: --base-url and --model name one; else agreement is counted.',
            'All of it runs with stand-ins on a CPU: svlm paper --tiny --output DIR',
        ]
    )
