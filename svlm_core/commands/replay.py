# SPDX-License-Identifier: Apache-2.0
"""`svlm replay`: a recorded bag in, captions and a report out, without ROS."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from svlm_core.bags import require_rosbags
from svlm_core.commands.console import caption_line, progress, screen, signals, tell
from svlm_core.commands.engine_flags import EngineFlags, introduction, load_engine
from svlm_core.errors import SettingsError, SvlmError
from svlm_core.mailbox import MAX_AGE
from svlm_core.notice import warning
from svlm_core.timeline import clock

if TYPE_CHECKING:  # the library rosbags is there only with svlm[bags]
    from svlm_core.bags.reader import Bag
    from svlm_core.replay.session import Session


@dataclass(frozen=True)
class Replay:
    """Caption a camera topic of a rosbag2 (.mcap, .db3) and report on it, without ROS.

    Rounds, stamps and captions are those of the live node on a machine that keeps up. The same
    bag gives the same files, byte for byte; what the machine needed stands under `timing` in
    report.json. With --realtime the bag runs at its own pace, late frames are dropped as the node
    does, and latencies are real.

    Written to the output folder: captions.vtt, captions.jsonl, captions (a bag, for
    `ros2 bag play` and Foxglove), report.json, report.html.

      svlm replay patrol_bag --output patrol
      svlm replay patrol.mcap --topic /front/image_raw --output patrol --reference expected.vtt
      svlm replay patrol_bag --output small --vision-window 4 --compare patrol

    Exit status: 0 when all was captioned, 1 after an error (told in one line; what could be read
    is captioned and reported), 130 after Ctrl-C, 143 after SIGTERM.
    """

    bag: Annotated[Positional[Path], arg(help='folder, .mcap or .db3 file', metavar='BAG')]
    output: Annotated[Path, arg(help='folder for captions and report', metavar='DIR')]
    topic: Annotated[
        str | None, arg(help='image topic; None: the only one in the bag', metavar='TOPIC')
    ] = None
    deterministic: Annotated[
        FlagCreatePairsOff[bool], arg(help='caption every round, by no clock: the default')
    ] = False
    realtime: Annotated[
        FlagCreatePairsOff[bool], arg(help='play at the pace of the recording; newest frames win')
    ] = False
    max_frame_age: Annotated[
        float,
        arg(
            help='a frame stands in for missing ones so long; then seconds are skipped',
            metavar='SECONDS',
        ),
    ] = MAX_AGE
    reference: Annotated[
        str | None,
        arg(
            help='compare with a .jsonl, .vtt or .srt file, or with a caption topic of the bag',
            metavar='FILE|TOPIC',
        ),
    ] = None
    compare: Annotated[
        Path | None, arg(help='another output folder, to show beside this run', metavar='DIR')
    ] = None
    overwrite: Annotated[
        FlagCreatePairsOff[bool], arg(help='replace the run in the output folder')
    ] = False
    engine: Annotated[EngineFlags, arg(name='')] = field(default_factory=EngineFlags)

    def run(self) -> int:
        """Replay and return the exit status. Raises SvlmError."""
        require_rosbags()
        from svlm_core.bags.reader import open_bag

        with open_bag(self.bag) as bag:
            try:
                return self._replay(bag)
            except KeyboardInterrupt:
                return 128 + signal.SIGINT

    def _replay(self, bag: Bag) -> int:
        from svlm_core.replay.outputs import prepare
        from svlm_core.replay.references import read_reference
        from svlm_core.replay.report import read_other
        from svlm_core.replay.session import Session

        if self.deterministic and self.realtime:
            raise SettingsError('--deterministic and --realtime exclude each other: give one')
        if self.max_frame_age < 0:
            raise SettingsError(f'--max-frame-age {self.max_frame_age:g} is below 0')
        settings = self.engine.settings()
        topic = bag.image_topic(self.topic)
        reference = None if self.reference is None else read_reference(self.reference, bag)
        other = None if self.compare is None else read_other(self.compare)
        prepare(self.output, overwrite=self.overwrite)
        flags = self.engine
        engine = load_engine(flags.model, flags.device, flags.dtype)
        notice = warning(engine.info)
        tell('\n'.join(filter(None, (introduction(engine.info), notice))))
        session = Session(
            bag,
            topic,
            engine,
            settings,
            realtime=self.realtime,
            max_frame_age=self.max_frame_age,
            notice=notice,
            reference=reference,
            other=other,
        )
        return self._watch(session)

    def _watch(self, session: Session) -> int:
        """Run the session until its end or a signal; report what was done, however it ended."""
        terminal, problem = screen(), None
        with signals() as caught, session.outputs(self.output) as outputs:
            with progress(terminal, session.topic.count) as show:
                try:
                    for second in session.seconds(outputs):
                        end = second.start + session.settings.chunk_seconds
                        if text := second.record.text:
                            terminal.print(caption_line(second.start, end, text))
                        show(session.received, f'{clock(end)}  {second.held} tokens held')
                        if caught:
                            break
                except SvlmError as error:
                    problem = error
            outputs.finish()
            problem = problem or (None if caught else session.nothing())
            session.report(self.output, problem, interrupted=bool(caught))
        tell(session.summary())
        if problem is not None:
            raise problem
        return 128 + caught[0] if caught else 0
