# SPDX-License-Identifier: Apache-2.0
"""The flags that say how a live camera is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Annotated

from tyro.conf import arg

from svlm_core.commands.console import tell
from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError
from svlm_core.mailbox import MAX_AGE
from svlm_core.video.cameras import Transport, find_camera, kind_of_camera, masked
from svlm_core.video.live import LiveSource

OWNERS = {'rtsp': 'rtsp:// cameras', 'camera': '/dev/video*', 'max': 'cameras'}


@dataclass(frozen=True)
class CameraFlags:
    """How a camera is reached, and what it is asked for. Raises SettingsError out of range."""

    rtsp_transport: Annotated[
        Transport, arg(help='how an rtsp:// camera sends its frames; tcp loses none')
    ] = 'tcp'
    camera_size: Annotated[
        str | None, arg(help='size of picture asked of /dev/video*', metavar='WxH')
    ] = None
    camera_fps: Annotated[
        float | None, arg(help='frames per second asked of /dev/video*', metavar='RATE')
    ] = None
    camera_format: Annotated[
        str | None,
        arg(help='format asked of /dev/video*: mjpeg, yuyv422, h264, ...', metavar='FORMAT'),
    ] = None
    max_frame_age: Annotated[
        float,
        arg(
            help="a camera's frame stands in for missing ones so long; then seconds are skipped",
            metavar='SECONDS',
        ),
    ] = MAX_AGE

    def check(self, source: str) -> None:
        """Raise SettingsError for a value out of range, or a flag of another kind of source."""
        kind = kind_of_camera(source)
        fitting = {'rtsp': ('rtsp', 'max'), 'http': ('max',), 'device': ('camera', 'max')}
        for spec in fields(self):
            family = spec.name.partition('_')[0]
            given = getattr(self, spec.name) != spec.default
            if given and (kind is None or family not in fitting[kind]):
                flag = '--' + spec.name.replace('_', '-')
                raise SettingsError(f'{flag} is for {OWNERS[family]}: {masked(source)} is none')
        if not re.fullmatch(r'\d+x\d+', self.camera_size or '1x1'):
            raise SettingsError(f'--camera-size {self.camera_size} is no size such as 1280x720')
        if self.camera_fps is not None and not 0 < self.camera_fps < math.inf:
            raise SettingsError(
                f'--camera-fps {self.camera_fps:g} is out of range: it must be above 0'
            )
        if not 0 <= self.max_frame_age < math.inf:
            raise SettingsError(
                f'--max-frame-age {self.max_frame_age:g} is out of range: it must be at least 0'
            )

    def source(self, address: str, settings: StreamSettings) -> LiveSource:
        """The camera of an address, not yet connected; what befalls it is told on stderr."""
        camera = find_camera(
            address,
            transport=self.rtsp_transport,
            size=self.camera_size,
            fps=self.camera_fps,
            pixels=self.camera_format,
        )
        return LiveSource(
            camera, settings.fps, settings.frames_per_round, tell, max_age=self.max_frame_age
        )
