# SPDX-License-Identifier: Apache-2.0
"""What the node says of its own health on `/diagnostics`, once a second.

A status message and the one a second before it go in, a level with its reasons comes out. Nothing
here knows how the node works.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from svlm.msg import Status

from svlm_ros.messages import Activity, nanoseconds
from svlm_ros.parameters import NodeSettings

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how bad it is, and why."""

    level: bytes
    reason: str


def judged(value: float, warn: float, error: float, reason: str) -> Finding:
    """A value against its two thresholds; NaN, which is no value yet, is fine."""
    level = ERROR if value > error else WARN if value > warn else OK
    return Finding(level, reason)


def findings(
    status: Status, before: Status | None, activity: Activity, settings: NodeSettings
) -> list[Finding]:
    """Everything that was looked at, good or bad."""
    if status.state == Status.FAILED:
        return [Finding(ERROR, status.last_error)]
    if status.state in (Status.INACTIVE, Status.LOADING, Status.PAUSED):
        return [Finding(OK, status.state)]
    age, lost = status.frame_age, lost_share(status, before)
    slow = percentile(activity.latencies, 99)
    found = [
        judged(
            age,
            settings.warn_frame_age,
            settings.error_frame_age,
            f'no frame for {age:.1f} s',
        ),
        judged(
            slow,
            settings.warn_latency,
            settings.error_latency,
            f'captions take {slow:.1f} s (p99)',
        ),
        judged(
            lost,
            settings.warn_lost,
            settings.error_lost,
            f'{lost:.0%} of the frames are lost before the node',
        ),
    ]
    if math.isnan(age):
        found.append(Finding(WARN, 'no frame has come yet'))
    skipped = 0 if before is None else status.rounds_skipped - before.rounds_skipped
    if skipped > 0:
        found.append(Finding(WARN, f'{skipped} rounds were skipped'))
    if status.shedding:
        found.append(Finding(WARN, status.shedding))
    return found


def entry(
    status: Status, before: Status | None, activity: Activity, settings: NodeSettings
) -> DiagnosticStatus:
    """What there is to say of one camera; `before` is its status of a second ago, if any."""
    found = findings(status, before, activity, settings)
    bad = [finding.reason for finding in found if finding.level != OK]
    return DiagnosticStatus(
        level=max(finding.level for finding in found),
        name=f'svlm captioner: {status.camera}',
        message='; '.join(bad) or status.state,
        hardware_id=status.camera,
        values=[
            KeyValue(key=key, value=text) for key, text in values(status, before, activity).items()
        ],
    )


def report(entries: Sequence[DiagnosticStatus], stamp: Time) -> DiagnosticArray:
    """The message for `/diagnostics`, measured at `stamp`."""
    array = DiagnosticArray(status=entries)
    array.header.stamp = stamp
    return array


def values(status: Status, before: Status | None, activity: Activity) -> dict[str, str]:
    """All figures, as text with their units in the name."""
    figures = {
        'state': status.state,
        'frame age (s)': f'{status.frame_age:.3f}',
        'frames in (Hz)': f'{rate(status, before, "frames_received"):.2f}',
        'frames used (Hz)': f'{rate(status, before, "frames_used"):.2f}',
        'frames dropped (Hz)': f'{rate(status, before, "frames_dropped"):.2f}',
        'frames received': str(status.frames_received),
        'frames used': str(status.frames_used),
        'frames repeated': str(status.frames_repeated),
        'frames dropped': str(status.frames_dropped),
        'frames pending': str(status.frames_pending),
        'frames lost before the node': str(status.frames_lost),
        'frames missing by their stamps': str(status.frames_missing),
        'latency p50 (s)': f'{percentile(activity.latencies, 50):.3f}',
        'latency p99 (s)': f'{percentile(activity.latencies, 99):.3f}',
        **stages(activity),
        'rounds': str(status.rounds),
        'rounds late': str(status.rounds_late),
        'rounds skipped': str(status.rounds_skipped),
        'shedding': status.shedding or 'nothing',
        'resets': str(status.resets),
        'tokens held': str(status.tokens_held),
        'tokens capacity': str(status.tokens_capacity),
        'stream memory (MiB)': f'{status.memory_bytes / MIB:.1f}',
        'process memory, peak (MiB)': f'{peak_memory() / MIB:.0f}',
        'model': status.model,
        'device': status.device,
        'last error': status.last_error,
    }
    gpu = gpu_memory(status.device)
    return figures if gpu is None else {**figures, 'GPU memory (MiB)': f'{gpu / MIB:.0f}'}


def stages(activity: Activity) -> dict[str, str]:
    """Time of computing of each stage of a round, p50 and p99, in the order in which they run."""
    rounds = list(activity.stages)
    names = dict.fromkeys(name for seconds in rounds for name in seconds)
    return {
        f'{name} p{percent} (s)': f'{percentile([r.get(name, 0.0) for r in rounds], percent):.4f}'
        for name in names
        for percent in (50, 99)
    }


def rate(status: Status, before: Status | None, counter: str) -> float:
    """Counts per second between two statuses; NaN without two, or where time stood still."""
    seconds = _seconds(status, before)
    if before is None or seconds <= 0:
        return math.nan
    return (getattr(status, counter) - getattr(before, counter)) / seconds


def lost_share(status: Status, before: Status | None) -> float:
    """Share of the frames since `before` that were lost on the way to the node, 0 to 1."""
    if before is None:
        return 0.0
    lost = max(
        status.frames_lost - before.frames_lost, status.frames_missing - before.frames_missing
    )
    came = status.frames_received - before.frames_received
    return lost / (lost + came) if lost > 0 else 0.0


def percentile(latencies: Iterable[float], percent: float) -> float:
    """A percentile of some latencies (s); NaN of none."""
    known = list(latencies)  # one at a time: another thread may add to them
    return float(np.percentile(known, percent)) if known else math.nan


def peak_memory() -> int:
    """The most bytes of main memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts kibibytes


def gpu_memory(device: str) -> int | None:
    """Bytes that PyTorch has reserved on a GPU; None where the model runs elsewhere."""
    torch = sys.modules.get('torch')
    if torch is None or not device.startswith('cuda'):
        return None
    return int(torch.cuda.memory_reserved(device))


def _seconds(status: Status, before: Status | None) -> float:
    if before is None:
        return 0.0
    return (nanoseconds(status.header.stamp) - nanoseconds(before.header.stamp)) / 1e9
