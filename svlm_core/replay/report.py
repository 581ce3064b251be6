# SPDX-License-Identifier: Apache-2.0
"""The report of a replay as plain data: what stands in report.json, and what the page shows.

All that another run of the same bag may give differently stands under `timing`; the rest of a
deterministic replay is the same from run to run.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

from svlm_core.bags.reader import Bag, Topic
from svlm_core.bags.types import SECOND
from svlm_core.config import StreamSettings
from svlm_core.errors import OutputError, SourceError
from svlm_core.records import Record
from svlm_core.replay.agreement import Agreement, agreement
from svlm_core.replay.feed import Feed
from svlm_core.replay.outputs import JSONL, REPORT
from svlm_core.replay.references import Reference
from svlm_core.replay.run import Run, Second
from svlm_core.timeline import lines_of, percentile

FORMAT = 1  # of report.json
GAPS = 100  # at most this many are listed
GAP = 1.5  # frames are missing where stamps lie this many usual periods apart
LIBRARIES = ('svlm', 'torch', 'transformers', 'numpy', 'av', 'rosbags')


@dataclass(frozen=True)
class Setup:
    """What was replayed, and with what."""

    bag: Bag
    topic: Topic
    decoder: str
    engine: Any  # svlm_core.engine.EngineInfo
    settings: StreamSettings
    capacity: int
    memory_bytes: int


@dataclass(frozen=True)
class Other:
    """A run to compare with: its report and its records."""

    name: str
    report: dict[str, Any]
    records: tuple[Record, ...]

    @property
    def texts(self) -> dict[int, str]:
        """What was said, by round."""
        return {record.sequence: record.text for record in self.records}


def read_other(folder: Path) -> Other:
    """The run in `folder`. Raises SourceError when there is none that can be read."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding='utf-8'))
        lines = lines_of((folder / JSONL).read_text(encoding='utf-8'))
        records = tuple(Record.from_json(line) for line in lines)
    except (OSError, ValueError, OutputError) as error:
        raise SourceError(f'{folder} holds no run to compare with: {error}') from error
    if not isinstance(report, dict) or report.get('format') != FORMAT:
        raise SourceError(f'{folder} holds no run to compare with: its report is of another kind')
    return Other(str(folder), report, records)


def build(
    setup: Setup,
    feed: Feed,
    run: Run,
    problems: Sequence[str],
    *,
    complete: bool,
    reference: Reference | None,
    other: Other | None,
) -> dict[str, Any]:
    """The report; `problems` are lines to be told, `complete`: all of the bag was replayed."""
    said = {second.record.sequence: second.record.text for second in run.seconds}
    origin, length = (run.origin or 0) / SECOND, setup.settings.chunk_seconds
    bag = _bag(setup.bag)
    return {
        'format': FORMAT,
        'complete': complete,
        'problems': list(problems),
        'mode': 'realtime' if feed.realtime else 'deterministic',
        'bag': bag,
        'topic': {
            'name': setup.topic.name,
            'type': setup.topic.type,
            'encoding': feed.camera.encoding,
            'decoder': setup.decoder,
        },
        'engine': asdict(setup.engine),
        'settings': asdict(setup.settings),
        'versions': versions(),
        'camera': camera(feed),
        'frames': frames(feed),
        'rounds': rounds(run),
        'tokens': sum(second.record.tokens for second in run.seconds),
        'memory': {
            'capacity': setup.capacity,
            'bytes': setup.memory_bytes,
            'held': [second.held for second in run.seconds],
        },
        'reference': reference and _against(said, reference, origin, length),
        'compared': other and _compared(said, other, bag),
        'timing': timing(run, length),
    }


def camera(feed: Feed) -> dict[str, Any]:
    """Rate, jitter and gaps of the camera, from the stamps of its frames."""
    stamps = feed.camera.stamps
    steps = [(after - before) / SECOND for before, after in pairwise(stamps)]
    usual = median(steps) if steps else 0.0
    gaps = [
        {'after': (stamps[i] - stamps[0]) / SECOND, 'missed': round(step / usual) - 1}
        for i, step in enumerate(steps)
        if step > GAP * usual
    ]
    duration = sum(steps)
    return {
        'frame_id': feed.camera.frame_id,
        'duration': duration,
        'rate': len(steps) / duration if duration else None,
        'usual_rate': 1 / usual if usual else None,
        'jitter': pstdev(steps) if steps else None,
        'longest_step': max(steps, default=None),
        'missed': sum(gap['missed'] for gap in gaps),
        'gaps': gaps[:GAPS],
        'zero_stamps': feed.camera.zero_stamps,
        'per_second': _per_second([(stamp - stamps[0]) / SECOND for stamp in stamps]),
    }


