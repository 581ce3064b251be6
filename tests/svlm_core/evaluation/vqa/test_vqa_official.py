# SPDX-License-Identifier: Apache-2.0
"""The files that the authors' scripts read: counted as these do, they give what svlm counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import official_files
from svlm_core import cli
from svlm_core.evaluation.vqa import proactive
from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS
from svlm_core.evaluation.vqa.proactive import Poll
from svlm_core.evaluation.vqa.question import Question

Counted = Iterator[tuple[str, bool]]  # a task, and whether an answer that counts is right


def letter(response: str, letters: str, prefixes: list[str]) -> str:
    for prefix in prefixes:
        response = response.strip().replace(prefix, '')
    found = re.search(f'[{letters}]', response)
    return found[0] if found else ''


def videomme(files: dict[str, Any]) -> Counted:
    """As eval_your_results.py reads it, for the lengths that it is asked for."""
    for video in files['output_test.json']:
        assert video['duration'] in ('short', 'medium', 'long')
        assert {'domain', 'sub_category', 'video_id'} <= video.keys()
        for question in video['questions']:
            if said := letter(question['response'], 'ABCD', ['The best answer is']):
                yield question['task_type'], said == question['answer']


def mvbench(files: dict[str, Any]) -> Counted:
    """As the notebook counts: the counts are in the file, and follow from what else is there."""
    content = files['test.json']
    names = [name for name, (_, all_of) in content['acc_dict'].items() for _ in range(all_of)]
    for name, row in zip(names, content['res_list'], strict=True):
        said, right = (row[field].lower().split(' ')[0] for field in ('pred', 'gt'))
        yield name.lower().replace(' ', '_'), said.replace('.', '') in right or right in said


def longvideobench(files: dict[str, Any]) -> Counted:
    """The leaderboard holds the choices; these are those of the questions of the test."""
    responses = files['longvideobench_for_submission.json']
    for row in official_files.LONGVIDEOBENCH:
        said = letter(responses[row['id']], 'ABCDE', ['Best option:'])
        yield row['question_category'], said == 'ABCDE'[row['correct_choice']]


def ovobench(files: dict[str, Any]) -> Counted:
    """As score.py counts: a null is wrong, a letter or word anywhere is enough."""
    content = files['ovo_bench.json']
    for row in content['backward'] + content['realtime']:
        yield row['task'], row['ground_truth'] in (row['response'] or '')
    for row in content['forward']:
        for test in row['test_info']:
            response = test['response']
            if row['task'] == 'REC':
                right = ''.join(re.findall(r'\d+', response or '')) == str(test['count'])
            else:
                wanted = 'Yes' if test['type'] else 'No'
                right = response == wanted[0] or wanted in (response or '')
            yield row['task'], right


def streamingbench(files: dict[str, Any]) -> Counted:
    """As count.py counts with --model svlm, task by task: sqa is a list for each video."""
    entries = [*files['questions_real.json']]
    entries += [entry for video in files['questions_sqa.json'] for entry in video]
    for question in (question for entry in entries for question in entry['questions']):
        if 'svlm' in question:
            yield question['task_type'], question['svlm'][0] == question['answer']
    for question in (q for entry in files['questions_proactive.json'] for q in entry['questions']):
        if 'svlm' in question:
            last = question['svlm']['dialog_history'][-1]
            clock = question['ground_truth_time_stamp'].split(':')
            due = sum(int(part) * 60**place for place, part in enumerate(reversed(clock)))
            timely = -2 <= last['time'] - due <= 2
            yield (
                question['task_type'],
                timely and question['ground_truth_output'] in last['content'],
            )


OFFICIAL = {
    'videomme': videomme,
    'mvbench': mvbench,
    'longvideobench': longvideobench,
    'ovobench': ovobench,
    'streamingbench': streamingbench,
}
RESPONSES = {
    'videomme': ['C', 'The best answer is A.', 'I cannot tell', '', None, 'An apple'],
    'mvbench': ['A) Ate the medicine.', 'C', '', 'B.\nOr A', None, '(C)'],
    'longvideobench': ['B', 'Best option: B', 'A', 'C. i had to'],
    'ovobench': ['B', 'Yes', '1 or 2', 'Y', 'N', '', None, 'ABCD', 'No.', '0', 'Nothing'],
    'streamingbench': ['B', 'D. 4.', 'A', '', None, 'the C'],
}
POLLS: list[list[tuple[float, str]]] = [
    [(2.0, 'no'), (3.0, 'Yes.'), (3.0, 'It is 3 now')],
    [(2.0, 'Yes'), (2.0, 'USA')],
    [(second, 'no') for second in (2.0, 3.0, 4.0, 5.0, 6.0, 7.0)],
    [],
]


def answered(name: str, question: Question, response: str | None, turn: int) -> Answered:
    """An answer as a run keeps it; questions that wait for words have polls instead."""
    polls = POLLS[turn % len(POLLS)] if question.kind == 'output' else []
    if question.kind == 'output':
        response = polls[-1][1] if polls else None
    rule = BENCHMARKS[name].rules['official'].score
    told = [Poll(*poll) for poll in polls]
    read = proactive.official(question, told) if polls else rule(question, response)
    return Answered(
        id=question.id,
        by='streaming',
        task=question.task,
        video=question.video.name,
        question=question.text,
        options=question.options,
        answer=question.answer,
        response=response,
        official=read,
        strict=read,
        run='r',
        error='' if response is not None else 'no such file',
        polls=[list(poll) for poll in polls],
    )


def handed_in(name: str, folder: Path, answers: list[Answered]) -> dict[str, Any]:
    """The files of some answers, as they are on the disk."""
    found = BENCHMARKS[name].results(folder, {answer.id: answer for answer in answers})
    return json.loads(json.dumps(found))


@pytest.mark.parametrize('name', BENCHMARKS)
def test_the_official_count_of_the_official_file_is_that_of_svlm(name, published):
    questions = BENCHMARKS[name].load(published[name], False)
    for turn in range(len(RESPONSES[name])):
        said = [RESPONSES[name][(turn + n) % len(RESPONSES[name])] for n in range(len(questions))]
        answers = [answered(name, q, r, turn) for q, r in zip(questions, said, strict=True)]
        counted = [(a.task, a.official.right) for a in answers if a.official.right is not None]
        assert Counter(OFFICIAL[name](handed_in(name, published[name], answers))) == Counter(
            counted
        ), said


@pytest.mark.parametrize('name', BENCHMARKS)
def test_questions_that_nobody_was_asked_are_not_in_it(name, published):
    first = BENCHMARKS[name].load(published[name], False)[0]
    answers = [answered(name, first, RESPONSES[name][0], 0)]
    [(task, _)] = OFFICIAL[name](handed_in(name, published[name], answers))
    assert task == first.task


def test_video_mme_is_handed_in_as_its_authors_show_it(published, tmp_path):
    questions = BENCHMARKS['videomme'].load(published['videomme'], False)
    answers = [answered('videomme', q, 'C', 0) for q in questions]
    [(file, content)] = handed_in('videomme', published['videomme'], answers).items()
    wanted = official_files.videomme_nested()
    for question in wanted[0]['questions']:
        question['response'] = 'C'
    assert content == wanted
    path = official_files.write(tmp_path / file, content)
    assert cli.main(['curate', 'validate', str(path)]) == 0


def test_rows_of_ovo_bench_are_whole_and_what_could_not_be_asked_is_null(published):
    questions = BENCHMARKS['ovobench'].load(published['ovobench'], False)
    answers = [answered('ovobench', q, None, 0) for q in questions]
    content = handed_in('ovobench', published['ovobench'], answers)['ovo_bench.json']
    assert content['backward'] == [
        {'id': 0, 'video': 'Ego4D/clip_a.mp4', 'task': 'EPM', 'response': None,
         'question': 'Where was the apple before I took it?', 'ground_truth': 'B'},
    ]  # fmt: skip
    for row, official in zip(content['forward'], official_files.OVOBENCH[2:], strict=True):
        assert {test.pop('response') for test in row['test_info']} == {None}
        assert row == official


def test_a_dialog_of_streamingbench_tells_who_said_what_and_when(published):
    [question] = [
        q for q in BENCHMARKS['streamingbench'].load(published['streamingbench'], False)
        if q.kind == 'output'
    ]  # fmt: skip
    file = 'questions_proactive.json'

    def said(turn: int) -> dict[str, Any]:
        answers = [answered('streamingbench', question, None, turn)]
        [entry] = handed_in('streamingbench', published['streamingbench'], answers)[file]
        return entry['questions'][0]['svlm']

    dialog = said(1)
    assert dialog['answered'] == 2
    asked, agreed, again, words = dialog['dialog_history']
    assert (agreed['content'], words['content']) == ('Yes', 'USA')
    assert asked['content'].endswith('to output "3"? You can only answer yes or no.')
    assert (again['content'], again['role'], again['time']) == (question.text, 'user', 2)
    assert said(2)['answered'] is False


def test_the_leaderboard_of_mvbench_gets_percents_by_the_names_of_its_tasks(tmp_path):
    rows = official_files.MVBENCH['object_existence']
    official_files.write(tmp_path / 'json/fine_grained_pose.json', rows)
    official_files.write(tmp_path / 'json/moving_count.json', rows * 3)
    questions = BENCHMARKS['mvbench'].load(tmp_path, False)
    said = ['C', 'C) no', 'A', 'B']  # of moving_count first, as the benchmark has them
    answers = [answered('mvbench', q, r, 0) for q, r in zip(questions, said, strict=True)]
    found = handed_in('mvbench', tmp_path, answers)
    assert found['upload_leaderboard.json'] == {
        'Moving Count': pytest.approx(200 / 3), 'Fine-grained Pose': 0, 'Avg': 50,
    }  # fmt: skip
    assert found['test.json']['res_list'][1] == {'pred': '(C) no', 'gt': '(C) no'}
