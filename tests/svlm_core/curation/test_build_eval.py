# SPDX-License-Identifier: Apache-2.0
"""A benchmark of one's own videos: windows in which enough is said, in the published format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from svlm_core import cli
from svlm_core.evaluation.streams import infstreams


@pytest.fixture
def heard_out(curate, tmp_path) -> Path:
    """A season whose words stand where they were said, not cleaned by a model."""
    for step in ('probe', 'transcribe', 'align'):
        assert curate('', step=step) == 0
    return tmp_path / 'out'


def build(curate, *words: str) -> int:
    return curate('', '--stage', 'align', *words, step='build-eval')


def test_windows_of_100_s_with_enough_words_become_a_benchmark(curate, heard_out, capsys):
    assert build(curate) == 0
    # ten words every 4 s but from 50 to 62; the other match has no whole 100 s
    assert 'none                 1 videos of 0.04 h, 1 segments with 220 words' in (
        capsys.readouterr().out
    )
    folder = heard_out / 'eval'
    benchmark = infstreams.read(folder, begin=0)
    (window,) = benchmark.windows
    assert (window.video, window.start, len(window.said)) == ('a_vs_b.mp4', 0, 220)
    (stretch,) = benchmark.stretches('chunks')
    # The last whole second with a word; what comes after it is not judged.
    assert (stretch.start, stretch.end, stretch.title) == (0, window.end, 'a vs b')
    assert window.end == 99
    for name in ('eval_all_metadata.jsonl', 'score_all_clips.jsonl'):
        assert cli.main(['curate', 'validate', str(folder / name)]) == 0


def test_a_word_that_is_being_said_when_a_window_begins_does_not_make_it_begin_earlier(
    curate, heard_out
):
    assert build(curate, '--segment', '5', '--min-words', '5') == 0
    folder = heard_out / 'eval'
    said = [
        word
        for line in (folder / 'eval_all_metadata.jsonl').read_text().splitlines()
        for word in json.loads(line)['content']
    ]
    assert any(start < 5 < end for start, end, _ in said), 'as it was heard'
    window = infstreams.read(folder, begin=5).windows[0]
    assert (window.video, window.start) == ('a_vs_b.mp4', 5)
    assert not any(window.start % 5 for window in infstreams.read(folder, begin=0).windows)


def test_what_was_said_before_a_window_goes_with_it(curate, heard_out):
    assert build(curate, '--segment', '30', '--min-words', '70') == 0
    lines = (heard_out / 'eval' / 'score_all_clips.jsonl').read_text().splitlines()
    clips = [json.loads(line) for line in lines]
    assert [(c['video'], int(c['content'][-1][1])) for c in clips] == [
        ('a_vs_b.mp4', 29), ('a_vs_b.mp4', 119),  # nothing is said around the first minute
        ('cup/final.mkv', 29), ('cup/final.mkv', 59),
    ]  # fmt: skip
    said = [word for clip in clips[:1] for _, _, word in clip['content']]
    assert clips[0]['preasr'] == ''
    assert clips[1]['preasr'].split()[: len(said)] == said
    assert clips[2]['category'] == 'Sports'
    rows = json.loads((heard_out / 'eval' / 'counts.json').read_text())['rows']
    counts = {row['category']: (row['videos'], row['segments']) for row in rows}
    assert counts == {'': (1, 2), 'Sports': (1, 2), 'all': (2, 4)}
    total = rows[-1]
    assert total['segment_seconds'] == 120
    assert total['seconds_per_video'] == pytest.approx((130 + 61) / 2, abs=0.6)
    assert total['words'] == sum(len(clip['content']) for clip in clips)


def test_it_can_be_read_with_which_settings_a_benchmark_was_made(curate, heard_out):
    assert build(curate, '--segment', '30', '--min-words', '70') == 0
    record = json.loads((heard_out / 'build-eval.json').read_text())
    settings = heard_out / 'settings' / f'build-eval-{record["settings"]}.json'
    assert json.loads(settings.read_text()) == {'segment': 30, 'min_words': 70, 'stage': 'align'}
    assert (heard_out / 'settings' / f'code-{record["code"]}.json').is_file()
    assert record['files'].keys() == {path.name for path in (heard_out / 'eval').iterdir()}
    assert (record['counts']['videos'], record['counts']['segments']) == (2, 4)
    assert build(curate) == 0
    again = json.loads((heard_out / 'build-eval.json').read_text())
    assert again['input'] == record['input']
    assert again['settings'] != record['settings']


def test_a_benchmark_without_a_window_is_not_made_and_the_one_before_stays(
    curate, heard_out, capsys
):
    assert build(curate) == 0
    record = (heard_out / 'build-eval.json').read_bytes()
    before = (heard_out / 'eval' / 'score_all_clips.jsonl').read_bytes()
    assert build(curate, '--min-words', '500') == 1
    assert 'videos has 100 s with 500 words' in capsys.readouterr().err
    assert (heard_out / 'eval' / 'score_all_clips.jsonl').read_bytes() == before
    assert (heard_out / 'build-eval.json').read_bytes() == record
    assert not list((heard_out / 'eval').glob('.*.part'))


def test_videos_that_have_not_been_cleaned_are_told(curate, heard_out, capsys):
    assert curate('', step='build-eval') == 1
    assert 'run `svlm curate clean`' in capsys.readouterr().err


def test_all_shards_must_be_there(curate, heard_out, capsys):
    assert build(curate, '--shard', '1/2') == 1
    assert 'merge the shards first' in capsys.readouterr().err
