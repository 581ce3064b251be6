# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange: JSON is sent, bytes come back, or it is said why not."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 16 << 20  # bytes of a reply


class Dropped(Exception):
    """No whole reply came: the connection failed, broke off, or took too long."""


@dataclass(frozen=True)
class Response:
    """What a server answered."""

    status: int
    body: bytes
    wait: float | None = None  # seconds it asks to be left alone for


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key goes to the server that the user has named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def post(url: str, content: Any, headers: Mapping[str, str], timeout: float) -> Response:
    """Send JSON and read the answer, of any status, within about `timeout` seconds.

    Raises Dropped.
    """
    request = urllib.request.Request(
        url,
        data=json.dumps(content).encode(),
        headers={'Content-Type': 'application/json', **headers},
        method='POST',
    )
    deadline = time.monotonic() + timeout
    try:
        try:
            answer = _OPENER.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = _read(answer, deadline)
            return Response(answer.status, body, _wait(answer.headers.get('Retry-After')))
    except TimeoutError as error:
        raise Dropped(f'no answer within {timeout:g} s') from error
    except urllib.error.URLError as error:
        raise Dropped(f'no connection: {error.reason}') from error
    except (http.client.HTTPException, OSError) as error:
        raise Dropped(f'the connection broke off: {error or type(error).__name__}') from error


def _read(answer: Any, deadline: float) -> bytes:
    """All of a reply; a server that sends it drop by drop is left at the deadline."""
    body = bytearray()
    while piece := answer.read1(1 << 16):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > LARGEST:
            raise Dropped(f'the answer is longer than {LARGEST} bytes')
    announced = answer.headers.get('Content-Length', '')
    if announced.isdecimal() and len(body) < int(announced):
        raise Dropped(f'the answer broke off after {len(body)} of {announced} bytes')
    return bytes(body)


def _wait(header: str | None) -> float | None:
    """Retry-After in seconds; the form with a date is not used by such servers."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
