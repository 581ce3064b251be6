# SPDX-License-Identifier: Apache-2.0
"""What a user may call a live camera, and how FFmpeg opens it.

Addresses may hold a password: they are never shown, `Camera.name` is. Nothing here connects.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av

from svlm_core.errors import SourceError

Kind = Literal['rtsp', 'http', 'device']
Transport = Literal['tcp', 'udp']

ADDRESSES = 'rtsp://, rtsps://, http:// and https:// (MJPEG), and /dev/video0'
FORMATS: dict[Kind, str] = {'rtsp': 'rtsp', 'http': 'mpjpeg', 'device': 'v4l2'}
READER = 'camera'  # name of the thread that reads one
HIDDEN = '***@'  # stands for a name and a password
VIDEO4LINUX = 81  # major number of its devices

# FFmpeg would watch for seconds to learn a frame rate before it shows the first frame.
PROMPTLY = {'fpsprobesize': '0', 'analyzeduration': '1000000'}
NONBLOCK = '4'  # AVFMT_FLAG_NONBLOCK: a device that falls silent would block for ever


@dataclass(frozen=True)
class Camera:
    """A live camera; `name` is its address without secrets, `over` how its frames travel."""

    kind: Kind
    name: str
    over: str
    address: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """FFmpeg's name for what reads it."""
        return FORMATS[self.kind]

    @property
    def hint(self) -> str:
        """What to try when it is silent."""
        return ' over udp: try tcp' if self.over == 'udp' else ''

    def refusal(self) -> str:
        """Why the device cannot be a camera, before FFmpeg is asked; empty if it may be one."""
        if self.kind != 'device':
            return ''
        try:
            if not stat.S_ISCHR(os.stat(self.address).st_mode):
                return 'it is no camera, nor any device'
        except OSError as error:
            present = ', '.join(sorted(map(str, Path('/dev').glob('video*'))))
            return f'{error.strerror}; cameras here: {present or "none"}'
        if not os.access(self.address, os.R_OK | os.W_OK):
            return 'no permission: add yourself to its group, mostly `video`, and log in again'
        return ''

    def reason(self, error: av.FFmpegError, *, connected: bool = False) -> str:
        """What an error of FFmpeg means for this camera, and what to do about it."""
        if connected and error.errno == errno.ENODEV:
            return 'it was unplugged'
        if isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError):
            if HIDDEN in self.name:
                return 'it refuses this name and password'
            return 'it asks for a name and a password: put NAME:PASSWORD@ before the host'
        if isinstance(error, av.HTTPNotFoundError):
            return 'it has no such stream: check what follows the host'
        if isinstance(error, av.InvalidDataError | av.EOFError) and self.kind == 'http':
            return 'it sends no MJPEG stream'
        if error.errno == errno.EIO and self.kind != 'device' and not self._known():
            return 'there is no host of this name'
        reasons = _OF_DEVICES if self.kind == 'device' else _OF_NETWORKS
        return reasons.get(error.errno or 0) or error.strerror or type(error).__name__

    def _known(self) -> bool:
        """Whether the host has an address: FFmpeg does not tell that from other failures."""
        host = re.search(r'://(?:.*@)?(?:\[([^]]*)\]|([^/:?]*))', self.name)
        try:
            return bool(host and socket.getaddrinfo(host[1] or host[2], None))
        except (OSError, UnicodeError):
            return False


_OF_NETWORKS = {
    errno.ECONNREFUSED: 'connection refused: check that it is on, and its port',
    errno.EHOSTUNREACH: 'there is no way to it: check the network',
    errno.ENETUNREACH: 'there is no way to it: check the network',
}

_OF_DEVICES = {
    errno.EBUSY: 'another program uses it',
    errno.ENODEV: 'it gives no pictures: a camera may have several devices, try another one',
    errno.ENOTTY: 'it is no camera',
    errno.EINVAL: 'it does not offer this size, rate or format (v4l2-ctl --list-formats-ext)',
}


def kind_of_camera(source: str) -> Kind | None:
    """What kind of live camera a name means; None for everything else."""
    if found := re.match(r'(rtsp|http)s?://', source, re.IGNORECASE):
        return 'rtsp' if found[1].lower() == 'rtsp' else 'http'
    if re.match(r'/dev/(video|v4l/)', source) or _is_video_device(source):
        return 'device'
    return None


def find_camera(
    source: str,
    *,
    transport: Transport = 'tcp',
    size: str | None = None,
    fps: float | None = None,
    pixels: str | None = None,
) -> Camera:
    """The camera of an address, not yet opened.

    `transport` is for rtsp; `size` (WxH), `fps` and `pixels` (mjpeg, yuyv422, ...) are for
    devices, None leaves the choice to the device. Raises SourceError for what is no camera.
    """
    kind = kind_of_camera(source)
    if kind is None:
        raise SourceError(f'{masked(source)} is no camera: known are {ADDRESSES}')
    options = dict(PROMPTLY)
    if kind == 'rtsp':
        options |= {'rtsp_transport': transport, 'allowed_media_types': 'video'}
    if kind == 'device':
        asked = {'video_size': size, 'framerate': fps and f'{fps:g}', 'input_format': pixels}
        options |= {'fflags': NONBLOCK} | {name: word for name, word in asked.items() if word}
    over: dict[Kind, str] = {'rtsp': transport, 'http': 'http', 'device': 'v4l2'}
    return Camera(kind, masked(source), over[kind], source, options)


def masked(address: str) -> str:
    """An address without user name and password, wherever they stand in it."""
    scheme, slashes, rest = address.partition('://')
    if not slashes:
        return address
    # A password may hold /, ? or @ by mistake: then all before the last @ is hidden.
    if '@' in rest and not re.match(r'(\[[\w:.%]+\]|[\w.-]+)(:\d{1,5})?[/?#]', rest):
        rest = HIDDEN + rest.rpartition('@')[2]
    return scheme + slashes + _SECRET.sub(r'\1***', rest)


_SECRET = re.compile(
    r'((?<=[?&;/])(?:user(?:name)?|login|pass(?:word|wd)?|pwd|token|key|auth)=)[^?&;/]*',
    re.IGNORECASE,
)


def _is_video_device(source: str) -> bool:
    """Whether a name, such as a link that udev made, leads to a device of Video4Linux."""
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == VIDEO4LINUX
