# SPDX-License-Identifier: Apache-2.0
"""Every format of the field is known by its first row; faults are named by line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matches import film
from svlm_core import cli
from svlm_core.curation.formats import FORMATS
from svlm_core.curation.validation import validate
from svlm_core.errors import SettingsError, SourceError

WORDS = [[1.0, 1.4, 'Kick'], [1.4, 2.0, 'off.']]
OVO = {'id': 7, 'task': 'EPM', 'video': 'a.mp4'}
LVB = {
    'video_id': 'v', 'id': 'v_0', 'video_path': 'v.mp4', 'subtitle_path': 'v_en.json',
    'question': 'What?', 'correct_choice': 1, 'duration': 12.5, 'duration_group': 15,
    'question_category': 'T2E', 'topic_category': 'NP', 'starting_timestamp_for_subtitles': 0,
}  # fmt: skip
ASKED = {'task_type': 'Count', 'question': 'How many?', 'time_stamp': '00:03:10'}
MME = {
    'video_id': '001', 'duration': 'short', 'domain': 'Knowledge', 'sub_category': 'Sport',
}  # fmt: skip

GOOD: dict[str, list[dict[str, Any]]] = {
    'answers': [
        {
            'video': 'a.mp4', 'chunk_start': 0, 'chunk_end': 100,
            'items': [{'response': 'Kick off.', 'start_time': 0, 'end_time': 1.0}],
        }
    ],
    'clips': [{'video': 'a.mp4', 'title': 'A vs B', 'content': WORDS, 'preasr': ''}],
    'words': [{'video': 'a.mp4', 'content': WORDS}],
    'scores': [
        {
            'video': 'a.mp4', 'title': '', 'start': 0, 'end': 100, 'winner': 'equal',
            'votes': {'A': 1, 'B': 0}, 'judge': {'model': 'm', 'vote_ab': 'A', 'vote_ba': None},
        }
    ],
    'livesports-cc': [
        {
            'video': 'a.mp4', 'video_id': 'x', 'event_id': 3, 'begin': 1.5, 'end': 12,
            'event_title': 'Goal', 'preasr_text': '', 'event_asr_text': 'He scores.',
        }
    ],
    'livesports-predictions': [
        {'video_id': 'x', 'event_id': 3, 'begin': 1.5, 'end': 12, 'pred': ''}
    ],
    'livesports-votes': [{'video_event_id': 'x_3', 'ab_winner': 'A', 'ba_winner': 'tie'}],
    'livesports-qa': [
        {
            'video_id': 'x', 'question_id': 1, 'q_type': 'when', 'OCR': True, 'question': 'When?',
            'options': ['now', 'never'], 'answer': 'A',
        }
    ],
    'ovo-bench': [
        {**OVO, 'realtime': 8, 'question': 'What?', 'options': ['x', 'y'], 'gt': 1, 'answer': 'y'},
        {
            **OVO, 'task': 'REC', 'activity': 'jump', 'start_times': [1], 'end_times': [2],
            'test_info': [{'realtime': 3, 'count': 1}],
        },
        {
            **OVO, 'task': 'SSR', 'tutorial': 'cook', 'all_steps': ['cut'], 'start_time': [1],
            'end_time': [2], 'test_info': [{'realtime': 3, 'step': 'cut', 'type': 0}],
        },
        {
            **OVO, 'task': 'CRR', 'question': 'Who?', 'answer': 'he', 'ask_time': 1,
            'clue_time': 5, 'test_info': [{'realtime': 3, 'type': 1}],
        },
    ],
    'mvbench': [
        {'video': 'a.mp4', 'question': 'What?', 'candidates': ['x', 'y'], 'answer': 'x'},
        {
            'video': 'b.mp4', 'question': 'What?', 'candidates': ['x', 'y'], 'answer': 'x',
            'start': 1.0, 'end': 2.0,
        },
    ],
    'video-mme-results': [
        {
            **MME,
            'questions': [
                {
                    'question_id': '001-1', 'task_type': 'Counting', 'question': 'How many?',
                    'options': ['A. 1', 'B. 2'], 'answer': 'B', 'response': '',
                }
            ],
        }
    ],
    'video-mme': [
        {
            **MME, 'url': 'u', 'videoID': 'abc', 'question_id': '001-1', 'task_type': 'Counting',
            'question': 'How many?', 'options': ['A. 1', 'B. 2'], 'answer': 'B',
        }
    ],
    'longvideobench': [{**LVB, 'candidates': ['x', 'y']}],
    'longvideobench-flat': [{**LVB, **{f'option{n}': 'N/A' for n in range(5)}}],
    'longvideobench-subtitles': [
        {'start': '00:00:01.5', 'end': '00:00:03', 'line': 'Hello.'},
        {'timestamp': [1.5, None], 'text': 'Hello.'},
    ],
    'streamingbench': [
        {
            'time': '[0:03:00 - 0:06:00]', 'video_path': 'a.mp4', 'video_categories': 'Sports',
            'questions': [
                {**ASKED, 'answer': 'A', 'options': ['A. 1'], 'required_ability': 'episodic'},
                {
                    **ASKED, 'ground_truth_time_stamp': '00:04:00', 'ground_truth_output': 'Goal',
                },
            ],
        }
    ],
    'captions': [
        {
            'stamp': 0.5, 'frame_id': '', 'camera': 'a', 'window_start': 0.0, 'sequence': 0,
            'kind': 'caption', 'text': 'Hi.', 'delta': 'Hi.', 'done': True, 'late': False,
            'frames_used': 2, 'frames_repeated': 0, 'frames_dropped': 0, 'tokens': 3,
            'latency': None,
        }
    ],
}  # fmt: skip


def write(path: Path, rows: list, layout: str) -> Path:
    """Rows as JSON lines, or as an array on one line or on many."""
    if layout == 'lines':
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    else:
        path.write_text(json.dumps(rows, indent=2 if layout == 'array' else None))
    return path


def test_there_is_an_example_of_every_format():
    assert GOOD.keys() == {of.name for of in FORMATS} | {'captions'}


@pytest.mark.parametrize('layout', ['lines', 'line', 'array'])
@pytest.mark.parametrize('name', GOOD)
def test_a_file_is_known_by_its_first_row(name, layout, tmp_path):
    found = validate(write(tmp_path / 'file.json', GOOD[name], layout))
    assert (found.format, found.rows, found.faults) == (name, len(GOOD[name]), ())


OPTIONAL = {('mvbench', 'start'), ('mvbench', 'end')} | {
    (name, 'correct_choice') for name in ('longvideobench', 'longvideobench-flat')
}


@pytest.mark.parametrize('change', ['gone', 'odd'])
@pytest.mark.parametrize('name', GOOD)
def test_every_field_is_looked_at(name, change, tmp_path):
    """Each field of each row is taken away, or given a value that no field may have."""
    for number, row in enumerate(GOOD[name]):
        for field in row:
            if change == 'gone' and (name, field) in OPTIONAL:
                continue
            bad = {**row, field: {'odd': 1}}
            if change == 'gone':
                del bad[field]
            rows = [*GOOD[name][:number], bad]
            found = validate(write(tmp_path / 'file.jsonl', rows, 'lines'), name=name)
            assert len(found.faults) == 1, field
            assert f'file.jsonl line {number + 1}: ' in found.faults[0]
            # Without its marks a subtitle looks like one of the other kind.
            if field not in ('timestamp', 'text') or name != 'longvideobench-subtitles':
                assert field in found.faults[0]


@pytest.mark.parametrize(
    ('name', 'path', 'value', 'told'),
    [
        ('words', ('content', 1), [2.5, 1.0, 'off.'], 'content[1] starts at 2.5 s, after its end'),
        ('clips', ('content', 0, 2), 7, 'content[0][2] is 7, not text'),
        ('answers', ('items', 0, 'end_time'), None, 'items[0].end_time is null, not a number'),
        ('answers', ('video',), ' ', 'video is empty'),
        ('scores', ('judge', 'vote_ab'), 'C', 'judge.vote_ab is "C", not one of A, B, equal'),
        ('ovo-bench', ('task',), 'XYZ', 'task is "XYZ", not one of EPM'),
        ('ovo-bench', ('gt',), 1.5, 'gt is 1.5, not a whole number'),
        ('video-mme', ('options', 1), '2', 'options[1] is "2", which is not written as'),
        ('video-mme', ('duration',), 'tiny', 'duration is "tiny", not one of short, medium, long'),
        ('streamingbench', ('questions', 0, 'time_stamp'), '3m', '[0].time_stamp is "3m"'),
        ('livesports-cc', ('begin',), -1, 'begin is -1, less than 0'),
        ('captions', ('kind',), 'shout', "field kind cannot be 'shout'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize('layout', ['lines', 'array'])
def test_a_wrong_value_is_named_by_file_line_and_field(
    name, path, value, told, layout, tmp_path, capsys
):
    bad = json.loads(json.dumps(GOOD[name][0]))
    place = bad
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file = write(tmp_path / 'file.json', [GOOD[name][0], bad], layout)
    line = 2
    if layout == 'array':  # where the second object begins
        line = [n for n, text in enumerate(file.read_text().splitlines(), 1) if text == '  {'][1]
    assert cli.main(['curate', 'validate', str(file)]) == 1
    fault, summary = capsys.readouterr().out.splitlines()
    assert fault.startswith(f'{file} line {line}: ')
    assert told in fault
    assert summary == f'{file}: {name}, 2 rows, 1 with faults'


def training_row(**changes: Any) -> list:
    shown = {'type': 'video', 'video': 'a.mp4', 'video_start': 0.0, 'video_end': 24.0}
    asked = {'type': 'text', 'text': '', 'previous': ''}
    said = {'type': 'text_stream', 'text_stream': WORDS}
    return [
        {'role': 'user', 'content': [{**shown, **changes}, asked]},
        {'role': 'assistant', 'content': [said]},
    ]


@pytest.mark.parametrize('inside', [False, True])
def test_rows_of_training_are_held_to_what_training_reads(inside, tmp_path, capsys):
    film(tmp_path / 'videos' / 'a.mp4', 2)
    rows = [training_row(), training_row(video='b.mp4'), training_row(video_end='x')]
    lines = [json.dumps(row) + '\n' for row in rows]
    starts = [sum(map(len, lines[:n])) for n in range(3)]
    file = tmp_path / 'train.jsonl'
    file.write_text(''.join(lines) + (json.dumps(starts) if inside else ''))
    words = ['curate', 'validate', str(file), '--videos', str(tmp_path / 'videos')]
    assert cli.main(words) == 1
    told = capsys.readouterr().out.splitlines()
    assert 'line 2: [0].content video' in told[0]
    assert 'line 3: [0].content video_end is "x"' in told[1]
    assert told[2] == f'{file}: training rows, 3 rows, 2 with faults'


ASKED_WITHIN = [[0, 2.0, 'Who kicks off?', 'Smith.'], [None, 3.5, 'And now?', 'Brown.']]


@pytest.mark.parametrize(
    ('asked', 'told'),
    [
        (ASKED_WITHIN, ''),
        ([], ''),
        ({'0': 'x'}, 'qa_stream is {"0": "x"}, not a list'),
        ([['Who?', 'Smith.']], 'qa_stream[0] is not [..., second, question, answer]'),
        ([*ASKED_WITHIN, [0, '2', 'Who?', 'He.']], 'qa_stream[2][1] is "2", not a number of'),
        ([[0, 2.0, None, 'He.']], 'qa_stream[0][2] is null, not a question'),
        ([[0, 2.0, 'Who?', ['He.']]], 'qa_stream[0][3] is ["He."], not an answer'),
    ],
)
def test_questions_within_a_row_of_inf_stream_train_are_looked_at(asked, told, tmp_path):
    film(tmp_path / 'a.mp4', 2)
    row = training_row()
    row[1]['content'][0]['qa_stream'] = asked
    found = validate(write(tmp_path / 'train.jsonl', [training_row(), row], 'lines'))
    assert (found.format, found.rows) == ('training rows', 2)
    assert [fault.partition('[1].content ')[2][: len(told)] for fault in found.faults] == (
        [told] if told else []
    )
    assert all('train.jsonl line 2: ' in fault for fault in found.faults)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('', 'holds no rows'),
        ('\n\n', 'holds no rows'),
        ('{"a": 1}\n', 'its first row is of no known format; name it with --format'),
        ('[1, 2]\n', 'its first row is of no known format'),
        ('[\n{"video": "a",\n', 'line 2: the list breaks off'),
    ],
)
def test_a_file_that_nobody_knows_is_told(text, told, tmp_path):
    (tmp_path / 'file.json').write_text(text)
    with pytest.raises(SourceError, match=told):
        validate(tmp_path / 'file.json')


def test_a_line_that_is_no_json_is_a_fault_like_others(tmp_path):
    path = write(tmp_path / 'file.jsonl', GOOD['words'] * 2, 'lines')
    path.write_text(path.read_text() + '{"video": \n')
    found = validate(path)
    assert (found.rows, len(found.faults)) == (3, 1)
    assert 'line 3: the row is no JSON' in found.faults[0]


def test_a_format_can_be_named_and_must_exist(tmp_path):
    path = write(tmp_path / 'file.jsonl', GOOD['words'], 'lines')
    assert 'title is missing' in validate(path, name='clips').faults[0]
    with pytest.raises(SettingsError, match="'clip' is unknown: choose one of training rows"):
        validate(path, name='clip')
    with pytest.raises(SourceError, match='cannot be read'):
        validate(tmp_path / 'none.jsonl')
