# SPDX-License-Identifier: Apache-2.0
"""What the node publishes, built from plain data: svlm/msg/Caption and svlm/msg/Status."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from svlm.msg import Caption, Status

from svlm_core.config import StreamSettings
from svlm_core.mailbox import SECOND, Counts
from svlm_ros.channel import Progress
from svlm_ros.parameters import NodeSettings

REMEMBERED = 300  # latencies, of as many rounds


@dataclass
class Activity:
    """What a camera's stream is doing; the numbers of Status that change from second to second."""

    state: str
    frame_id: str = ''
    rounds: int = 0
    rounds_late: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    stages: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    frame_age: float = float('nan')
    blind: bool = False  # seconds go by without a frame that is fresh enough
    resets: int = 0
    frames_lost: int = 0
    frames_missing: int = 0
    query: str = ''
    pinned: tuple[str, ...] = ()
    shedding: str = ''
    image_backend: str = ''
    last_error: str = ''

    def captioned(self, caption: Caption, progress: Progress) -> None:
        """Take in a finished round."""
        self.rounds += 1
        self.rounds_late += caption.late
        self.latencies.append(caption.latency)
        if progress.stages:
            self.stages.append(progress.stages)
        self.frame_id = caption.header.frame_id

    def heard(self, arrived: int | None, lost: int, missing: int, now: int) -> None:
        """Take in what the input tells at `now` (ns): its newest arrival, frames it never saw."""
        self.frame_age = age(arrived, now)
        self.frames_lost, self.frames_missing = lost, missing


def time(stamp: int) -> Time:
    """Nanoseconds as a message."""
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def nanoseconds(stamp: Time) -> int:
    """A message as nanoseconds."""
    return stamp.sec * SECOND + stamp.nanosec


def age(since: int | None, now: int) -> float:
    """Seconds from `since` to `now` on a clock that may have been set back; NaN for None."""
    return float('nan') if since is None else max(0, now - since) / SECOND


def caption_message(progress: Progress, camera: str, now: int) -> Caption:
    """A caption as it stands at `now` (ns of the node's clock)."""
    taken = progress.round
    newest = taken.frames[-1]
    silent = progress.done and not progress.text
    return Caption(
        header=Header(stamp=time(newest.stamp), frame_id=newest.message.header.frame_id),
        camera=camera,
        window_start=time(taken.origin + round(taken.start * SECOND)),
        sequence=taken.index,
        kind=Caption.SILENCE if silent else Caption.CAPTION,
        text=progress.text,
        delta=progress.delta,
        done=progress.done,
        late=progress.late,
        frames_used=progress.shown,
        frames_repeated=progress.repeated,
        frames_dropped=taken.dropped,
        tokens=progress.tokens,
        latency=(now - newest.stamp) / SECOND,
    )


def status_message(
    now: int,
    camera: str,
    activity: Activity,
    counts: Counts,
    node: NodeSettings,
    settings: StreamSettings,
) -> Status:
    """What is known before a model is loaded; `add_model` tells the rest."""
    return Status(
        header=Header(stamp=time(now), frame_id=activity.frame_id),
        camera=camera,
        model=node.model,
        device=node.device,
        dtype=node.dtype,
        image_backend=activity.image_backend,
        preset=node.preset,
        policy=settings.policy,
        query=activity.query,
        pinned=activity.pinned,
        shedding=activity.shedding,
        state=activity.state,
        rounds=activity.rounds,
        rounds_late=activity.rounds_late,
        rounds_skipped=counts.rounds_blind + counts.rounds_replaced,
        resets=activity.resets,
        latency=activity.latencies[-1] if activity.latencies else float('nan'),
        frame_age=activity.frame_age,
        last_error=activity.last_error,
        frames_received=counts.received,
        frames_used=counts.used,
        frames_repeated=counts.repeated,
        frames_dropped=counts.dropped,
        frames_pending=counts.pending,
        frames_lost=activity.frames_lost,
        frames_missing=activity.frames_missing,
    )


def add_model(status: Status, info: Any, stream: Any, settings: StreamSettings) -> Status:
    """The same status with what a loaded engine says of itself and of its stream's memory."""
    status.model, status.trained = info.model, info.trained
    status.device, status.dtype, status.attention = info.device, info.dtype, info.attention
    status.tokens_held, status.tokens_capacity = stream.held, stream.capacity
    status.memory_bytes = stream.memory_bytes
    status.config = identity(info, settings)
    return status


def identity(info: Any, settings: StreamSettings) -> str:
    """Twelve letters that are the same where model and settings are."""
    said = f'{info.model} {info.dtype} {info.parameters} {settings}'
    return hashlib.sha256(said.encode()).hexdigest()[:12]
