# SPDX-License-Identifier: Apache-2.0
"""The demo: a synthetic camera is captioned over real ROS 2 topics, before your eyes.

    python -m svlm_ros.demo --seconds 30 --output demo_output

It starts the nodes `synthetic_camera` and `captioner` as processes of their own, and records in
its own process what their topics carry: captions as WebVTT and JSON Lines, and a timeline that
shows pictures and captions side by side. It ends after `seconds` of stream, or on Ctrl-C, and
leaves no process behind.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console
from rich.text import Text
from sensor_msgs.msg import Image
from svlm.msg import Caption, Status

from svlm_core.errors import OutputError, SettingsError, SvlmError
from svlm_core.images import tidy
from svlm_core.mailbox import SECOND
from svlm_core.notice import untrained
from svlm_core.records import Kind, Record
from svlm_core.timeline import Picture, milliseconds, picture, write_timeline
from svlm_core.video.writers import JsonlWriter, VttWriter
from svlm_ros.children import Children
from svlm_ros.messages import nanoseconds
from svlm_ros.outputs import LATCHED
from svlm_ros.process import Program, run
from svlm_ros.viewer import caption_line

TOPIC = 'camera/image'
SIZE = 224  # pixels, height and width
REMEMBERED = 10.0  # seconds of camera kept until their caption comes
START_UP = 120.0  # seconds that loading may take
SHOWN = 4  # pictures per second of stream in the timeline, at most
KINDS: dict[int, Kind] = {
    Caption.CAPTION: 'caption',
    Caption.ANSWER: 'answer',
    Caption.ALERT: 'alert',
    Caption.SILENCE: 'silence',
}


@dataclass(frozen=True)
class Demo:
    """Watch a synthetic camera being captioned over ROS 2 topics."""

    seconds: int = 30
    """seconds of stream to show"""
    output: Path = Path('demo_output')
    """folder for captions.vtt, captions.jsonl, timeline.html and the logs of the nodes"""
    model: str = ''
    """folder or hub name of a checkpoint; empty: the model svlm ships with"""
    seed: int = 168
    """which synthetic world; in the default one there is always something to see"""
    rate: float = 10.0
    """frames per second of the camera"""

    def __post_init__(self) -> None:
        if self.seconds < 1 or self.seed < 0 or not 0.5 <= self.rate <= 1000:
            raise SettingsError(
                f'seconds={self.seconds} seed={self.seed} rate={self.rate:g}: seconds must be at '
                'least 1, seed at least 0, and rate between 0.5 and 1000'
            )


class Recorder(Program):
    """Prints, writes and keeps what the topics carry, until `demo.seconds` of stream are done."""

    def __init__(self, demo: Demo, children: Children, console: Console, **options: Any) -> None:
        super().__init__('demo', **options)
        self._demo, self._children, self._console = demo, children, console
        self._began = time.monotonic()
        self._status: Status | None = None
        self._frames: deque[Image] = deque(maxlen=max(2, round(REMEMBERED * demo.rate)))
        self._records: list[Record] = []
        self._pictures: dict[int, list[Picture]] = {}
        self._jsonl = JsonlWriter(demo.output / 'captions.jsonl')
        self._path = demo.output / 'captions.vtt'
        self._path.unlink(missing_ok=True)  # of an earlier demo
        self._vtt: VttWriter | None = None
        self._cues: deque[Record] = deque()  # captions that are not in it yet

    def start(self) -> None:
        """Begin to listen."""
        camera = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, TOPIC, self._on_image, camera)
        self.create_subscription(Caption, 'captioner/caption', self._on_caption, 50)
        self.create_subscription(Status, 'captioner/status', self._on_status, LATCHED)
        self.create_timer(0.2, self._watch)

    def close(self) -> None:
        """Write the timeline and the summary, then destroy the node."""
        self._jsonl.close()
        self._write_cues().close()
        path = self._demo.output / 'timeline.html'
        write_timeline(
            path,
            self._records,
            self._pictures,
            title=f'svlm: {len(self._records)} seconds of a synthetic camera',
            notice=notice(self._status),
            facts=facts(self._demo, self._status),
        )
        self._console.print(summary(self._records, self._demo.output), soft_wrap=True)
        self.destroy_node()

    def _on_image(self, frame: Image) -> None:
        self._frames.append(frame)

    def _on_status(self, status: Status) -> None:
        if status.state == Status.LOADING:
            return  # before a model is loaded there is nothing to say about it
        if self._status is None and (warning := notice(status)):
            self._console.print(Text(warning, 'bold yellow'), soft_wrap=True)
        self._status = status

    def _on_caption(self, caption: Caption) -> None:
        if not caption.done or self.finished.done():
            return
        if not self._records:
            waited = time.monotonic() - self._began
            self._console.print(f'first caption after {waited:.1f} s', style='dim')
        record = to_record(caption)
        self._records.append(record)
        self._pictures[record.sequence] = self._shown(caption)
        try:
            self._jsonl.write(replace(record, delta=record.text))  # one row says it all
            self._cues.append(replace(record, window_start=float(record.sequence)))
            if self._status is not None:
                self._write_cues()
        except OutputError as error:
            self._fail(str(error))
        self._console.print(caption_line(caption), soft_wrap=True)
        if record.sequence + 1 >= self._demo.seconds and not self.finished.done():
            self.finished.set_result(0)

    def _write_cues(self) -> VttWriter:
        """Bring captions.vtt up to date; its head needs the status, so that comes first."""
        if self._vtt is None:
            about = ('svlm demo, synthetic camera', notice(self._status))
            self._vtt = VttWriter(self._path, note='. '.join(filter(None, about)))
        while self._cues:
            self._vtt.write(self._cues.popleft())
        return self._vtt

    def _shown(self, caption: Caption) -> list[Picture]:
        """The frames that the captioner chose: those nearest to its sampling instants."""
        start, end = nanoseconds(caption.window_start), nanoseconds(caption.header.stamp)
        instants = np.linspace(start, end, min(SHOWN, max(1, caption.frames_used)))
        frames = {nanoseconds(frame.header.stamp): frame for frame in self._frames}
        nearest = {min(frames, key=lambda stamp: abs(stamp - t)): t for t in instants if frames}
        reach = SECOND / self._demo.rate  # farther away, the frame itself is forgotten already
        kept = sorted(stamp for stamp, t in nearest.items() if abs(stamp - t) <= reach)
        return [thumbnail(frames[stamp]) for stamp in kept]

    def _watch(self) -> None:
        """End the demo when a node has ended or nothing comes of it."""
        if self.finished.done():
            return
        if child := self._children.dead():
            lines = ''.join(f'\n  {line}' for line in child.last_lines())
            code = child.process.returncode
            self._fail(f'{child.name} ended with status {code}; its last lines:{lines}')
        elif time.monotonic() - self._began > START_UP + 3 * self._demo.seconds:
            self._fail(
                f'{len(self._records)} of {self._demo.seconds} s were captioned in time: see '
                f'{self._demo.output / "captioner.log"}'
            )

    def _fail(self, reason: str) -> None:
        print(f'svlm demo: {reason}', file=sys.stderr)
        self.finished.set_result(1)


def to_record(caption: Caption) -> Record:
    """The row of JSON Lines that has the fields of the message."""
    return Record(
        stamp=nanoseconds(caption.header.stamp) / SECOND,
        frame_id=caption.header.frame_id,
        camera=caption.camera,
        window_start=nanoseconds(caption.window_start) / SECOND,
        sequence=caption.sequence,
        kind=KINDS[caption.kind],
        text=caption.text,
        delta=caption.delta,
        done=caption.done,
        late=caption.late,
        frames_used=caption.frames_used,
        frames_repeated=caption.frames_repeated,
        frames_dropped=caption.frames_dropped,
        tokens=caption.tokens,
        latency=round(caption.latency, 4),  # a float32: more digits would be noise
    )


def thumbnail(frame: Image) -> Picture:
    """A frame of our own camera (rgb8) as a picture of the timeline."""
    pixels = tidy(frame).data.reshape(frame.height, frame.width, 3)
    return picture(nanoseconds(frame.header.stamp) / SECOND, pixels)


def notice(status: Status | None) -> str:
    """What to say where the model has not been trained; empty where it has, or is not known."""
    return '' if status is None else untrained(status.model, status.trained)


def facts(demo: Demo, status: Status | None) -> dict[str, str]:
    """What ran, for the header of the timeline."""
    known = {'camera': f'{SIZE}x{SIZE} rgb8 at {demo.rate:g} Hz, seed {demo.seed}'}
    if status is not None:
        known |= {
            'model': status.model + ('' if status.trained else ' (UNTRAINED)'),
            'preset': f'{status.preset}, policy {status.policy}',
            'query': status.query,
            'device': f'{status.device}, {status.dtype}, {status.attention} attention',
            'memory': f'{status.tokens_held} of {status.tokens_capacity} tokens, '
            f'{status.memory_bytes / 2**20:.1f} MiB',
        }
    versions = f'svlm {version("svlm")}, torch {version("torch")}, rclpy {version("rclpy")}'
    return {**known, 'versions': versions}


def summary(records: list[Record], output: Path) -> str:
    """The last lines of the demo: what was captioned, and where it lies."""
    latencies = [record.latency for record in records if record.latency is not None]
    speed = f', median latency {milliseconds(median(latencies))}' if latencies else ''
    files = ', '.join(str(output / name) for name in ('captions.vtt', 'captions.jsonl'))
    return f'{len(records)} seconds captioned{speed}\n{files}, {output / "timeline.html"}'


def start_nodes(children: Children, demo: Demo) -> None:
    """Start the camera and the captioner."""
    # The world waits for the captioner and for us: what its first seconds tell is asked for later.
    camera = {'seed': demo.seed, 'rate': demo.rate, 'height': SIZE, 'width': SIZE, 'listeners': 2}
    captioner = {'model': demo.model} if demo.model else {}
    for name, values in (('captioner', captioner), ('synthetic_camera', camera)):
        ros = ['--ros-args', '-r', f'image:={TOPIC}']
        for key, value in values.items():
            ros += ['-p', f'{key}:={value}']
        command = [sys.executable, '-m', f'svlm_ros.{name}', *ros]
        children.start(name, command, os.environ)


def keep_to_ourselves() -> str:
    """Choose a ROS domain of our own on this machine, unless one is set; give it back."""
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return os.environ.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randrange(1, 102)))


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 1 where it could not go through."""
    try:
        demo = tyro.cli(Demo, prog='python -m svlm_ros.demo', args=arguments)
        demo.output.mkdir(parents=True, exist_ok=True)
        children = Children(demo.output)
        domain = keep_to_ourselves()
        console = Console(highlight=False)
        console.print(
            f'synthetic camera -> /{TOPIC} -> captioner -> /captioner/caption, for '
            f'{demo.seconds} s of stream (ROS domain {domain})',
            style='dim',
            soft_wrap=True,
        )
        try:
            start_nodes(children, demo)
            return run('demo', lambda: Recorder(demo, children, console), [])
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near, and must be complete
            children.stop()
    except KeyboardInterrupt:
        return 0  # as later, when the nodes run: it was asked for, and all is ended
    except (SvlmError, OSError) as error:
        print(f'svlm demo: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
