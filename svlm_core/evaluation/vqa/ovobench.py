# SPDX-License-Identifier: Apache-2.0
"""OVO-Bench (arXiv 2501.05510): what was, what is, and what is about to be, in 12 tasks.

A folder with `ovo_bench_new.json`, and either the whole videos in `src_videos/` or the clips
that end where a question is asked, in `chunked_videos/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Ask, Benchmark, Frames, Pixels, Reading, Rules
from svlm_core.evaluation.vqa.question import LETTERS, Question
from svlm_core.evaluation.vqa.rows import Row, first_of, read_rows

GROUPS = {
    'backward': ('EPM', 'ASI', 'HLD'),
    'realtime': ('OCR', 'ACR', 'ATR', 'STU', 'FPD', 'OJR'),
    'forward': ('REC', 'SSR', 'CRR'),
}
TASKS = [task for tasks in GROUPS.values() for task in tasks]

# All that the model may answer under the paper's protocol, whatever the question.
CHOICES = ('No', 'Yes', *'0123456789', *'ABCDE')

ALONE = 'Do not include any additional text or explanation in your response.'
YES_OR_NO = 'Answer only with “Yes” or “No”.'


def files(folder: Path) -> list[Path]:
    """The file with the questions."""
    return [first_of(folder, 'ovo_bench_new.json')]


def load(folder: Path, subtitles: bool = False) -> list[Question]:
    """The questions of all groups, those of one row one after the other."""
    return [q for row in read_rows(files(folder)[0]) for q in _questions(row, folder)]


def _questions(row: Row, folder: Path) -> Iterator[Question]:
    task, name = row.one_of('task', TASKS), str(row.whole('id'))
    if task in GROUPS['forward']:
        for number, test in enumerate(row.rows('test_info')):
            yield _forward(row, test, task, _video(folder, row, f'{name}_{number}'), number)
        return
    options, right = row.texts('options'), row.whole('gt')
    if right >= len(options):
        raise row.bad('gt', f'is {right}, of {len(options)} options')
    yield Question(
        id=name,
        task=task,
        video=_video(folder, row, name),
        text=row.text('question'),
        answer=LETTERS[right],
        options=options,
        end=row.number('realtime'),
        tags=row.rest('id', 'task', 'video', 'realtime', 'question', 'options', 'gt'),
    )


def _forward(row: Row, test: Row, task: str, video: Path, number: int) -> Question:
    """One moment at which a question of the future is put."""
    text = {
        'REC': lambda: f'How many times did they {row.text("activity")}?',
        'SSR': lambda: test.text('step'),
        'CRR': lambda: row.text('question'),
    }[task]()
    if task == 'REC':
        kind, answer = 'count', str(test.whole('count'))
    else:
        kind, answer = 'yes_no', 'Yes' if test.whole('type') else 'No'
    return Question(
        id=f'{row.whole("id")}.{number}',
        task=task,
        video=video,
        text=text,
        answer=answer,
        kind='count' if kind == 'count' else 'yes_no',
        end=test.number('realtime'),
        asked=row.number('ask_time') if task == 'CRR' else None,
        tags=row.rest('id', 'task', 'video', 'question', 'activity', 'ask_time'),
    )


def _video(folder: Path, row: Row, clip: str) -> Path:
    """The whole video, or where there is none, the clip."""
    whole, cut = folder / 'src_videos' / row.text('video'), folder / 'chunked_videos'
    return cut / f'{clip}.mp4' if cut.is_dir() and not whole.is_file() else whole


def results(folder: Path, answers: Mapping[str, Answered]) -> dict[str, Any]:
    """The file that the authors' script scores: rows by group, each with its responses.

    The response to what could not be asked is null, which is wrong there as well.
    """
    found: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
    for row in read_rows(files(folder)[0]):
        [group] = [name for name, tasks in GROUPS.items() if row.values['task'] in tasks]
        asked = [answers.get(question.id) for question in _questions(row, folder)]
        given = [answered for answered in asked if answered]
        if not given:
            continue
        if group == 'forward':
            tests = zip(row.values['test_info'], asked, strict=True)
            told = [{**test, 'response': a.response} for test, a in tests if a]
            found[group].append({**row.values, 'test_info': told})
            continue
        shared = {name: row.values[name] for name in ('id', 'video', 'task', 'question')}
        found[group].append(
            {**shared, 'response': given[0].response, 'ground_truth': given[0].answer}
        )
    return {'ovo_bench.json': found}


def ask_official(question: Question, lines: Sequence[str]) -> Ask:
    """As the authors ask, the indentation of their code included."""
    return Ask(_indented(_lines(question)))


def _lines(question: Question) -> list[str]:
    if question.task == 'REC':
        return [
            "You're watching a video in which people may perform a certain type of action "
            'repetively. ',
            "The person performing this kind of action are referred to as 'they' in the "
            'following statement.',
            "You're task is to count how many times have different people in the video perform "
            'this kind of action in total.',
            'One complete motion counts as one. ',
            f'Now, answer the following question: {question.text}',
            'Provide your answer as a single number (e.g., 0, 1, 2, 3…) indicating the total '
            'count.',
            ALONE,
        ]
    if question.task == 'SSR':
        return [
            "You're watching a tutorial video which contain a sequential of steps. ",
            'The following is one step from the whole procedures: ',
            question.text,
            'Your task is to determine if the man or woman in the video is currently performing '
            'this step.',
            YES_OR_NO,
            ALONE,
        ]
    if question.task == 'CRR':
        return [
            "You're responsible of answering questions based on the video content. ",
            'The following question are relevant to the latest frames, i.e. the end of the video.',
            question.text,
            'Decide whether existing visual content, especially latest frames, i.e. frames that '
            'near the end of the video, provide enough information for answering the question.',
            YES_OR_NO,
            ALONE,
        ]
    return [
        f'Question: {question.text}',
        'Options:',
        '; '.join(question.lettered()) + ';',
        'Respond only with the letter corresponding to your chosen option (e.g., A, B, C). ',
        ALONE,
    ]


def _indented(lines: Sequence[str]) -> str:
    first = ' ' if lines[0].startswith("You're watching a video") else ''
    return f'{first}\n' + ''.join(f'{" " * 16}{line}\n' for line in lines) + ' ' * 12


def ask_paper(question: Question, lines: Sequence[str]) -> Ask:
    """As LiveCC asks, which the paper follows; for the forward tasks in the authors' words."""
    if question.kind == 'choice':
        options = '\n'.join(question.lettered())
        text = f'{question.text}\n{options}\nPlease select the correct answer.'
    else:
        text = '\n'.join(line.strip() for line in _lines(question))
    return Ask(text, begun='The answer is:\n', choices=CHOICES)


def score_official(question: Question, response: str | None) -> Reading:
    """The authors' rules: the right answer need only occur, in whatever word.

    'A' is right in 'ABCD', No in 'Nothing'; of counts all digits are joined: '1 or 2' is 12.
    """
    if response is None:
        return Reading('', False)
    right = str(question.answer)
    if question.kind == 'count':
        said = ''.join(re.findall(r'\d+', response))
        return Reading(said, said == right)
    if question.kind == 'yes_no' and response in ('Y', 'N'):
        response = {'Y': 'Yes', 'N': 'No'}[response]
    return Reading(response, right in response)


def score_paper(question: Question, response: str | None) -> Reading:
    """LiveCC's rule: the response begins with the answer; a count of two digits never can."""
    right = str(question.answer)
    said = (response or '')[: len(right)]
    return Reading(said, said == right)


BENCHMARK = Benchmark(
    name='OVO-Bench',
    load=load,
    files=files,
    results=results,
    rules={
        'paper': Rules(
            Frames(480, fps=2), ask_paper, score_paper, Pixels(low=100), since_asked=True
        ),
        'official': Rules(Frames(64), ask_official, score_official),
    },
    groups=GROUPS,
)
