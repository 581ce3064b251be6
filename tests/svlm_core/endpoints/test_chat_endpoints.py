# SPDX-License-Identifier: Apache-2.0
"""A model behind an endpoint is asked until it answers; what is amiss for good is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_server import chat_server
from svlm_core.endpoints.asking import ask, ask_json
from svlm_core.endpoints.cache import Cache
from svlm_core.endpoints.chat import ChatEndpoint, Endpoint, EndpointError, Reply
from svlm_core.errors import SettingsError, SourceError
from svlm_core.shapes import Listed, Misfit, Number, Table

HELLO = [{'role': 'user', 'content': 'Hello?'}]


def echo(request: dict[str, Any]) -> str:
    return f'heard {request["messages"][-1]["content"]}'


def endpoint(url: str, cache: Cache | None = None, **changes: Any) -> tuple[ChatEndpoint, list]:
    """A model there, and the waits that it took, which take no time here."""
    waits: list[float] = []
    settings = {'model': 'm', 'timeout': 10.0, 'tries': 4, **changes}
    return ChatEndpoint(Endpoint(url, **settings), cache, waits.append), waits


@pytest.mark.parametrize(
    'fault', [429, 500, 502, 503, 'drop', 'hang', 'drip', 'garbage', 'half', 'empty']
)
def test_what_passes_by_itself_is_tried_again(fault):
    with chat_server(echo, fault, fault) as server:
        slow = fault in ('hang', 'drip')
        chat, waits = endpoint(server.url, timeout=0.5 if slow else 10.0)
        assert chat(HELLO) == Reply('heard Hello?')
    assert len(server.requests) == 3
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


def test_a_server_says_how_long_it_wants_to_be_left_alone():
    with chat_server(echo, 429) as server:
        server.retry_after = '7'
        chat, waits = endpoint(server.url)
        chat(HELLO)
    assert waits == [7]


def test_an_endpoint_that_stays_broken_ends_the_run_in_one_line():
    with chat_server(echo, *[503] * 4) as server:
        chat, _ = endpoint(server.url)
        with pytest.raises(EndpointError, match=r'failed 4 times, at last: status 503\. Run the'):
            chat(HELLO)
    chat, _ = endpoint(server.url, tries=2)  # nobody listens there any more
    with pytest.raises(EndpointError, match='failed 2 times, at last: no connection'):
        chat(HELLO)


@pytest.mark.parametrize(
    ('status', 'told'),
    [
        (401, 'answered 401: name the variable of its key'),
        (404, 'answered 404: .*no such model'),
        (307, 'answered 307'),
    ],
)
def test_what_does_not_pass_is_told_at_once(status, told):
    with chat_server(echo, status) as server:
        server.complaint = 'no such model \x1b[2J'
        chat, waits = endpoint(server.url)
        with pytest.raises(EndpointError, match=told) as caught:
            chat(HELLO)
    assert '\x1b' not in str(caught.value)
    assert (len(server.requests), waits) == (1, [])


def test_the_key_goes_to_the_named_server_and_is_never_told(monkeypatch, tmp_path):
    monkeypatch.setenv('MY_KEY', 'secret-7')
    with chat_server(echo) as server:
        chat, _ = endpoint(server.url, Cache(tmp_path), key_variable='MY_KEY')
        chat(HELLO)
        plain, _ = endpoint(server.url)
        plain(HELLO)
        server.faults.append(401)
        with pytest.raises(EndpointError, match='is the key in MY_KEY right') as caught:
            chat([*HELLO, *HELLO])
    assert [h.get('Authorization') for h in server.headers[:2]] == ['Bearer secret-7', None]
    kept = ''.join(path.read_text() for path in tmp_path.rglob('*.json'))
    assert 'secret-7' not in kept + str(caught.value)
    monkeypatch.delenv('MY_KEY')
    with pytest.raises(SettingsError, match='MY_KEY is not set'):
        endpoint(server.url, key_variable='MY_KEY')


def test_a_key_from_a_file_has_a_line_feed_and_what_is_none_is_never_told(monkeypatch):
    monkeypatch.setenv('MY_KEY', 'secret-7\r\n')
    with chat_server(echo) as server:
        chat, _ = endpoint(server.url, key_variable='MY_KEY')
        chat(HELLO)
    assert server.headers[0]['Authorization'] == 'Bearer secret-7'
    for key in ('secret\r\n7', 'sécret-7', '\n'):
        monkeypatch.setenv('MY_KEY', key)
        with pytest.raises(SettingsError, match='MY_KEY') as caught:
            endpoint(server.url, key_variable='MY_KEY')
        assert 'cret' not in str(caught.value)


def test_half_a_character_in_a_reply_is_one_that_can_be_written(tmp_path):
    with chat_server(lambda request: 'so \ud83d') as server:
        chat, _ = endpoint(server.url, Cache(tmp_path))
        assert chat(HELLO) == chat(HELLO) == Reply('so ?')


@pytest.mark.parametrize('name', ['temperature', 'response_format', 'seed'])
def test_a_parameter_that_a_server_does_not_take_is_left_out_from_then_on(name):
    with chat_server(echo, 400) as server:
        server.complaint = f'Unsupported parameter: {name}'
        chat, _ = endpoint(server.url)
        assert chat(HELLO, {'type': 'object'}) == Reply('heard Hello?', dropped=(name,))
        chat([*HELLO, *HELLO], {'type': 'object'})
    assert [name in request for request in server.requests] == [True, False, False]


def test_to_leave_parameters_out_takes_no_tries():
    with chat_server(echo, 400, 400) as server:
        server.complaint = 'Unsupported: temperature, seed'
        chat, waits = endpoint(server.url, tries=1)
        assert chat(HELLO) == Reply('heard Hello?', dropped=('temperature', 'seed'))
    assert (len(server.requests), waits) == (3, [])


def test_a_reply_says_what_the_server_calls_the_model_even_from_the_cache(tmp_path):
    with chat_server(echo, 400) as server:
        server.complaint, server.model = 'Unsupported parameter: seed', 'm-large-7'
        replies = [endpoint(server.url, Cache(tmp_path))[0](HELLO) for _ in range(2)]
    assert replies == [Reply('heard Hello?', model='m-large-7', dropped=('seed',))] * 2
    assert len(server.requests) == 2


def test_refusals_of_model_and_provider_are_known_as_such():
    with chat_server(lambda _: {'content': None, 'refusal': 'I would rather not.'}) as server:
        chat, _ = endpoint(server.url)
        assert chat(HELLO) == Reply('', 'I would rather not.')
        server.complaint = 'blocked by content_filter'
        server.faults.append(400)
        assert 'content_filter' in chat([*HELLO, *HELLO]).refusal


def test_nothing_is_asked_twice(tmp_path):
    with chat_server(echo) as server:
        for _ in range(2):
            chat, _ = endpoint(server.url, Cache(tmp_path))
            assert chat(HELLO) == Reply('heard Hello?')
        assert len(server.requests) == 1
        other, _ = endpoint(server.url, Cache(tmp_path), model='other')
        other(HELLO)
        assert len(server.requests) == 2
        (entry, _) = sorted(tmp_path.rglob('*.json'))
        entry.write_text('{')
        with pytest.raises(SourceError, match='is damaged: remove it'):
            for name in ('m', 'other'):
                endpoint(server.url, Cache(tmp_path), model=name)[0](HELLO)


@pytest.mark.parametrize(
    ('url', 'told'),
    [
        ('', 'is no address'),
        ('ftp://host/v1', 'is no address'),
        ('http://me:secret@host/v1', 'holds a password'),
    ],
)
def test_an_address_that_is_none_is_refused(url, told):
    with pytest.raises(SettingsError, match=told) as caught:
        Endpoint(url, 'm')
    assert 'secret' not in str(caught.value)


SHAPE = Table({'numbers': Listed(Number(low=0, whole=True))}, closed=True)


def scripted(*texts: str):
    """A model that says these texts, one after the other."""
    said = list(texts)
    return lambda request: said.pop(0)


def test_a_reply_that_is_not_as_asked_is_told_so_and_asked_again():
    bad = 'sure! {"numbers": [1]}', '{"numbers": [1, -2]}'
    with chat_server(scripted(*bad, '```json\n{"numbers": [1, 2]}\n```')) as server:
        chat, _ = endpoint(server.url)
        answer = ask_json(chat, HELLO, SHAPE, lambda content: sum(content['numbers']))
    assert (answer.value, answer.outcome, answer.replies[:2]) == (3, 'ok', bad)
    told = [request['messages'][-1]['content'] for request in server.requests]
    assert 'is no JSON' in told[1]
    assert 'numbers[1] is -2, less than 0' in told[2]
    wanted = server.requests[0]['response_format']['json_schema']
    assert wanted['strict'] is True
    assert wanted['schema'] == {
        'type': 'object',
        'properties': {'numbers': {'type': 'array', 'items': {'type': 'integer'}}},
        'required': ['numbers'],
        'additionalProperties': False,
    }


def test_what_cannot_be_had_is_not_made_up():
    with chat_server(lambda _: '{"numbers": "many"}') as server:
        chat, _ = endpoint(server.url)
        answer = ask_json(chat, HELLO, SHAPE, len)
        assert (answer.value, answer.outcome, len(answer.replies)) == (None, 'invalid', 3)
        assert answer.problem == 'numbers is "many", not a list'
        server.answer = lambda _: {'content': '', 'refusal': 'No.'}
        refused = ask(chat, [*HELLO, *HELLO], str)
    assert (refused.value, refused.outcome, refused.replies) == (None, 'refused', ('No.',))


@pytest.mark.parametrize(
    ('value', 'told'),
    [
        ([], 'the value is [], not an object'),
        ({}, 'numbers is missing'),
        ({'numbers': [True]}, 'numbers[0] is true, not a whole number'),
        ({'numbers': [1.5]}, 'numbers[0] is 1.5, not a whole number'),
        ({'numbers': [], 'more': 1}, 'the value has the unknown field more'),
    ],
)
def test_a_shape_names_the_field_that_does_not_fit(value, told):
    with pytest.raises(Misfit) as caught:
        SHAPE.check(value)
    assert str(caught.value) == told


def test_the_cache_tells_a_disk_that_is_full(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(Exception, match='cannot be written'):
        Cache(tmp_path / 'file').put(json.loads('{"a": 1}'), {'text': ''})
