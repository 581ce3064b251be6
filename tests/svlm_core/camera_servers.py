# SPDX-License-Identifier: Apache-2.0
"""Network cameras on localhost that serve real video, and fail in the ways of real ones.

Just enough RTSP (OPTIONS, DESCRIBE, SETUP, PLAY; RTP over tcp or udp) and HTTP (MJPEG).
"""

from __future__ import annotations

import socket
import struct
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from threading import Event, Thread

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
CLOCK = 90_000  # RTP's, for video


@dataclass(frozen=True)
class Footage:
    """A second or so of encoded video, to be shown in a loop; `frames` are its RTP packets."""

    media: str  # of the SDP
    frames: list[list[bytes]]


class _Wire:
    """Catches what FFmpeg's RTP muxer would send."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.packets.append(bytes(data))
        return len(data)


def film(count: int = 20) -> Footage:
    """H.264 frames of growing brightness: frame n is 10 n bright."""
    wire, frames = _Wire(), []
    muxing = {'packetsize': '400', 'rtpflags': 'skip_rtcp'}
    with av.open(wire, 'w', format='rtp', options=muxing) as container:
        options = {'tune': 'zerolatency', 'crf': '10'}
        stream = container.add_stream('libx264', rate=Fraction(20), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        stream.gop_size = 10
        for number in range(count):
            grey = np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format='rgb24')):
                container.mux(packet)
                frames.append(wire.packets)
                wire.packets = []
    kind = '96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1'
    return Footage(f'm=video 0 RTP/AVP {kind}\r\na=control:video\r\n', frames)


class Camera:
    """A camera that listens on a port of localhost until `stop`; `start` puts it back there.

    `hush` makes it send nothing more, whatever it is asked; `drop` ends all its connections.
    """

    scheme = ''

    def __init__(self, fps: float = 20, login: str = '') -> None:
        self.fps, self.login = fps, login
        self.port = 0
        self.hushed = Event()
        self.asked: list[str] = []  # requests, in order
        self._connections: list[socket.socket] = []
        self.start()

    @property
    def address(self) -> str:
        return f'{self.scheme}://localhost:{self.port}/stream'

    def start(self) -> None:
        self._listener = socket.create_server(('localhost', self.port))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        with suppress(OSError):  # wakes whoever accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def hush(self) -> None:
        self.hushed.set()

    def drop(self) -> None:
        while self._connections:
            connection = self._connections.pop()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            lines = connection.makefile('rb')
            while first := lines.readline():
                if first[:1] == b'$':  # RTCP of the viewer
                    lines.read(struct.unpack('>H', (first + lines.read(4))[2:4])[0])
                    continue
                headers = {}
                while line := lines.readline().strip():
                    name, _, value = line.decode().partition(':')
                    headers[name.lower()] = value.strip()
                self.asked.append(first.decode().strip())
                if self.hushed.is_set():
                    continue
                token = b64encode(self.login.encode()).decode()
                allowed = not self.login or headers.get('authorization') == f'Basic {token}'
                self._answer(connection, first.decode().split()[0], headers, allowed)

    def _answer(self, connection, method, headers, allowed) -> None:
        raise NotImplementedError

    def _paced(self):
        """Numbers of frames, at the rate of this camera."""
        began, number = time.monotonic(), 0
        while True:
            time.sleep(max(0.0, began + number / self.fps - time.monotonic()))
            if not self.hushed.is_set():
                yield number
            number += 1


class RtspCamera(Camera):
    """Shows its footage in a loop; RTP time jumps by `jump` seconds after every `each` frames."""

    scheme = 'rtsp'

    def __init__(self, footage: Footage, fps: float = 20, login: str = '') -> None:
        self.footage = footage
        self.jump, self.each = 0.0, 0
        super().__init__(fps, login)

    def _answer(self, connection, method, headers, allowed) -> None:
        status, extra, body = '200 OK', '', ''
        if not allowed:
            status, extra = '401 Unauthorized', 'WWW-Authenticate: Basic realm="camera"\r\n'
        elif '/stream' not in self.asked[-1]:
            status = '404 Not Found'
        elif method == 'DESCRIBE':
            body = f'v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n{self.footage.media}'
            extra = f'Content-Type: application/sdp\r\nContent-Base: {self.address}/\r\n'
        elif method == 'SETUP':
            self._carry = self._carrier(connection, headers['transport'])
            extra = f'Session: 1;timeout=60\r\nTransport: {headers["transport"]}\r\n'
        answer = f'RTSP/1.0 {status}\r\nCSeq: {headers["cseq"]}\r\n{extra}'
        connection.sendall(f'{answer}Content-Length: {len(body)}\r\n\r\n{body}'.encode())
        if method == 'PLAY' and allowed:
            Thread(target=self._play, args=(self._carry,), daemon=True).start()

    def _carrier(self, connection, transport: str):
        if 'interleaved' in transport:
            return lambda packet: connection.sendall(
                struct.pack('>cBH', b'$', 0, len(packet)) + packet
            )
        port = int(transport.partition('client_port=')[2].partition('-')[0])
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda packet: sender.sendto(packet, ('127.0.0.1', port))

    def _play(self, carry) -> None:
        sequence = 0
        with suppress(OSError):
            for number in self._paced():
                jumps = number // self.each if self.each else 0
                stamp = round((number / self.fps + jumps * self.jump) * CLOCK) % 2**32
                for packet in self.footage.frames[number % len(self.footage.frames)]:
                    head = struct.pack('>HI', sequence % 2**16, stamp)
                    carry(packet[:2] + head + packet[8:])
                    sequence += 1


class MjpegCamera(Camera):
    """Shows pictures of growing brightness as multipart/x-mixed-replace."""

    scheme = 'http'

    def __init__(self, fps: float = 20, login: str = '', kind: str = 'multipart') -> None:
        self.kind = kind
        super().__init__(fps, login)

    def _answer(self, connection, method, headers, allowed) -> None:
        if not allowed:
            connection.sendall(
                b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n'
                b'Connection: close\r\nContent-Length: 0\r\n\r\n'
            )
            connection.close()
            return
        if self.kind != 'multipart':
            page = b'<html>log in first</html>'
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n')
            connection.sendall(b'Content-Length: %d\r\n\r\n%s' % (len(page), page))
            return
        connection.sendall(
            b'HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n'
        )
        pictures = [jpeg(10 * number) for number in range(20)]
        for number in self._paced():
            picture = pictures[number % len(pictures)]
            head = b'--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n'
            connection.sendall(head % len(picture) + picture + b'\r\n')


def jpeg(brightness: int) -> bytes:
    """A grey picture."""
    encoder = av.CodecContext.create('mjpeg', 'w')
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, 'yuvj420p'
    encoder.time_base = Fraction(1, 25)
    grey = np.full((HEIGHT, WIDTH, 3), brightness, np.uint8)
    frame = av.VideoFrame.from_ndarray(grey, format='rgb24').reformat(format='yuvj420p')
    return b''.join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))
