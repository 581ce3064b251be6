# SPDX-License-Identifier: Apache-2.0
"""StreamingBench (arXiv 2411.03628): questions while a video runs, and words to say when due.

A folder with any of `questions_real.json`, `questions_omni.json`, `questions_sqa.json` and
`questions_proactive.json`, and the videos where these say. Sound is not heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa import proactive
from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Ask, Benchmark, Frames, Reading, Rules
from svlm_core.evaluation.vqa.question import LETTERS, Question, unlettered
from svlm_core.evaluation.vqa.rows import Row, read_rows

MODEL = 'svlm'  # the field of a response, which the authors' count is told
SETS = ('real', 'omni', 'sqa', 'proactive')
CONTEXT = 60.0  # seconds before the question that are shown, in the main table
EARLIER = 80.0  # seconds before the user asked that are shown while words are awaited
PATIENCE = 4.0  # seconds after words were due in which they may still be said

ASSISTANT = (
    'You are an advanced video question-answering AI assistant. You have been provided with '
)
ONE_LETTER = (
    'choosing from the four options provided. Respond with only the letter (A, B, C, or D) of the '
    'correct option.'
)
HISTORY = (
    'Here are the contextual information related to the video. Please answer the questions based '
    'on the contextual information: '
)


def files(folder: Path) -> list[Path]:
    """The sets that are there."""
    found = [folder / f'questions_{name}.json' for name in SETS]
    return [path for path in found if path.is_file()]


def load(folder: Path, subtitles: bool = False) -> list[Question]:
    """The questions of all sets that are there."""
    if not (found := files(folder)):
        raise SourceError(f'{folder} has no questions_real.json or another set of StreamingBench')
    return [question for path in found for question in _of_a_set(path, folder)]


def _of_a_set(path: Path, folder: Path) -> Iterator[Question]:
    """The questions of a set, video by video; in set sqa each is told those before it."""
    name = _set_of(path)
    for of in _by_video(path):
        told = ''
        pairs = [(entry, asked) for entry in of for asked in entry.rows('questions')]
        for number, (entry, asked) in enumerate(pairs):
            question = _question(entry, asked, name, number, folder, told)
            if name == 'sqa':
                told = (told or HISTORY) + _line_of_history(question, asked)
            yield question


def _set_of(path: Path) -> str:
    return path.stem.removeprefix('questions_')


def _by_video(path: Path) -> list[list[Row]]:
    """The rows of a set, those of one video together."""
    entries: dict[str, list[Row]] = {}
    for row in read_rows(path):
        entries.setdefault(row.text('video_path'), []).append(row)
    return list(entries.values())


def _id(name: str, entry: Row, number: int) -> str:
    """The name of a question: its set, its video, and its place among those about it."""
    return f'{name}.{Path(entry.text("video_path")).stem}.{number}'


def _line_of_history(question: Question, asked: Row) -> str:
    options = ', '.join(question.lettered())
    return (
        f'At timestamp {asked.text("time_stamp")}, the following question and answer occurred: '
        f'Question: {question.text}; Options: {options}; Answer: {question.answer}; '
    )


def _question(
    entry: Row, asked: Row, name: str, number: int, folder: Path, history: str
) -> Question:
    at = float(asked.clock('time_stamp'))
    tags = {
        'set': name,
        'time': str(entry.values.get('time') or asked.values.get('time') or ''),
        'video_categories': str(entry.values.get('video_categories', '')),
        'required_ability': str(asked.values.get('required_ability', '')),
    }
    task, text = asked.text('task_type'), asked.text('question')
    video = folder / entry.text('video_path')
    if name == 'proactive':
        due = float(asked.clock('ground_truth_time_stamp'))
        return Question(
            id=_id(name, entry, number),
            task=task,
            video=video,
            text=text,
            answer=asked.text('ground_truth_output'),
            kind='output',
            end=due + PATIENCE,
            asked=at,
            due=due,
            tags=tags,
        )
    options = asked.texts('options')
    return Question(
        id=_id(name, entry, number),
        task=task,
        video=video,
        text=text,
        answer=asked.one_of('answer', LETTERS[: len(options)]),
        options=unlettered(options),
        end=at,
        history=history,
        tags=tags,
    )


def results(folder: Path, answers: Mapping[str, Answered]) -> dict[str, Any]:
    """The official files with the responses in them, in field MODEL of each question.

    What is empty or could not be asked has none, and leaves the count.
    """
    found = dict[str, Any]()
    for path in files(folder):
        videos = [_filled(of, _set_of(path), answers) for of in _by_video(path)]
        # Questions that build on each other stand in a list for each video.
        nested = _set_of(path) == 'sqa'
        found[path.name] = videos if nested else [entry for of in videos for entry in of]
    return found


def _filled(
    entries: Sequence[Row], name: str, answers: Mapping[str, Answered]
) -> list[dict[str, Any]]:
    """The rows of a video with the responses to their questions."""
    filled, number = list[dict[str, Any]](), 0
    for entry in entries:
        questions = list[dict[str, Any]]()
        for asked in entry.rows('questions'):
            answered = answers.get(_id(name, entry, number))
            questions.append({**asked.values, **(_told(answered) if answered else {})})
            number += 1
        filled.append({**entry.values, 'questions': questions})
    return filled


def _told(answered: Answered) -> dict[str, Any]:
    if answered.polls and answered.response is not None:
        dialog = proactive.dialog(answered.question, answered.answer, answered.polls)
        return {MODEL: dialog}
    return {MODEL: answered.response} if answered.response else {}


def begins(question: Question, until: float | None) -> float:
    """The newest minute; all of the video for questions that build on each other."""
    if question.tags['set'] == 'sqa' or until is None:
        return 0.0
    if question.asked is not None:
        return max(0.0, question.asked - EARLIER)
    return max(0.0, until - CONTEXT)


def ask_official(question: Question, lines: Sequence[str]) -> Ask:
    """As the authors ask; where words are awaited, see `proactive`."""
    options = '\n'.join(question.lettered())
    if question.tags['set'] == 'sqa':
        return Ask(
            f'{ASSISTANT}a video and a multiple-choice question related to the video. Your task '
            'is to carefully analyze the video and the provided context to answer the question, '
            f'{ONE_LETTER}\n\n{question.history}\n\nHere is the question. Answer it and '
            f"don't confuse it with the previous conversation.\nQuestion: {question.text}\n\n"
            f'Options:\n{options}\n\nThe best option is:'
        )
    return Ask(
        f'{ASSISTANT}some frames from the video and a multiple-choice question related to the '
        'video. Your task is to carefully analyze the video and provide the best answer to '
        f'question, {ONE_LETTER}\n\nQuestion: {question.text}\n\nOptions:\n{options}\n\n'
        'The best option is:'
    )


def score_official(question: Question, response: str | None) -> Reading:
    """The authors' rule: the first character; what is empty leaves the count."""
    said = (response or '')[:1]
    return Reading(said, said == question.answer if said else None)


BENCHMARK = Benchmark(
    name='StreamingBench',
    load=load,
    files=files,
    results=results,
    rules={'official': Rules(Frames(768, fps=1), ask_official, score_official, begins=begins)},
    breakdown=('set',),
)
