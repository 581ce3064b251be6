# SPDX-License-Identifier: Apache-2.0
"""Does the node keep up with a 30 Hz 1080p camera while its model thinks?

A camera and a captioner, each a process, and this one, which calls services. First with an engine
that sleeps 0.4 s a round and leaves the interpreter free, as while a GPU works; then with the
embedded model, on the CPU. Prints a table with the targets. Run it as
`python benchmarks/camera.py` on a machine that does nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from graph import PROFILES, START_UP, Graph
from rcl_interfaces.srv import GetParameters
from report import machine, tell
from round_trips import RoundTrips
from std_srvs.srv import SetBool
from svlm.msg import Status
from svlm.srv import SetQuery

from svlm_core.config import StreamSettings
from svlm_core.timeline import milliseconds, percentile

HERE = Path(__file__).parent
SETTLE = 2.5  # seconds after the last image until a status has counted it
# Type, request and seconds between two calls. Nothing is changed by any of them.
SERVICES = {
    'get_parameters': (GetParameters, GetParameters.Request(names=['fps']), 0.047),
    'pause': (SetBool, SetBool.Request(data=False), 0.19),
    'set_query': (SetQuery, SetQuery.Request(query=StreamSettings().query), 0.71),
}


@dataclass(frozen=True)
class Spread:
    """How some times (s) lie."""

    count: int
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Counts:
    """The captioner's account of images and rounds.

    `lost` never reached it, as the middleware tells or as the stamps show, whichever is more.
    """

    received: int
    used: int
    dropped: int
    pending: int
    lost: int
    rounds: int
    rounds_late: int


@dataclass(frozen=True)
class Found:
    """What was measured with one engine. Computing is in seconds of a core per second."""

    published: int
    counts: Counts
    age: Spread | None  # of the newest frame, when a round begins
    took: Spread | None  # a round
    services: dict[str, Spread | None]  # how long each took to answer
    captioner_cores: float
    camera_cores: float
    camera_behind: float  # seconds by which its latest image came late

    @property
    def unaccounted(self) -> int:
        """Images of which nobody knows what became of them."""
        counts = self.counts
        inside = counts.received - counts.used - counts.dropped - counts.pending
        return abs(inside) + abs(self.published - counts.received - counts.lost)


@dataclass(frozen=True)
class Camera:
    """Measure the captioner under a 1080p camera."""

    seconds: float = 60
    """How long to publish, for each engine."""
    rate: float = 30
    """Images per second."""
    sleep: float = 0.4
    """Seconds that the first engine sleeps in a round."""
    without_profile: bool = False
    """Leave Fast DDS as it comes, without config/fastdds_large_images.xml."""
    output: Path | None = None
    """JSON file for the figures."""

    def run(self) -> None:
        """Measure with both engines, and tell."""
        about = machine()
        sleeps, embedded = self._measure(str(self.sleep)), self._measure('')
        figures: dict[str, Any] = {
            'benchmark': 'camera',
            **about,
            'profile': None if self.without_profile else PROFILES.name,
            'rate': self.rate,
            'seconds': self.seconds,
            'sleeps': asdict(sleeps),
            'embedded': asdict(embedded),
            'missed': missed(sleeps),
        }
        head = f'{self.rate:g} Hz 1080p rgb8, {self.seconds:g} s'
        columns = zip(rows(sleeps), rows(embedded), strict=True)
        body = [(*row, other[-1]) for row, other in columns]
        names = (head, 'target', f'engine that sleeps {self.sleep:g} s', 'embedded model')
        tell([names, *body], figures, self.output)
        print(f'targets missed: {", ".join(missed(sleeps)) or "none"}')

    def _measure(self, engine: str) -> Found:
        """Publish for a while to a captioner with one engine, calling its services."""
        with Graph(None if self.without_profile else PROFILES) as graph:
            noted, sent = graph.folder / 'noted.json', graph.folder / 'sent.json'
            captioner = graph.start(str(HERE / 'camera_captioner.py'), str(noted), engine)
            graph.until(lambda: graph.state == Status.WAITING, 'the captioner')
            program, rate = str(HERE / 'camera_source.py'), str(self.rate)
            source = graph.start(program, rate, str(self.seconds), str(sent))
            graph.until(lambda: 'publishing' in source.log.read_text(), 'the camera')
            computed = captioner.usage().cpu_s
            trips = {
                name: RoundTrips(graph.node, kind, f'captioner/{name}', request, period)
                for name, (kind, request, period) in SERVICES.items()
            }
            patience = 2 * self.seconds + START_UP
            graph.until(lambda: 'published' in source.log.read_text(), 'all images', patience)
            services = {name: spread(trip.stop()) for name, trip in trips.items()}
            computed = captioner.usage().cpu_s - computed
            graph.until(sent.exists, 'the last image')
            graph.spin(SETTLE)
            counts = counted(graph.status)
            captioner.end()
            camera = json.loads(sent.read_text())
            # When the camera has ended, its last image stands in for those that do not come.
            rounds = [n for n in json.loads(noted.read_text()) if n['began'] < camera['ended']]
            return Found(
                published=camera['published'],
                counts=counts,
                age=spread([note['age'] for note in rounds]),
                took=spread([note['took'] for note in rounds]),
                services=services,
                captioner_cores=computed / self.seconds,
                camera_cores=camera['cores'],
                camera_behind=camera['behind'],
            )


def spread(values: Sequence[float]) -> Spread | None:
    """How times lie; None where there are none."""
    if not values:
        return None
    p50, p99 = (percentile(values, part) for part in (0.5, 0.99))
    return Spread(len(values), p50, p99, max(values))


def rows(found: Found) -> list[tuple[str, str, str]]:
    """One column of the table: what it is, what the sleeping engine is to reach, what it was."""
    age, counts, services = found.age, found.counts, found.services
    quick, pause, order = (services[name] for name in SERVICES)
    share = counts.received / found.published
    return [
        ('age of the newest frame as a round begins, median', 'under 40 ms', times(age, 'p50')),
        ('the same, p99; longest', '', times(age, 'p99', 'longest')),
        ('get_parameters answers in, p99', 'within 30 ms', times(quick, 'p99')),
        ('the same, median; longest', '', times(quick, 'p50', 'longest')),
        ('~/pause answers in, p99', 'within 30 ms', times(pause, 'p99')),
        ('the same, median; longest', '', times(pause, 'p50', 'longest')),
        ('~/set_query, between two rounds, median; p99', '', times(order, 'p50', 'p99')),
        ('images published; received', '', f'{found.published}; {counts.received}'),
        ('share received', 'at least 98 %', f'{share:.1%}'),
        ('used; dropped; pending', '', f'{counts.used}; {counts.dropped}; {counts.pending}'),
        ('lost on the way, as the node tells', '', f'{counts.lost}'),
        ('unaccounted for', 'none', f'{found.unaccounted}'),
        ('rounds; late ones', '', f'{counts.rounds}; {counts.rounds_late}'),
        ('a round takes, median; longest', '', times(found.took, 'p50', 'longest')),
        ('cores used by captioner; by camera', '', cores(found)),
        ('latest image left the camera late by', '', milliseconds(found.camera_behind)),
    ]


def missed(found: Found) -> list[str]:
    """The targets that were not reached."""
    age, services = found.age, found.services
    reached = {
        'age': age is not None and age.p50 < 0.04,
        'services': all((s := services[n]) and s.p99 <= 0.03 for n in ('get_parameters', 'pause')),
        'share received': found.counts.received >= 0.98 * found.published,
        'unaccounted': found.unaccounted == 0,
    }
    return [name for name, met in reached.items() if not met]


def cores(found: Found) -> str:
    """What the processes computed."""
    return f'{found.captioner_cores:.2f}; {found.camera_cores:.2f}'


def times(values: Spread | None, *parts: str) -> str:
    """Some parts of a spread, as people read them."""
    if values is None:
        return 'none'
    return '; '.join(milliseconds(getattr(values, part)) for part in parts)


def counted(status: Status) -> Counts:
    """What a status says of frames and rounds."""
    return Counts(
        received=status.frames_received,
        used=status.frames_used,
        dropped=status.frames_dropped,
        pending=status.frames_pending,
        lost=max(status.frames_lost, status.frames_missing),
        rounds=status.rounds,
        rounds_late=status.rounds_late,
    )


if __name__ == '__main__':
    tyro.cli(Camera, description=__doc__).run()
