# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server in the process of the test, which misbehaves when it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answering = Callable[[dict[str, Any]], str | dict[str, Any]]


@dataclass
class ChatServer:
    """`answer` makes the text of a reply, or the whole of its message, from the request.

    `faults` come first: a status, or one of drop, hang, drip, garbage, half, empty; each request
    takes one.
    """

    answer: Answering
    faults: deque[int | str] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    retry_after: str = ''
    complaint: str = 'no'
    model: str = ''  # what replies call the model
    url: str = ''
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def fault(self, request: dict[str, Any], headers: dict[str, str]) -> int | str | None:
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            return self.faults.popleft() if self.faults else None


@contextmanager
def chat_server(answer: Answering, *faults: int | str) -> Iterator[ChatServer]:
    """A server on a free port of this machine, until the block ends."""
    shared = ChatServer(answer, deque(faults))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            fault = shared.fault(request, dict(self.headers))
            if isinstance(fault, int):
                self._send(fault, json.dumps({'error': {'message': shared.complaint}}).encode())
            elif fault is not None:
                self._misbehave(fault)
            else:
                said = shared.answer(request)
                message = said if isinstance(said, dict) else {'content': said}
                message = {'role': 'assistant', **message}
                named = {'model': shared.model} if shared.model else {}
                content = {**named, 'choices': [{'message': message}]}
                self._send(200, json.dumps(content).encode())

        def _misbehave(self, fault: str) -> None:
            if fault == 'garbage':
                return self._send(200, b'{"choices": [{"mess')
            if fault == 'empty':
                return self._send(200, b'{"choices": []}')
            if fault == 'half':
                return self._send(200, b'{"choices": [', length=500)
            if fault == 'hang':
                shared.over.wait()
            if fault == 'drip':
                self._send(200, b'', length=1000)
                while not shared.over.wait(0.05):
                    self.wfile.write(b' ')
            if fault == 'drop':  # a reset, not an orderly end
                linger = struct.pack('ii', 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return None

        def _send(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header('Content-Length', str(len(body) if length is None else length))
            if shared.retry_after:
                self.send_header('Retry-After', shared.retry_after)
            if status in (301, 302, 307):
                self.send_header('Location', f'{shared.url}/elsewhere')
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = length is not None

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # the client went away, as it should

    server = Quiet(('127.0.0.1', 0), Handler)
    shared.url = f'http://127.0.0.1:{server.server_address[1]}/v1'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield shared
    finally:
        shared.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
