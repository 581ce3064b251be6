# SPDX-License-Identifier: Apache-2.0
"""LongVideoBench (arXiv 2407.15754): questions on videos of up to an hour, without subtitles.

A folder as on the Hub: `lvb_val.json` (or the parquet file, whose options are columns), and
`videos/`. The test set has no answers: they stay unscored.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Ask, Benchmark, Frames, Reading, Rules
from svlm_core.evaluation.vqa.question import LETTERS, Question
from svlm_core.evaluation.vqa.reading import first_capital
from svlm_core.evaluation.vqa.rows import Row, first_of, read_rows

FILES = (
    'lvb_val.json',
    'validation-00000-of-00001.parquet',
    'lvb_test_wo_gt.json',
    'test-00000-of-00001.parquet',
)
DIRECTLY = "\nAnswer with the option's letter from the given choices directly."
REMOVED = (  # the authors' list is whole
    'The best answer is',
    'The correct answer is',
    'The answer is',
    'The answer',
    'The best option is',
    'The correct option is',
    'Best answer:',
    'Best option:',
)
USED = ('id', 'video_path', 'question', 'candidates', 'correct_choice', 'question_category')


def files(folder: Path) -> list[Path]:
    """The file with the questions."""
    return [first_of(folder, *FILES)]


def load(folder: Path, subtitles: bool = False) -> list[Question]:
    """The questions of the set that is there, validation first."""
    return [_question(row, folder) for row in read_rows(files(folder)[0])]


def _question(row: Row, folder: Path) -> Question:
    candidates, answer = _candidates(row), None
    if row.values.get('correct_choice') is not None:
        number = row.whole('correct_choice')
        if number >= len(candidates):
            raise row.bad('correct_choice', f'is {number}, of {len(candidates)} candidates')
        answer = LETTERS[number]
    row.text('video_id')
    row.number('duration')
    row.number('starting_timestamp_for_subtitles')
    if row.whole('duration_group') not in (15, 60, 600, 3600):
        raise row.bad('duration_group', 'is not 15, 60, 600 or 3600')
    return Question(
        id=row.text('id'),
        task=row.text('question_category'),
        video=folder / 'videos' / row.text('video_path'),
        text=row.text('question'),
        answer=answer,
        options=candidates,
        tags=row.rest(*USED, *(f'option{n}' for n in range(5))),
    )


def _candidates(row: Row) -> tuple[str, ...]:
    """The options: a list, or columns of which the last hold N/A."""
    if 'candidates' in row.values:
        return row.texts('candidates')
    options = [row.text(f'option{number}') for number in range(5)]
    return tuple(option for option in options if option != 'N/A')


def results(folder: Path, answers: Mapping[str, Answered]) -> dict[str, dict[str, str]]:
    """What lmms-eval hands in to the leaderboard: the response to each question, by its id."""
    responses = {id: answered.response or '' for id, answered in answers.items()}
    return {'longvideobench_for_submission.json': responses}


def ask_official(question: Question, lines: Sequence[str]) -> Ask:
    """As the authors ask."""
    options = '\n'.join(question.lettered())
    return Ask(f'{question.text}\n{options}{DIRECTLY}')


def ask_paper(question: Question, lines: Sequence[str]) -> Ask:
    """As VLMEvalKit asks: the same, for one token."""
    options = '\n'.join(question.lettered())
    return Ask(f'{question.text}\n{options}{DIRECTLY}', tokens=1)


def score_official(question: Question, response: str | None) -> Reading:
    """The authors' rule: where there is no answer, one is drawn by chance.

    Here the question itself is the seed, so that the draw is the same in every run.
    """
    said = first_capital(response or '', 'ABCDE', REMOVED)
    said = said or random.Random(question.id).choice(question.letters)
    return Reading(said, None if question.answer is None else said == question.answer)


def score_paper(question: Question, response: str | None) -> Reading:
    """VLMEvalKit's rule without a judge: no answer is wrong, what was not asked is left out."""
    if response is None or question.answer is None:
        return Reading('', None)
    said = first_capital(response, 'ABCDE')
    return Reading(said, said == question.answer)


BENCHMARK = Benchmark(
    name='LongVideoBench',
    load=load,
    files=files,
    results=results,
    rules={
        'paper': Rules(Frames(768, fps=1), ask_paper, score_paper),
        'official': Rules(Frames(768, fps=1), ask_official, score_official),
    },
    breakdown=('duration_group',),
)
