# SPDX-License-Identifier: Apache-2.0
"""Does the node hold after an hour what it held after a minute?

An hour of stream goes through a captioner, a process of its own with the embedded model, in
lock-step and on simulated time: the frames of a second are published, and the next second follows
once its caption has come. Then the node is taken through its life cycle again and again. Prints
what the process holds on the way. Run it as `python benchmarks/hour.py`.
"""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro
from graph import Graph, Usage
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from report import machine, tell
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from svlm.msg import Caption

from svlm_ros.messages import time as to_message

FPS, SIZE = 2, 56  # frames per second of stream; pixels a side
MINUTE = 60  # rounds
BEGIN = 1_700_000_000 * 10**9  # stamp of the first frame, ns
PARAMETERS = {
    'autostart': 'false',
    'use_sim_time': 'true',
    'qos_overrides./image.subscription.reliability': 'reliable',  # lock-step: none may be lost
    'publish_partial': 'false',
    'max_new_tokens': '2',  # an hour is to pass quickly
    'previous_text': 'the red ball moves left and right ' * 400,  # the memory is full at once
}
START = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
RESTART = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE)
END = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)


@dataclass(frozen=True)
class Moment:
    """What the captioner held after so many seconds, and how long captions took before (s)."""

    second: int
    usage: Usage
    tokens: int
    latency: float  # from the last frame of a round to its caption: median of a minute


@dataclass(frozen=True)
class Hour:
    """Watch what a captioner holds through an hour of stream."""

    seconds: int = 3600
    """Length of the stream: whole minutes."""
    cycles: int = 5
    """How often the node is deactivated, activated, cleaned up and configured afterwards."""
    output: Path | None = None
    """JSON file for the figures."""

    def run(self) -> None:
        """Let the hour pass, and tell."""
        about = machine()
        with Graph(None) as graph:
            stream = Stream(graph)
            moments = list(stream.moments(self.seconds))
            cycles = [stream.cycle() for _ in range(self.cycles)]
            status = stream.captioner.end()
        figures: dict[str, Any] = {
            'benchmark': 'hour',
            **about,
            'moments': [asdict(moment) for moment in moments],
            'cycles': [asdict(usage) for usage in cycles],
            'exit_status': status,
        }
        tell(rows(moments, cycles), figures, self.output)


class Stream:
    """A captioner that is shown one second after the other."""

    def __init__(self, graph: Graph) -> None:
        values = [text for pair in PARAMETERS.items() for text in ('-p', ':='.join(pair))]
        self.captioner = graph.start('-m', 'svlm_ros.captioner', '--ros-args', *values)
        self._graph, self._noise = graph, np.random.default_rng(0)
        self._captions: list[Caption] = []
        graph.node.create_subscription(Caption, 'captioner/caption', self._captions.append, 10)
        self._clock = graph.node.create_publisher(Clock, '/clock', 10)
        self._camera = graph.node.create_publisher(Image, 'image', 10)
        self._shown = 0  # seconds
        self._lead(START)

    def moments(self, seconds: int) -> Iterator[Moment]:
        """Show so many seconds; what the captioner holds every minute."""
        latencies = []
        for second in range(1, seconds + 1):
            latencies.append(self._show())
            if second % MINUTE == 0:
                tokens = self._graph.status.tokens_held if self._graph.status else 0
                usage, latency = self.captioner.usage(), median(latencies[-MINUTE:])
                yield Moment(second, usage, tokens, latency)

    def cycle(self) -> Usage:
        """Take the captioner through its life once; what it holds when it captions again."""
        self._lead((*RESTART, *END, *START))
        for _ in range(3):
            self._show()
        return self.captioner.usage()

    def _lead(self, transitions: tuple[int, ...]) -> None:
        for number in transitions:
            request = ChangeState.Request(transition=Transition(id=number))
            if not self._graph.call(ChangeState, 'change_state', request).success:
                sys.exit(f'transition {number} failed: {self.captioner.log.read_text()}')
            self._await_subscription(number == Transition.TRANSITION_ACTIVATE)

    def _await_subscription(self, there: bool) -> None:
        # It is reliable: once it is known here, nothing that is published gets lost.
        known = self._camera.get_subscription_count
        self._graph.until(lambda: bool(known()) is there, 'the subscription')

    def _show(self) -> float:
        """Show one second and wait for its caption; the time that took from its last frame on."""
        known = len(self._captions)
        for number in range(FPS):
            began = time.perf_counter()
            self._publish(self._shown + number / FPS)
        self._graph.until(lambda: len(self._captions) > known, f'second {self._shown}')
        self._shown += 1
        return time.perf_counter() - began

    def _publish(self, second: float) -> None:
        now = to_message(BEGIN + round(second * 10**9))
        self._clock.publish(Clock(clock=now))
        picture = Image(height=SIZE, width=SIZE, step=3 * SIZE, encoding='rgb8')
        picture.header.stamp = now
        picture.data = array.array('B', self._noise.bytes(SIZE * picture.step))
        self._camera.publish(picture)


def rows(moments: list[Moment], cycles: list[Usage]) -> list[tuple[str, ...]]:
    """The table: early and late in the stream, and after the last life cycle."""
    early, late = moments[0], moments[-1]
    usages = early.usage, late.usage, cycles[-1]
    return [
        (
            '',
            *(f'after {moment.second // MINUTE} min' for moment in (early, late)),
            f'after {len(cycles)} life cycles',
        ),
        ('resident memory', *(f'{usage.resident_mib:.1f} MiB' for usage in usages)),
        ('threads', *(f'{usage.threads}' for usage in usages)),
        ('file descriptors', *(f'{usage.descriptors}' for usage in usages)),
        ('tokens held', f'{early.tokens}', f'{late.tokens}', ''),
        ('a caption takes', f'{early.latency * 1e3:.1f} ms', f'{late.latency * 1e3:.1f} ms', ''),
    ]


if __name__ == '__main__':
    tyro.cli(Hour, description=__doc__).run()
