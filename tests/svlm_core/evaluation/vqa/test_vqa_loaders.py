# SPDX-License-Identifier: Apache-2.0
"""The official files, field by field, and what is said of files that are not as published."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import official_files as made
from svlm_core.errors import SettingsError, SourceError
from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS, choose
from svlm_core.evaluation.vqa.question import Question


def load(name: str, folder: Path, subtitles: bool = False) -> list[Question]:
    return BENCHMARKS[name].load(folder, subtitles)


def test_mvbench_takes_bounds_for_bounded_tasks_alone_and_finds_videos_that_came_later(published):
    folder = published['mvbench']
    by_task = {question.task: question for question in load('mvbench', folder)}
    assert set(by_task) == set(made.MVBENCH)
    bounded, whole = by_task['action_sequence'], by_task['object_existence']
    assert (bounded.start, bounded.end) == (1.5, 4.0)
    assert (whole.start, whole.end) == (0.0, None)
    assert whole.options == ('not sure', 'yes', 'no')
    assert (whole.answer, whole.kind) == ('C', 'choice')
    assert bounded.tags == {'question_id': 'Interaction_T1_13'}
    assert all(question.video.exists() for question in by_task.values())
    assert 'data0613' in str(bounded.video)
    frames = by_task['episodic_reasoning']
    assert frames.video.is_dir()
    assert frames.image_fps == 3


def test_of_equal_candidates_the_last_one_is_right(tmp_path):
    row = {'video': 'a.mp4', 'question': 'Q?', 'candidates': ['x', 'y', 'x'], 'answer': 'x'}
    made.write(tmp_path / 'json/action_count.json', [row])
    assert load('mvbench', tmp_path)[0].answer == 'C'


def test_videomme_has_every_field_and_its_letters_are_taken_off(published):
    first, second = load('videomme', published['videomme'], subtitles=True)
    assert first.id == '001-1'
    assert first.options == ('Two.', 'Three.', 'Four.', 'Five.')
    assert (first.answer, second.answer) == ('C', 'A')
    assert first.task == 'Counting Problem'
    assert first.video == second.video == published['videomme'] / 'video/fFjv93ACGo8.mp4'
    assert first.subtitles == published['videomme'] / 'subtitle/fFjv93ACGo8.srt'
    assert first.tags == {
        'duration': 'short',
        'domain': 'Knowledge',
        'sub_category': 'Humanity & History',
        'url': 'https://www.example.org/watch?v=fFjv93ACGo8',
        'video_id': '001',
    }
    assert load('videomme', published['videomme'])[0].subtitles is None


def test_videomme_is_the_same_from_parquet_from_lines_and_from_the_nested_file(
    published, tmp_path
):
    usual = load('videomme', published['videomme'])
    (tmp_path / 'a/videomme').mkdir(parents=True)
    table = pyarrow.Table.from_pylist(made.VIDEOMME)
    parquet.write_table(table, tmp_path / 'a/videomme/test-00000-of-00001.parquet')
    (tmp_path / 'b').mkdir()
    lines = ''.join(f'{json.dumps(row)}\n' for row in made.VIDEOMME)
    (tmp_path / 'b/videomme.jsonl').write_text(lines)
    made.write(tmp_path / 'c/Video-MME.json', made.videomme_nested())
    for name in 'abc':
        questions = load('videomme', tmp_path / name)
        for ours, theirs in zip(questions, usual, strict=True):
            same = ('id', 'task', 'text', 'options', 'answer')
            assert [getattr(ours, f) for f in same] == [getattr(theirs, f) for f in same]
            assert ours.tags['duration'] == 'short'
    assert load('videomme', tmp_path / 'c')[0].video.name == '001.mp4'


def test_longvideobench_reads_its_json_and_the_flat_file_with_columns_for_options(
    published, tmp_path
):
    (question,) = load('longvideobench', published['longvideobench'])
    assert (question.id, question.task, question.answer) == ('86CxyhFV9MI_0', 'TOS', 'B')
    assert question.video.is_file()
    assert question.tags['duration_group'] == '600'
    assert question.tags['topic_category'] == 'NP-News-Programs'
    assert question.tags['subtitle_path'] == '86CxyhFV9MI_en.json'
    assert question.tags['starting_timestamp_for_subtitles'] == '0'
    flat = {n: v for n, v in made.LONGVIDEOBENCH[0].items() if n not in ('candidates', 'position')}
    columns = [*made.LONGVIDEOBENCH[0]['candidates'], 'N/A']
    flat |= {f'option{number}': option for number, option in enumerate(columns)}
    path = tmp_path / 'validation-00000-of-00001.parquet'
    parquet.write_table(pyarrow.Table.from_pylist([flat]), path)
    (same,) = load('longvideobench', tmp_path)
    assert (same.options, same.answer, same.tags) == (
        question.options,
        question.answer,
        question.tags,
    )


def test_the_test_set_of_longvideobench_has_no_answers(tmp_path):
    row = {n: v for n, v in made.LONGVIDEOBENCH[0].items() if n != 'correct_choice'}
    made.write(tmp_path / 'lvb_test_wo_gt.json', [row])
    assert load('longvideobench', tmp_path)[0].answer is None


def test_ovobench_asks_the_forward_tasks_at_each_of_their_moments(published):
    questions = {q.id: q for q in load('ovobench', published['ovobench'])}
    assert list(questions) == ['0', '1', '2.0', '2.1', '3.0', '4.0', '4.1']
    assert (questions['0'].answer, questions['0'].end) == ('B', 5)
    assert (questions['1'].answer, questions['1'].end) == ('A', 3.5)
    count = questions['2.1']
    assert (count.kind, count.answer, count.end) == ('count', '12', 4)
    assert count.text == 'How many times did they put an item in the box?'
    step = questions['3.0']
    assert (step.kind, step.answer, step.text) == ('yes_no', 'Yes', 'unscrew the screws')
    assert step.tags == {'tutorial': 'Change a tyre'}
    early, late = questions['4.0'], questions['4.1']
    assert (early.answer, late.answer) == ('No', 'Yes')
    assert (early.asked, early.end, late.end) == (2, 3, 5)
    assert early.tags == {'answer': 'The janitor.', 'clue_time': '4'}
    assert all(question.video.is_file() for question in questions.values())


def test_ovobench_takes_the_clips_where_there_are_no_whole_videos(published, tmp_path):
    made.write(tmp_path / 'ovo_bench_new.json', made.OVOBENCH)
    (tmp_path / 'chunked_videos').mkdir()
    names = [question.video.name for question in load('ovobench', tmp_path)]
    assert names == ['0.mp4', '1.mp4', '2_0.mp4', '2_1.mp4', '3_0.mp4', '4_0.mp4', '4_1.mp4']


def test_paper_and_authors_differ_in_what_is_seen_of_the_time_before_the_user_asked(published):
    asked = next(q for q in load('ovobench', published['ovobench']) if q.id == '4.0')
    rules = BENCHMARKS['ovobench'].rules
    assert rules['paper'].first(asked) == 2
    assert rules['official'].first(asked) == 0


def test_streamingbench_reads_all_sets_with_nested_lists_and_tells_what_was_asked_before(
    published,
):
    questions = load('streamingbench', published['streamingbench'])
    assert [question.tags['set'] for question in questions] == [
        'real', 'real', 'sqa', 'sqa', 'proactive',
    ]  # fmt: skip
    real, _, first, second, due = questions
    assert (real.end, real.answer, real.options[1]) == (4, 'B', 'A map.')
    assert real.tags['required_ability'] == 'working memory'
    assert real.tags['video_categories'] == 'basketball'
    assert real.tags['time'] == '[0:00:00 - 0:00:05]'
    assert real.video.is_file()
    assert first.history == ''
    assert second.history == (
        'Here are the contextual information related to the video. Please answer the questions '
        'based on the contextual information: At timestamp 00:00:02, the following question and '
        'answer occurred: Question: Who serves?; Options: A. The left one., B. The right one., '
        'C. Both., D. Nobody.; Answer: A; '
    )
    assert (due.kind, due.answer, due.asked, due.due, due.end) == ('output', '3', 1, 3, 7)


def changed(name: str, change) -> list:
    rows = copy.deepcopy({'v': made.VIDEOMME, 'o': made.OVOBENCH, 'l': made.LONGVIDEOBENCH}[name])
    change(rows)
    return rows


@pytest.mark.parametrize(
    ('name', 'file', 'rows', 'told'),
    [
        ('videomme', 'videomme.json', changed('v', lambda r: r[1].pop('question')),
         'row 1: question is missing'),
        ('videomme', 'videomme.json', changed('v', lambda r: r[0].update(answer='E')),
         'row 0: answer is "E", not one of A, B, C, D'),
        ('videomme', 'videomme.json', changed('v', lambda r: r[0].update(options='A. x')),
         'row 0: options is "A. x", not a list'),
        ('videomme', 'videomme.json', changed('v', lambda r: r[0]['options'].insert(1, 7)),
         'row 0: options[1] is 7, not text'),
        ('videomme', 'videomme.json', changed('v', lambda r: r[0].update(duration='tiny')),
         'row 0: duration is "tiny", not one of short, medium, long'),
        ('ovobench', 'ovo_bench_new.json', changed('o', lambda r: r[0].update(gt=4)),
         'row 0: gt is 4, of 4 options'),
        ('ovobench', 'ovo_bench_new.json', changed('o', lambda r: r[0].update(task='XYZ')),
         'row 0: task is "XYZ", not one of EPM'),
        ('ovobench', 'ovo_bench_new.json',
         changed('o', lambda r: r[2]['test_info'][1].update(count=-1)),
         'row 2 test_info[1]: count is -1, less than 0'),
        ('ovobench', 'ovo_bench_new.json', changed('o', lambda r: r[1].update(realtime='late')),
         'row 1: realtime is "late", not a number'),
        ('ovobench', 'ovo_bench_new.json', changed('o', lambda r: r[2].update(test_info=[3])),
         'row 2: test_info[0] is 3, not an object'),
        ('longvideobench', 'lvb_val.json', changed('l', lambda r: r[0].update(correct_choice=4)),
         'row 0: correct_choice is 4, of 4 candidates'),
        ('longvideobench', 'lvb_val.json', changed('l', lambda r: r[0].update(correct_choice=.5)),
         'row 0: correct_choice is 0.5, not a whole number'),
        ('longvideobench', 'lvb_val.json', changed('l', lambda r: r[0].update(duration_group=7)),
         'row 0: duration_group is not 15, 60, 600 or 3600'),
        ('streamingbench', 'questions_real.json',
         [{'video_path': 'a.mp4', 'questions': [{'time_stamp': '12:3', 'task_type': 'x',
                                                 'question': 'y'}]}],
         "row 0 questions[0]: time_stamp is '12:3', not HH:MM:SS"),
        ('mvbench', 'json/action_count.json',
         [{'video': 'a', 'question': 'b', 'candidates': ['c', 'd'], 'answer': 'e'}],
         "row 0: answer 'e' is none of the candidates"),
        ('mvbench', 'json/action_sequence.json',
         [{'video': 'a', 'question': 'b', 'candidates': ['c', 'd'], 'answer': 'c', 'start': 4,
           'end': 2}],
         'row 0: end is 2, not after the start at 4'),
        ('videomme', 'videomme.json', [], 'holds no rows'),
        ('videomme', 'videomme.json', [7], 'row 0: the value is 7, not an object'),
    ],
)  # fmt: skip
def test_a_field_that_is_not_as_published_is_told_with_file_row_and_name(
    tmp_path, name, file, rows, told
):
    path = made.write(tmp_path / file, rows)
    with pytest.raises(SourceError) as caught:
        load(name, tmp_path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize('name', BENCHMARKS)
def test_a_folder_that_is_another_one_is_told(tmp_path, name):
    with pytest.raises(SourceError, match=str(tmp_path)):
        load(name, tmp_path)


def test_a_file_that_is_cut_off_is_told(tmp_path):
    (tmp_path / 'videomme.json').write_text('[{"video_id": "0')
    with pytest.raises(SourceError, match='is no JSON'):
        load('videomme', tmp_path)
    (tmp_path / 'test-00000-of-00001.parquet').write_bytes(b'PAR1 and no more')
    with pytest.raises(SourceError, match='is no parquet file'):
        load('videomme', tmp_path)


def test_what_there_is_not_is_refused():
    with pytest.raises(SettingsError, match='the paper has no StreamingBench'):
        choose('streamingbench', 'paper', subtitles=False)
    with pytest.raises(SettingsError, match='OVO-Bench is asked without subtitles'):
        choose('ovobench', 'official', subtitles=True)
