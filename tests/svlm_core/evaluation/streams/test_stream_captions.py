# SPDX-License-Identifier: Apache-2.0
"""Captions of a benchmark: by a checkpoint, by a model behind an endpoint, stopped and gone on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chat_server import chat_server
from games import film, inf_streams, lines, live_sports
from svlm_core import cli
from svlm_core.caption import Caption
from svlm_core.curation.manifest import Shard
from svlm_core.errors import MemoryFull
from svlm_core.evaluation.streams import captioning, infstreams, livesports
from svlm_core.evaluation.streams.captioning import frames
from svlm_core.evaluation.streams.running import incomplete
from svlm_core.evaluation.windows import read_captions

GAMES = ['basketball/a.mp4', 'soccer/b.mp4']


def streams(step: str, name: str, data: Path, output: Path, *words: str) -> int:
    place = '--data', str(data), '--output', str(output)
    begin = ('--begin', '10', '--segment', '5') if name == 'inf-streams' else ()
    return cli.main(['streams', step, name, *place, *begin, *words])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def watcher(monkeypatch):
    """Streams that say which second they see; `watcher.opened` are the settings of each."""
    from svlm_core.engine import StreamingVLM

    fake = SimpleNamespace(opened=[], before=lambda start: None)

    def open_stream(self, settings, retrieved):
        fake.opened.append(settings)

        def step(seen, start):
            fake.before(start)
            text = f'Second {start:g}.' if int(start) % 2 else ''
            return Caption(text, start, start + 1, (1, 2), 'end', 10, {})

        return SimpleNamespace(step=step)

    monkeypatch.setattr(StreamingVLM, 'open', open_stream)
    return fake


def test_the_embedded_model_captions_a_game_in_both_settings(tmp_path, capsys):
    data = inf_streams(tmp_path / 'data')
    clips = (data / 'score_all_clips.jsonl').read_text().splitlines(keepends=True)
    (data / 'score_all_clips.jsonl').write_text(''.join(clips[:2]))  # those of the first game
    for setting in ('endless', 'chunks'):
        out = tmp_path / setting
        words = '--setting', setting, '--device', 'cpu', '--max-new-tokens', '4'
        assert streams('run', 'inf-streams', data, out, *words) == 0
        captions = read_captions(out, [])
        shown = ((10, 20),) if setting == 'endless' else ((10, 15), (15, 20))
        assert {video: found.shown for video, found in captions.items()} == {GAMES[0]: shown}
        assert all(len(items['items']) in (5, 10) for items in rows(out / 'captions.jsonl'))
    made = json.loads((tmp_path / 'chunks' / 'run.json').read_text())
    how = made['mode'], made['policy'], made['positions']
    assert how == ('chunks †', 'streaming', 'contiguous')
    assert made['data']['begin'] == 10
    assert len(made['model']['sha256']) == 64
    for file in (tmp_path / 'endless' / 'captions.jsonl', tmp_path / 'chunks' / 'captions.jsonl'):
        assert cli.main(['curate', 'validate', str(file)]) == 0


def test_every_chunk_begins_anew_after_what_was_really_said(tmp_path, watcher):
    data = inf_streams(tmp_path / 'data')
    assert streams('run', 'inf-streams', data, tmp_path / 'a', '--setting', 'chunks') == 0
    assert [s.previous_text.split()[-1] for s in watcher.opened] == ['x10', 'x15'] * 2
    assert 'live commentator' in watcher.opened[0].query
    watcher.opened.clear()
    words = '--previous', 'none', '--query', 'Speak.'
    assert streams('run', 'inf-streams', data, tmp_path / 'b', *words) == 0
    assert [(s.previous_text, s.query) for s in watcher.opened] == [('', 'Speak.')] * 2


def test_times_are_those_of_the_video_and_silence_is_kept(tmp_path, watcher):
    data = inf_streams(tmp_path / 'data')
    assert streams('run', 'inf-streams', data, tmp_path / 'out', '--setting', 'chunks') == 0
    found = rows(tmp_path / 'out' / 'captions.jsonl')
    assert [(r['video'], r['chunk_start'], r['chunk_end']) for r in found] == [
        (video, start, start + 5) for video in GAMES for start in (10, 15)
    ]
    assert found[1]['items'][:2] == [
        {'response': 'Second 15.', 'start_time': 15, 'end_time': 16, 'tokens': 2},
        {'response': '', 'start_time': 16, 'end_time': 17, 'tokens': 2},
    ]
    made = json.loads((tmp_path / 'out' / 'run.json').read_text())
    assert len({row['run'] for row in found}) == 1
    assert made['settings']['previous'] == 'truth'


def test_events_are_written_as_predictions_of_livesports(tmp_path, watcher):
    data = live_sports(tmp_path / 'data')
    assert streams('run', 'livesports', data, tmp_path / 'out') == 0
    first, _, last = rows(tmp_path / 'out' / 'captions.jsonl')
    assert {name: first[name] for name in ('video_id', 'event_id', 'begin', 'end')} == {
        'video_id': 'LEsNb', 'event_id': 1, 'begin': 2.5, 'end': 6.0,
    }  # fmt: skip
    assert last['pred'] == 'Second 1. Second 3.'
    assert [s.previous_text for s in watcher.opened] == ['Welcome.', 'Welcome.', '']
    assert 'Event 7' in watcher.opened[2].query
    assert cli.main(['curate', 'validate', str(tmp_path / 'out' / 'captions.jsonl')]) == 0


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(tmp_path, watcher, capsys):
    data = inf_streams(tmp_path / 'data')
    assert streams('run', 'inf-streams', data, tmp_path / 'whole') == 0

    def stop(start):
        if len(watcher.opened) == 4:  # in the second game of the second run
            raise KeyboardInterrupt

    watcher.before = stop
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 130
    assert not (tmp_path / 'out' / 'captions.jsonl').exists()
    watcher.before = lambda start: None
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 0
    assert len(watcher.opened) == 5  # the first game was not watched again
    assert (tmp_path / 'out' / 'captions.jsonl').read_bytes() == (
        tmp_path / 'whole' / 'captions.jsonl'
    ).read_bytes()
    assert streams('run', 'inf-streams', data, tmp_path / 'out', '--setting', 'chunks') == 1
    assert 'holds a run with other settings' in capsys.readouterr().err


def test_wherever_it_is_killed_the_next_run_leaves_the_same_bytes(tmp_path, watcher, monkeypatch):
    data = inf_streams(tmp_path / 'data')
    assert streams('run', 'inf-streams', data, tmp_path / 'whole') == 0
    whole = contents(tmp_path / 'whole')
    assert len(whole) == 4  # run.json, two videos, all together
    replace = Path.replace
    for lives in range(4):
        left = [lives]

        def dies(path: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return replace(path, target)

        out = tmp_path / f'out{lives}'
        with monkeypatch.context() as killed:
            killed.setattr(Path, 'replace', dies)
            assert streams('run', 'inf-streams', data, out) == 130
        assert len(contents(out)) == lives
        assert streams('run', 'inf-streams', data, out) == 0
        assert contents(out) == whole


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_shards_work_on_different_videos_and_the_last_one_puts_all_together(tmp_path, watcher):
    data = inf_streams(tmp_path / 'data')
    count = next(n for n in range(2, 9) if not Shard(1, n).holds(GAMES[0])
                 and Shard(1, n).holds(GAMES[1]))  # fmt: skip
    for number in range(1, count + 1):
        done = (tmp_path / 'out' / 'captions.jsonl').exists()
        assert not done or number > 2
        shard = '--shard', f'{number}/{count}'
        assert streams('run', 'inf-streams', data, tmp_path / 'out', *shard) == 0
    assert len(watcher.opened) == 2
    assert [row['video'] for row in rows(tmp_path / 'out' / 'captions.jsonl')] == GAMES


def test_a_video_that_is_lost_is_told_and_tried_again(tmp_path, watcher, capsys):
    data = inf_streams(tmp_path / 'data')
    video = data / GAMES[0]
    video.rename(tmp_path / 'away.mp4')
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert f'not captioned: {GAMES[0]}' in shown.err
    assert 'not all videos are done' in shown.out
    (tmp_path / 'away.mp4').rename(video)
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 0
    assert (tmp_path / 'out' / 'captions.jsonl').exists()


def test_a_video_that_breaks_off_keeps_what_was_said_until_then(tmp_path, watcher, capsys):
    data = inf_streams(tmp_path / 'data')
    film(data / GAMES[0], 13)  # its words go on to second 20
    for setting, problems in (('endless', 1), ('chunks', 2)):
        out = tmp_path / setting
        assert streams('run', 'inf-streams', data, out, '--setting', setting) == 0
        found = [r for r in rows(out / 'captions.jsonl') if r['video'] == GAMES[0]]
        assert [(r['chunk_start'], r['chunk_end']) for r in found] == [(10, 13)]
        told = capsys.readouterr()
        assert f'0 not captioned, {problems} stretches with a problem' in told.out
        assert f'{GAMES[0]} from 10 s: ' in told.err
        assert 'ends before' in told.err
        # It is in the files, for whoever comes later, and a run that has nothing to do tells it.
        assert streams('run', 'inf-streams', data, out, '--setting', setting) == 0
        again = capsys.readouterr()
        assert f'0 not captioned, {problems} stretches with a problem' in again.out
        assert f'{GAMES[0]} from 10 s: ' in again.err
        benchmark = infstreams.read(data, begin=10, segment=5)
        later = incomplete(benchmark, setting, out)
        assert list(later) == [f'{GAMES[0]} from {start} s' for start in (10, 15)[:problems]]
        assert (
            list(later.values())
            == [
                f'{GAMES[0]} ends before {20 if setting == "endless" else 15} s',
                'nothing of it was captioned',
            ][:problems]
        )


def test_damage_is_told_beside_the_captions_before_it(tmp_path, watcher, capsys):
    data = inf_streams(tmp_path / 'data')
    video = film(data / GAMES[0], 20, kind='mpegts')
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 4 // 5 // 188 * 188 + 50])
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 0
    cut, whole = rows(tmp_path / 'out' / 'captions.jsonl')
    assert (cut['chunk_start'], whole['chunk_end']) == (10, 20)
    assert 12 < cut['chunk_end'] < 18
    assert cut['problem'].startswith(f'{GAMES[0]} is cut short')
    assert 'problem' not in whole
    assert cut['problem'] in capsys.readouterr().err


def test_a_full_memory_keeps_what_was_said_until_then(tmp_path, watcher, capsys):
    def fills(start):
        if start == 12:
            raise MemoryFull('policy full_attention needs more')

    watcher.before = fills
    data = inf_streams(tmp_path / 'data')
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 0
    for row in rows(tmp_path / 'out' / 'captions.jsonl'):
        assert (row['chunk_end'], row['problem']) == (12, 'policy full_attention needs more')
    assert '2 stretches with a problem' in capsys.readouterr().out


def sees(request: dict[str, Any]) -> str:
    """A model that counts its pictures and says what it was asked."""
    content = request['messages'][1]['content']
    pictures = [part for part in content if part['type'] == 'image_url']
    return f'{len(pictures)} pictures. {content[0]["text"]}'


def test_a_model_behind_an_endpoint_is_shown_every_window(tmp_path):
    data = inf_streams(tmp_path / 'data')
    with chat_server(sees, 503) as server:
        words = '--base-url', server.url, '--model', 'm', '--workers', '2'
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 0
        assert len(server.requests) == 5  # one of them twice
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 0
        assert len(server.requests) == 5
    found = rows(tmp_path / 'out' / 'captions.jsonl')
    assert [(r['chunk_start'], r['chunk_end']) for r in found] == [(10, 15), (15, 20)] * 2
    # 5 s at a frame every 4 s are two frames
    assert found[0]['items'] == [
        {'response': '2 pictures. Describe the video.', 'start_time': 10, 'end_time': 15}
    ]
    url = server.requests[-1]['messages'][1]['content'][2]['image_url']['url']
    kind, _, picture = url.partition(',')
    assert kind == 'data:image/jpeg;base64'
    assert base64.b64decode(picture)[:3] == b'\xff\xd8\xff'


def test_the_replies_are_cached_without_the_pictures(tmp_path):
    data = inf_streams(tmp_path / 'data')
    with chat_server(sees) as server:
        words = '--base-url', server.url, '--model', 'm', '--previous', 'truth'
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 0
        asked = len(server.requests)
        for file in (tmp_path / 'out' / 'videos').rglob('*.jsonl'):
            file.unlink()
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 0
        assert len(server.requests) == asked
    cached = [path.read_text() for path in (tmp_path / 'out' / 'replies').rglob('*.json')]
    assert len(cached) == asked
    assert not any('base64' in text for text in cached)
    told = server.requests[0]['messages'][1]['content'][0]['text']
    assert 'Said before:\nw1 x1' in told


def test_an_event_is_asked_about_with_its_title_and_what_was_said_before(tmp_path):
    data = live_sports(tmp_path / 'data')
    with chat_server(sees) as server:
        words = '--base-url', server.url, '--model', 'm', '--workers', '1'
        assert streams('ask', 'livesports', data, tmp_path / 'out', *words) == 0
    first, _, last = (r['messages'][1]['content'][0]['text'] for r in server.requests)
    assert 'The video is titled: Event 1' in first
    assert first.endswith('Said before:\nWelcome.')
    assert 'Said before' not in last
    made = json.loads((tmp_path / 'out' / 'run.json').read_text())
    assert made['settings']['previous'] == 'truth'
    assert 'titled' not in made['settings']['query']


def test_a_refusal_is_an_empty_caption_that_says_why(tmp_path, capsys):
    data = live_sports(tmp_path / 'data')

    def prim(request: dict[str, Any]) -> dict[str, Any]:
        return {'content': None, 'refusal': 'I cannot watch this.'}

    with chat_server(prim) as server:
        words = '--base-url', server.url, '--model', 'm'
        assert streams('ask', 'livesports', data, tmp_path / 'out', *words) == 0
    assert '3 stretches with a problem' in capsys.readouterr().out
    found = rows(tmp_path / 'out' / 'captions.jsonl')
    assert {(row['pred'], row['problem']) for row in found} == {('', 'I cannot watch this.')}
    assert incomplete(livesports.read(data), 'windows', tmp_path / 'out') == {
        f'{video} from {start} s': 'I cannot watch this.'
        for video, start in (('LEsNb.mp4', 2.5), ('LEsNb.mp4', 8), ('ZZ.mp4', 1))
    }


def test_an_endpoint_that_is_down_ends_the_run_and_the_next_one_goes_on(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    data = inf_streams(tmp_path / 'data')
    with chat_server(sees) as server:
        words = ('--base-url', server.url, '--model', 'm', '--workers', '1', '--tries', '2')

        def stops(request: dict[str, Any]) -> str:
            if len(server.requests) == 2:
                server.faults.extend([500, 'drop'])
            return sees(request)

        server.answer = stops
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 1
        assert 'Run the same command again' in capsys.readouterr().err
        server.answer = sees
        assert streams('ask', 'inf-streams', data, tmp_path / 'out', *words) == 0
        assert len(server.requests) == 2 + 2 + 2


def test_frames_are_taken_at_a_steady_rate_and_never_more_than_the_most(tmp_path, monkeypatch):
    video = film(tmp_path / 'a.mp4', 20)
    assert [second for second, _ in frames(video, 2, 20)] == [2, 6, 10, 14, 18]
    monkeypatch.setattr(captioning, 'MOST', 3)
    assert [second for second, _ in frames(video, 2, 20)] == [2, 8, 14]
    assert len({jpeg for _, jpeg in frames(video, 2, 20)}) == 3


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('--shard', '3/2'), "--shard '3/2'"),
        (('--begin', '500'), 'has no window from 500 s on'),
        (('--begin', '-1'), 'give at least --begin 0'),
    ],
)
def test_a_mistake_in_a_flag_is_told_in_a_line(tmp_path, watcher, capsys, words, told):
    data = inf_streams(tmp_path / 'data')
    place = ['--data', str(data), '--output', str(tmp_path / 'out'), '--begin', '10']
    assert cli.main(['streams', 'run', 'inf-streams', *place, *words]) == 1
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, capsys):
    data = inf_streams(tmp_path / 'data')
    lines(data / 'eval_all_metadata.jsonl', {'video': '/etc/a.mp4', 'content': []})
    assert streams('run', 'inf-streams', data, tmp_path / 'out') == 1
    assert 'leads out of the folder' in capsys.readouterr().err
