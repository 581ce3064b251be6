# SPDX-License-Identifier: Apache-2.0
"""Words come from whisperX, from LiveCC, or from faster-whisper, and are not mended on the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from matches import save
from svlm_core import cli
from svlm_core.curation.asr import transcribing
from svlm_core.curation.settings import Transcribing
from svlm_core.curation.transcripts import Segment, Transcript, Word, read_transcript
from svlm_core.errors import SettingsError, SourceError
from svlm_core.shapes import Misfit

FACTS = {'title': 'A vs B', 'duration': 30.0}

WHISPERX = {
    'segments': [
        {
            'start': 1.0,
            'end': 2.5,
            'text': ' 2 goals.',
            'words': [{'word': '2'}, {'word': 'goals.', 'start': 1.6, 'end': 2.4, 'score': 0.8}],
        },
        {'start': 4.0, 'end': 5.0, 'text': ' Not aligned.', 'words': []},
    ],
    'word_segments': [],
    'language': 'en',
}
READ = Transcript(
    'en',
    (
        Segment(1.0, 2.5, (Word(None, None, '2'), Word(1.6, 2.4, 'goals.', 0.8))),
        Segment(4.0, 5.0, (Word(None, None, 'Not'), Word(None, None, 'aligned.'))),
    ),
)


def test_whisperx_with_words_that_have_no_time():
    assert read_transcript(WHISPERX) == READ


@pytest.mark.parametrize(
    'content',
    [
        [[1, 2, ' Kick'], [3.5, 3, 'off.']],
        {'video': 'a', 'content': [[1, 2, 'Kick'], [3.5, 3, 'off.']]},
    ],
)
def test_words_of_livecc_even_those_that_end_before_they_start(content):
    words = Word(1.0, 2.0, 'Kick'), Word(3.5, 3.0, 'off.')
    assert read_transcript(content) == Transcript('', (Segment(None, None, words),))


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        ({}, 'segments is missing'),
        ([[1, 2]], 'content[0] is not [start, end, word]'),
        ([[1, 2, 'a'], ['x', 2, 'b']], 'content[1] is "x", not a number'),
        ({'segments': [{'start': 1}]}, 'segments[0].end is missing'),
        (
            {'segments': [{'start': 1, 'end': 2, 'words': [{'word': 'a', 'start': '1'}]}]},
            'segments[0].words[0].start is "1", not a number',
        ),
    ],
)
def test_a_transcript_of_another_shape_is_named_by_field(content, told):
    with pytest.raises(Misfit) as caught:
        read_transcript(content)
    assert str(caught.value) == told


def test_a_transcript_survives_being_stored():
    assert Transcript.from_json(json.loads(json.dumps(READ.to_json()))) == READ


def test_one_file_may_hold_the_words_of_all_videos(tmp_path):
    path = tmp_path / 'words.jsonl'
    path.write_text('{"video": "cup/a.mp4", "content": [[1, 2, "Kick"]]}\n')
    stage = transcribing(tmp_path, Transcribing(path))
    assert stage.make('cup/a.mp4', FACTS).content['segments'][0]['words'] == [
        [1.0, 2.0, 'Kick', None]
    ]
    with pytest.raises(SourceError, match=r'has no row for b.mp4'):
        stage.make('b.mp4', FACTS)
    path.write_text('{"video": "a.mp4"}\n{"video": 3}\n')
    with pytest.raises(SourceError, match=r'line 2: video is 3, not text'):
        transcribing(tmp_path, Transcribing(path))


def test_a_transcript_that_changes_is_read_again(tmp_path):
    stage = transcribing(tmp_path, Transcribing(tmp_path))
    save(tmp_path / 'a.json', [[1, 2, 'Kick']])
    before = stage.also('a.mp4')
    save(tmp_path / 'a.json', [[1, 2, 'Kick!']])
    assert stage.also('a.mp4') != before


@pytest.mark.parametrize(
    'given', [Transcribing(), Transcribing(Path('x'), speech_model='large-v3')]
)
def test_it_must_be_said_where_words_come_from(given, tmp_path):
    with pytest.raises(SettingsError, match='say where words come from'):
        transcribing(tmp_path, given)


def test_without_faster_whisper_it_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'faster_whisper', None)
    with pytest.raises(SettingsError, match=r'pip install svlm\[asr\]'):
        transcribing(tmp_path, Transcribing(speech_model='large-v3'))


class Model:
    """What faster_whisper.WhisperModel looks like from outside."""

    made: list[tuple[str, dict]]
    heard: list[tuple[str, dict]]
    trouble: Exception | None = None

    def __init__(self, name: str, **options):
        self.made.append((name, options))
        if name == 'unknown':
            raise ValueError("Invalid model size 'unknown'")

    def transcribe(self, audio: str, **options):
        self.heard.append((audio, options))
        if self.trouble:
            raise self.trouble
        words = [
            SimpleNamespace(
                word=' Kick', start=np.float32(1.1), end=np.float32(1.5), probability=0.912345
            ),
            SimpleNamespace(word=' off.', start=1.5, end=2.0, probability=0.5),
        ]
        segment = SimpleNamespace(start=1.0, end=2.25, text=' Kick off.', words=words)
        about = SimpleNamespace(language='en', duration=30.0)
        return (piece for piece in [segment]), about


class Batched(Model):
    def __init__(self, model: Model):
        self.model = model


@pytest.fixture
def whisper(monkeypatch):
    """A module with the interface of faster-whisper."""
    Model.made, Model.heard, Model.trouble = [], [], None
    module = ModuleType('faster_whisper')
    module.WhisperModel, module.BatchedInferencePipeline = Model, Batched  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'faster_whisper', module)
    return Model


def test_faster_whisper_is_asked_for_word_times_and_loaded_once(whisper, tmp_path):
    given = Transcribing(speech_model='large-v3-turbo', device='cpu', compute_type='int8')
    stage = transcribing(tmp_path, given)
    assert whisper.made == []  # nothing is loaded, or fetched, before there is a video to hear
    product = stage.make('a.mp4', FACTS)
    stage.make('b.mp4', FACTS)
    assert whisper.made == [('large-v3-turbo', {'device': 'cpu', 'compute_type': 'int8'})]
    assert [audio for audio, _ in whisper.heard] == [
        str(tmp_path / 'a.mp4'), str(tmp_path / 'b.mp4'),
    ]  # fmt: skip
    assert whisper.heard[0][1] == {
        'word_timestamps': True,
        'vad_filter': True,
        'language': None,
        'condition_on_previous_text': False,
    }
    assert json.loads(json.dumps(product.content)) == {
        **FACTS,
        'language': 'en',
        'segments': [
            {
                'start': 1.0,
                'end': 2.25,
                'words': [[1.1, 1.5, 'Kick', 0.912], [1.5, 2.0, 'off.', 0.5]],
            }
        ],
    }
    assert product.counts == {'segments': 1, 'words': 2}


def test_sound_that_cannot_be_decoded_leaves_out_its_video_until_it_can(
    whisper, season, curate, tmp_path, monkeypatch, capsys
):
    hear = whisper.transcribe

    def torn(self, audio: str, **options):
        if 'final' in audio:
            raise RuntimeError('Invalid data found when processing input')
        return hear(self, audio, **options)

    place = str(season / 'videos'), str(tmp_path / 'out')
    listen = ['curate', 'transcribe', *place, '--speech-model', 'small', '--device', 'cpu']
    assert curate('', step='probe') == 0
    monkeypatch.setattr(whisper, 'transcribe', torn)
    for heard in (['a_vs_b.mp4'], []):  # what was heard is not heard again
        whisper.heard.clear()
        assert cli.main(listen) == 1
        why = 'cannot be transcribed: Invalid data found when processing input'
        assert f'left out: cup/final.mkv: cup/final.mkv {why}\n' in capsys.readouterr().out
        assert [Path(audio).name for audio, _ in whisper.heard] == heard
    monkeypatch.setattr(whisper, 'transcribe', hear)
    assert cli.main(listen) == 0
    assert [Path(audio).name for audio, _ in whisper.heard] == ['final.mkv']


def test_faster_whisper_can_take_many_pieces_at_a_time(whisper, tmp_path):
    given = Transcribing(speech_model='small', batch=16, language='de')
    transcribing(tmp_path, given).make('a.mp4', FACTS)
    assert whisper.heard[0][1] == {
        'word_timestamps': True,
        'vad_filter': True,
        'language': 'de',
        'batch_size': 16,
    }


def test_what_goes_wrong_in_faster_whisper_is_told(whisper, tmp_path):
    with pytest.raises(SettingsError, match='--speech-model unknown cannot be loaded: Invalid'):
        transcribing(tmp_path, Transcribing(speech_model='unknown')).make('a.mp4', FACTS)
    whisper.trouble = RuntimeError('CUDA out of memory')
    with pytest.raises(SourceError, match=r'a.mp4 cannot be transcribed: CUDA out of memory'):
        transcribing(tmp_path, Transcribing(speech_model='small')).make('a.mp4', FACTS)


def test_a_video_in_which_nothing_is_said_goes_no_further(tmp_path):
    save(tmp_path / 'a.json', [])
    product = transcribing(tmp_path, Transcribing(tmp_path)).make('a.mp4', FACTS)
    assert product.left_out == 'nothing is said in it'
