# SPDX-License-Identifier: Apache-2.0
"""A model behind an OpenAI-compatible endpoint: questions go out, replies come back.

Works with any server of `/chat/completions`: OpenAI, vLLM, SGLang, Ollama, NIM. What passes by
itself (too many requests, a server that is down, a reply that breaks off) is tried again; what
does not is told in one line.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from svlm_core.config import check_ranges, limit
from svlm_core.endpoints.cache import Cache
from svlm_core.endpoints.http import Dropped, Response, post
from svlm_core.errors import SettingsError, SvlmError

Message = dict[str, Any]

PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
OPTIONAL = ('temperature', 'response_format', 'seed')  # some servers refuse one; it is left out
LONGEST_WAIT = 60.0  # seconds


class EndpointError(SvlmError):
    """An endpoint does not answer, or answers what cannot be used."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is, and how long to wait for it.

    The key is read from the environment variable that the user names, and goes nowhere else.
    """

    base_url: str = limit('', 'address of an OpenAI-compatible server, as http://host:8000/v1')
    model: str = limit('', 'name of the model there')
    key_variable: str = limit('', 'environment variable that holds the key; empty: none is sent')
    timeout: float = limit(120.0, 'seconds to wait for a reply', low=0.01)
    tries: int = limit(8, 'times a request is sent before the run ends', low=1)

    def __post_init__(self) -> None:
        check_ranges(self)
        parts = urlsplit(self.base_url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise SettingsError(f'--base-url {self.base_url!r} is no address of http or https')
        if parts.username or parts.password:
            raise SettingsError('--base-url holds a password: name its variable instead')
        if not self.model:
            raise SettingsError('--model-name is empty: name the model that the endpoint serves')

    def key(self) -> str:
        """The key. Raises SettingsError when the variable is not set, or holds none."""
        if not self.key_variable:
            return ''
        key = os.environ.get(self.key_variable, '').strip()  # files end in a line feed
        if not key:
            raise SettingsError(f'the environment variable {self.key_variable} is not set')
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(
                f'the environment variable {self.key_variable} holds characters that no key has'
            )
        return key


@dataclass(frozen=True)
class Reply:
    """What a model said, or the words with which it or its provider refused to.

    `model` is what the server calls the model that answered; `dropped` are the parameters that it
    does not take, so that the question was put without them.
    """

    text: str
    refusal: str = ''
    model: str = ''
    dropped: tuple[str, ...] = ()


class Chat(Protocol):
    """Puts messages to a model; `schema` is the JSON Schema of the reply that is wanted."""

    def __call__(
        self, messages: Sequence[Message], schema: dict[str, Any] | None = None
    ) -> Reply: ...


class ChatEndpoint:
    """A `Chat` over HTTP. Threads may share it. Raises EndpointError."""

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Cache | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._sleep = sleep
        self._url = f'{endpoint.base_url.rstrip("/")}/chat/completions'
        key = endpoint.key()
        self._headers = {'Authorization': f'Bearer {key}'} if key else {}
        self._refused: set[str] = set()  # parameters that this server does not take

    def __call__(self, messages: Sequence[Message], schema: dict[str, Any] | None = None) -> Reply:
        question: dict[str, Any] = {
            'model': self._endpoint.model,
            'messages': list(messages),
            'temperature': 0,
            'seed': 42,
        }
        if schema is not None:
            named = {'name': 'reply', 'strict': True, 'schema': schema}
            question['response_format'] = {'type': 'json_schema', 'json_schema': named}
        asked = {'url': self._url, 'question': question}
        known = self._cache.get(asked) if self._cache else None
        if known is not None:
            return Reply(**{**known, 'dropped': tuple(known.get('dropped', ()))})
        reply = self._ask(question)
        if self._cache:
            self._cache.put(asked, asdict(reply))
        return reply

    def _ask(self, question: dict[str, Any]) -> Reply:
        problem = ''
        for attempt in range(self._endpoint.tries):
            outcome = self._once(question)
            if isinstance(outcome, Reply):
                return outcome
            problem, wait = outcome
            if attempt + 1 < self._endpoint.tries:
                backoff = random.uniform(0.5, 1.0) * 2**attempt
                self._sleep(min(LONGEST_WAIT, backoff if wait is None else wait))
        raise EndpointError(
            f'{self._url} failed {self._endpoint.tries} times, at last: {problem}. '
            'Run the same command again to go on'
        )

    def _once(self, question: dict[str, Any]) -> Reply | tuple[str, float | None]:
        """A reply, or why there is none yet and how long the server wants to be left alone."""
        refused = set(self._refused)
        sent = {name: value for name, value in question.items() if name not in refused}
        dropped = tuple(name for name in question if name not in sent)
        try:
            response = post(self._url, sent, self._headers, self._endpoint.timeout)
        except Dropped as error:
            return str(error), None
        if response.status == 200:
            reply = _reply(response.body)
            if reply is None:
                return 'the reply is no chat completion', None
            return replace(reply, dropped=dropped)
        if response.status in PASSING:
            return f'status {response.status}', response.wait
        return self._not_passing(response, question, sent)

    def _not_passing(
        self, response: Response, question: dict[str, Any], sent: dict[str, Any]
    ) -> Reply | tuple[str, float | None]:
        """What to make of a status that will not change by itself. Raises EndpointError."""
        told = _complaint(response.body)
        if response.status in (400, 422):
            if 'content_filter' in told or 'content management policy' in told:
                return Reply('', refusal=told)
            for name in OPTIONAL:
                if name in told and name in sent:
                    self._refused.add(name)
                    return self._once(question)
        where = f'{self._url} answered {response.status}'
        if response.status in (401, 403):
            name = self._endpoint.key_variable
            asked = f'is the key in {name} right?' if name else 'name the variable of its key'
            raise EndpointError(f'{where}: {asked}')
        raise EndpointError(f'{where}: {told or "no reason given"}')


def _reply(body: bytes) -> Reply | None:
    """The reply in a chat completion; None for what is none."""
    try:
        content = json.loads(body)
        choice, model = content['choices'][0], content.get('model')
        message = choice['message']
        text, refusal = message.get('content') or '', message.get('refusal') or ''
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(text, str) or not isinstance(refusal, str):
        return None
    if choice.get('finish_reason') == 'content_filter':
        refusal = refusal or 'stopped by a content filter'
    text = text.encode('utf-8', 'replace').decode()  # half a character could not be written
    return Reply(text, refusal, model if isinstance(model, str) else '')


def _complaint(body: bytes) -> str:
    """What a server says of an error, in one line without control characters."""
    try:
        error = json.loads(body)
        error = error.get('error', error) if isinstance(error, dict) else error
        told = json.dumps(error, ensure_ascii=False) if isinstance(error, dict) else str(error)
    except ValueError:
        told = body.decode('utf-8', errors='replace')
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in told).split())[:300]
