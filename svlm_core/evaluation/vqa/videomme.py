# SPDX-License-Identifier: Apache-2.0
"""Video-MME (arXiv 2405.21075): 2,700 questions on 900 videos, with subtitles or without.

A folder as on the Hub: the parquet file (or its rows as JSON, or the nested JSON in which results
are handed in), `video/ID.mp4` and `subtitle/ID.srt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Ask, Benchmark, Frames, Reading, Rules
from svlm_core.evaluation.vqa.question import Question, unlettered
from svlm_core.evaluation.vqa.reading import first_capital
from svlm_core.evaluation.vqa.rows import Row, first_of, read_rows

FILES = (
    'videomme/test-00000-of-00001.parquet',
    'test-00000-of-00001.parquet',
    'Video-MME.json',
    'videomme.json',
    'videomme.jsonl',
)
SELECT = (
    'Select the best answer to the following multiple-choice question based on the video. '
    'Respond with only the letter (A, B, C, or D) of the correct option.\n'
)
LISTED = "This video's subtitles are listed below:\n"


def files(folder: Path) -> list[Path]:
    """The file with the questions."""
    return [first_of(folder, *FILES)]


def load(folder: Path, subtitles: bool = False) -> list[Question]:
    """The questions, each with the subtitles of its video if they are wanted and there are any."""
    questions = []
    for row in read_rows(files(folder)[0]):
        if 'questions' not in row.values:
            questions.append(_question(row, row, folder))
            continue
        questions += [_question(row, asked, folder) for asked in row.rows('questions')]
    if subtitles:
        return questions
    return [replace(question, subtitles=None) for question in questions]


def _question(video: Row, asked: Row, folder: Path) -> Question:
    """A question: `video` holds what all of its video share."""
    # The nested file names a video by its number alone, or by its address.
    name = 'videoID' if 'videoID' in video.values else 'video_id'
    options, given = asked.texts('options'), asked.values.get('answer')
    letters = 'ABCDEFGH'[: len(options)]
    subtitles = folder / 'subtitle' / f'{video.text(name)}.srt'
    return Question(
        id=asked.text('question_id'),
        task=asked.text('task_type'),
        video=folder / 'video' / f'{video.text(name)}.mp4',
        text=asked.text('question'),
        answer=None if given is None else asked.one_of('answer', letters),
        options=unlettered(options),
        subtitles=subtitles if subtitles.is_file() else None,
        tags={
            'duration': video.one_of('duration', ('short', 'medium', 'long')),
            'domain': video.text('domain'),
            'sub_category': video.text('sub_category'),
            'url': str(video.values.get('url', '')),
            'video_id': str(video.values.get('video_id', '')),
        },
    )


def results(folder: Path, answers: Mapping[str, Answered]) -> dict[str, Any]:
    """The file that is handed in: videos, and under each its questions with their responses.

    The response to what could not be asked is empty, so that it leaves the count.
    """
    videos: dict[str, dict[str, Any]] = {}
    for question in load(folder):
        if question.id not in answers:
            continue
        shared = ('video_id', 'duration', 'domain', 'sub_category')
        about = {name: question.tags[name] for name in shared}
        video = videos.setdefault(question.video.name, {**about, 'questions': []})
        video['questions'].append(
            {
                'question_id': question.id,
                'task_type': question.task,
                'question': question.text,
                'options': question.lettered(),
                'answer': question.answer,
                'response': answers[question.id].response or '',
            }
        )
    return {'output_test.json': list(videos.values())}


def ask_official(question: Question, lines: Sequence[str]) -> Ask:
    """As the authors ask; a subtitle that several frames fall into is told once."""
    below = '\n'.join(dict.fromkeys(lines))
    listed = f'{LISTED}{below}\n' if question.subtitles else ''
    options = '\n'.join(question.lettered())
    return Ask(f'{listed}{SELECT}{question.text}\n{options}\nThe best answer is:')


def ask_paper(question: Question, lines: Sequence[str]) -> Ask:
    """As VLMEvalKit asks; the subtitle of each frame is told, again and again."""
    below = '\n'.join(lines)
    listed = f'{LISTED}{below}\n' if question.subtitles else ''
    options = '\n'.join(question.lettered())
    told = f'Question: {question.text}\n{options}\nAnswer: '
    return Ask(f'\nThese are the frames of a video. {listed}{SELECT}{told}', tokens=1)


def score_official(question: Question, response: str | None) -> Reading:
    """The authors' rule: what has no answer leaves the count."""
    said = first_capital(response or '', 'ABCD')
    return Reading(said, said == question.answer if said else None)


def score_paper(question: Question, response: str | None) -> Reading:
    """VLMEvalKit's rule without a judge: what has no answer is wrong.

    What could not be asked leaves the count.
    """
    if response is None:
        return Reading('', None)
    said = first_capital(response, 'ABCD')
    return Reading(said, said == question.answer)


BENCHMARK = Benchmark(
    name='Video-MME',
    load=load,
    files=files,
    results=results,
    rules={
        'paper': Rules(Frames(768, fps=1), ask_paper, score_paper),
        'official': Rules(Frames(768, fps=1), ask_official, score_official),
    },
    breakdown=('duration',),
    subtitles=True,
)
