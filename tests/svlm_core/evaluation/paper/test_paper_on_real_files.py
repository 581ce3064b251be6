# SPDX-License-Identifier: Apache-2.0
"""`svlm paper` on official files, models by folder and an endpoint: all of it small, none of it
a stand-in for the command. svlm-tiny has the place of every checkpoint.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import official_files
from chat_server import chat_server
from games import inf_streams, lines, live_sports
from svlm_core import cli
from svlm_core.card import EMBEDDED
from svlm_core.evaluation.judges import ALIGNED, TASK
from svlm_core.evaluation.paper import speed
from svlm_core.evaluation.paper.published import EXAMS, MOMENTS, PUBLISHED
from svlm_core.evaluation.paper.sources import GETS
from svlm_core.evaluation.streams import infstreams

BEGIN = 10  # seconds; the official games have 1000
EVENTS = ('llava', 'gpt-4o', 'gemini')
BENCHMARKS = ('mvbench', 'videomme', 'longvideobench', 'ovobench')


@pytest.fixture(scope='module')
def given(tmp_path_factory) -> dict[str, list[str]]:
    """What a user would name, by flag: checkpoints, official files, captions of others."""
    folder = tmp_path_factory.mktemp('real')
    data = {
        'inf-streams': inf_streams(folder / 'games'),
        'livesports': live_sports(folder / 'events'),
        **{name: official_files.MADE[name](folder / name) for name in BENCHMARKS},
    }
    events = [('LEsNb', 1), ('LEsNb', 2), ('ZZ', 7)]
    captions = {
        name: lines(
            folder / f'{name}.jsonl',
            *({'video_id': v, 'event_id': n, 'begin': 0, 'end': 9, 'pred': f'{name} tells'}
              for v, n in events),
        )
        for name in EVENTS
    }  # fmt: skip
    return {
        '--weights': [f'{name}={EMBEDDED}' for name in ('streamingvlm', 'qwen', 'livecc')],
        '--data': [f'{name}={path}' for name, path in data.items()],
        '--captions': [f'{name}={path}' for name, path in captions.items()],
    }


@pytest.fixture
def paper(given, monkeypatch, tmp_path):
    """The command with all that is given, on games of seconds."""
    # Rows carry the git revision, and who edits or commits while this runs would change it.
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'none'))
    monkeypatch.setattr(infstreams, 'BEGIN', BEGIN)
    monkeypatch.setattr(speed, 'SECONDS', 3)

    def run(output: Path, *words: object, **more: list[str]) -> int:
        named = [word for flag, of in {**given, **more}.items() for word in (flag, *of)]
        return cli.main(
            ['paper', '--output', str(output), '--device', 'cpu', *named, *map(str, words)]
        )

    return run


def item(folder: Path, name: str) -> dict:
    return json.loads((folder / f'{name}.json').read_text())


def answer(request: dict) -> str:
    """A vote for the first where a judge is asked, else a comment."""
    return 'A' if request['messages'][0]['content'] in (TASK, ALIGNED) else 'A man in blue runs.'


def test_table_1_is_made_from_checkpoints_official_files_and_an_endpoint(paper, tmp_path):
    with chat_server(answer) as server:
        words = ('--items', 'table-1', '--base-url', server.url, '--model', 'judge-of-games',
                 '--events-model', 'judge-of-events', '--commentator', 'mini')  # fmt: skip
        assert paper(tmp_path / 'out', *words) == 0
        asked = Counter(
            (request['model'], request['messages'][0]['content']) for request in server.requests
        )
        assert {model for model, _ in asked} == {'mini', 'judge-of-games', 'judge-of-events'}
        assert asked['mini', next(told for model, told in asked if model == 'mini')] == 4
        assert not asked['judge-of-games', ALIGNED] + asked['judge-of-events', TASK]
        content = item(tmp_path / 'out', 'table-1')
        assert content['missing'] == content['problems'] == []
        rows = {(row['label'], row['column']): row for row in content['rows']}
        assert rows.keys() == {
            (label, column) for label, of in PUBLISHED['table-1'].items() for column in of
        }
        assert {row['stand_in'] for row in rows.values()} == {''}
        # Every vote was for the first that was shown, so nobody wins more than half.
        assert {row['value'] for row in rows.values()} <= {0, 50, 100}
        assert rows['StreamingVLM∞', 'GPT-4o†']['against']['model']['name'] == 'mini'
        assert rows['StreamingVLM∞', 'LiveCC†']['judge'] == 'judge-of-games'
        assert rows['StreamingVLM∞', 'LLaVA']['judge'] == 'judge-of-events'
        # Nothing is asked or captioned again.
        before = len(server.requests)
        assert paper(tmp_path / 'out', *words) == 0
        assert len(server.requests) == before
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'Judge: judge-of-games and judge-of-events' in page
    assert 'Stand-ins:' not in page


def test_tables_of_questions_and_the_figure_of_times_need_no_endpoint(paper, tmp_path):
    assert paper(tmp_path / 'out', '--items', 'table-3', 'fig-7') == 0
    rows = item(tmp_path / 'out', 'table-3')['rows']
    assert [(row['label'], row['column']) for row in rows] == [
        (label, column) for label in PUBLISHED['table-3'] for column in EXAMS
    ]
    assert all(0 <= row['value'] <= 100 and row['mode'] == 'offline' for row in rows)
    times = item(tmp_path / 'out', 'fig-7')['rows']
    assert {row['column'] for row in times} == set(MOMENTS)
    assert {row['seconds'] for row in times} == {3}


def test_an_item_waits_for_what_it_lacks_and_is_left_alone_once_it_is_complete(
    paper, tmp_path, capsys
):
    out, items = tmp_path / 'out', ('--items', 'fig-7', 'table-7')
    none = {'--captions': [], '--data': []}
    assert paper(out, *items, **none) == 0
    told = capsys.readouterr().out
    assert f'lacks weights overlapped: {GETS["weights"]["overlapped"]}' in told
    done = (out / 'fig-7.json').read_bytes()
    assert paper(out, *items) == 0  # data of another item make it no other
    assert (out / 'fig-7.json').read_bytes() == done
    assert item(out, 'table-7')['missing']
    assert paper(out, *items, **{'--weights': [f'streamingvlm={out}']}) == 1
    assert 'fig-7.json was made of other sources' in capsys.readouterr().err