def frames(feed: Feed) -> dict[str, int]:
    """The account of all frames: received = used + dropped, and why those were dropped."""
    counts = feed.mailbox.counts
    dropped = counts.dropped + counts.pending
    return {
        'received': counts.received,
        'used': counts.used,
        'dropped': dropped,
        'repeated': counts.repeated,
        'dropped_between_samples': counts.unsampled,
        'dropped_for_newer': counts.skipped,
        'dropped_out_of_order': counts.stale,
        'dropped_unreadable': counts.unreadable,
        'dropped_at_the_end': counts.pending,
    }


def rounds(run: Run) -> dict[str, Any]:
    """How many rounds there were, and the numbers of those without a caption."""
    numbers = sorted({second.record.sequence for second in run.seconds} | run.lost.keys())
    skipped = [
        [before + 1, after - 1] for before, after in pairwise([-1, *numbers]) if after - before > 1
    ]
    return {
        'captioned': len(run.seconds),
        'with_words': sum(bool(second.record.text) for second in run.seconds),
        'late': sum(second.record.late for second in run.seconds),
        'lost': sorted(run.lost),
        'skipped': sum(last - first + 1 for first, last in skipped),
        'skipped_ranges': skipped[:GAPS],
    }


def timing(run: Run, length: float) -> dict[str, Any]:
    """What this machine needed, in seconds and bytes; rounds are `length` seconds long."""
    latencies = [second.latency for second in run.seconds]
    spent = sum(second.spent for second in run.seconds)
    decode = sum(second.stages.get('decode', 0.0) for second in run.seconds)
    tokens = sum(second.record.tokens for second in run.seconds)
    return {
        'finished': datetime.now(UTC).isoformat(timespec='seconds'),
        'wall': run.wall,
        'computing': spent,
        'times_real_time': len(run.seconds) * length / run.wall if run.wall else None,
        'latency': spread(latencies),
        'jitter': spread([abs(b - a) for a, b in pairwise(latencies)]),
        'tokens_per_second': tokens / spent if spent else None,
        'tokens_per_second_decoding': tokens / decode if decode else None,
        'stages': _stages(run.seconds),
        'latency_per_round': latencies,
        'rss_per_round': [second.rss for second in run.seconds],
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """How numbers lie: mean, deviation, quantiles; None without any."""
    if not values:
        return None
    parts = {f'p{part}': percentile(values, part / 100) for part in (50, 90, 99)}
    return {'mean': fmean(values), 'std': pstdev(values), **parts, 'max': max(values)}


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries whose results these are."""
    found = {'python': platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = 'not installed by pip'
    return found


def _bag(bag: Bag) -> dict[str, Any]:
    """The files of a bag and their hashes; of several, one hash over these in order."""
    files = []
    for file in bag.files:
        with file.open('rb') as data:
            digest = hashlib.file_digest(data, 'sha256').hexdigest()
        files.append({'name': file.name, 'bytes': file.stat().st_size, 'sha256': digest})
    together = hashlib.sha256(''.join(str(row['sha256']) for row in files).encode()).hexdigest()
    return {
        'path': str(bag.path),
        'files': files,
        'sha256': files[0]['sha256'] if len(files) == 1 else together,
    }


def _against(
    said: dict[int, str], reference: Reference, origin: float, length: float
) -> dict[str, Any]:
    found: Agreement = agreement(said, texts := reference.texts(origin, length, set(said)))
    return {'name': reference.name, 'agreement': asdict(found), 'texts': texts}


def _compared(said: dict[int, str], other: Other, bag: dict[str, Any]) -> dict[str, Any]:
    return {
        'run': other.name,
        'same_bag': other.report['bag']['sha256'] == bag['sha256'],
        'same_captions': other.texts == said,
        'agreement': asdict(agreement(said, other.texts)),
    }


def _stages(seconds: Sequence[Second]) -> dict[str, dict[str, float] | None]:
    names = dict.fromkeys(stage for second in seconds for stage in second.stages)
    return {name: spread([s.stages.get(name, 0.0) for s in seconds]) for name in names}


def _per_second(moments: Sequence[float]) -> list[int]:
    """How many frames were stamped in each second of stream; empty past a day without frames."""
    counts = [0] * (int(moments[-1]) + 1) if moments and moments[-1] < 86_400 * 30 else []
    for moment in moments if counts else ():
        counts[int(moment)] += 1
    return counts
