# SPDX-License-Identifier: Apache-2.0
"""MVBench (arXiv 2311.17005): 20 tasks of 200 questions on short clips.

A folder as on the Hub: `json/TASK.json` with rows {video, question, candidates, answer}, some
with {start, end}, and `video/` with the archives unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svlm_core.errors import SourceError
from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.protocol import Ask, Benchmark, Frames, Reading, Rules
from svlm_core.evaluation.vqa.question import LETTERS, Question
from svlm_core.evaluation.vqa.rows import Row, read_rows

FOLDERS = {  # of each task's videos, below video/
    'action_sequence': 'star/Charades_v1_480',
    'action_prediction': 'star/Charades_v1_480',
    'action_antonym': 'ssv2_video',
    'fine_grained_action': 'Moments_in_Time_Raw/videos',
    'unexpected_action': 'FunQA_test/test',
    'object_existence': 'clevrer/video_validation',
    'object_interaction': 'star/Charades_v1_480',
    'object_shuffle': 'perception/videos',
    'moving_direction': 'clevrer/video_validation',
    'action_localization': 'sta/sta_video',
    'scene_transition': 'scene_qa/video',
    'action_count': 'perception/videos',
    'moving_count': 'clevrer/video_validation',
    'moving_attribute': 'clevrer/video_validation',
    'state_change': 'perception/videos',
    'fine_grained_pose': 'nturgbd',
    'character_order': 'perception/videos',
    'egocentric_navigation': 'vlnqa',
    'episodic_reasoning': 'tvqa/frames_fps3_hq',  # folders of images, 3 a second
    'counterfactual_inference': 'clevrer/video_validation',
}
BOUNDED = {  # only seconds `start` to `end` are asked about
    'action_sequence',
    'action_prediction',
    'object_interaction',
    'action_localization',
    'episodic_reasoning',
}

SYSTEM = (
    'Carefully watch the video and pay attention to the cause and sequence of events, the detail '
    'and movement of objects, and the action and pose of persons. Based on your observations, '
    'select the best option that accurately addresses the question.\n'
)
ONLY, BEGUN = '\nOnly give the best option.', 'Best option:('


def files(folder: Path) -> list[Path]:
    """The task files that are there."""
    found = [folder / 'json' / f'{task}.json' for task in FOLDERS]
    return [path for path in found if path.is_file()]


def load(folder: Path, subtitles: bool = False) -> list[Question]:
    """The questions of all tasks that are there."""
    if not (found := files(folder)):
        raise SourceError(f'{folder / "json"} has no task of MVBench: give the folder of the set')
    return [
        _question(row, path.stem, number, folder)
        for path in found
        for number, row in enumerate(read_rows(path))
    ]


def _question(row: Row, task: str, number: int, folder: Path) -> Question:
    candidates, answer = row.texts('candidates'), row.text('answer')
    if answer not in candidates:
        raise row.bad('answer', f'{answer!r} is none of the candidates')
    last = len(candidates) - 1 - candidates[::-1].index(answer)  # as published, of equal ones
    bounded = task in BOUNDED
    start, end = (row.number('start'), row.number('end')) if bounded else (0.0, None)
    if end is not None and end <= start:
        raise row.bad('end', f'is {end:g}, not after the start at {start:g}')
    return Question(
        id=f'{task}.{number}',
        task=task,
        video=_video(folder, task, row.text('video')),
        text=row.text('question'),
        answer=LETTERS[last],
        options=candidates,
        start=start,
        end=end,
        tags=row.rest('video', 'question', 'candidates', 'answer', 'start', 'end'),
    )


def _video(folder: Path, task: str, name: str) -> Path:
    """The video of a row; some came later, in an archive of their own."""
    usual = folder / 'video' / FOLDERS[task] / name
    later = folder / 'video' / 'data0613' / FOLDERS[task] / name
    return later if later.exists() and not usual.exists() else usual


def _told(question: Question) -> str:
    options = '\n'.join(question.lettered('({}) {}'))
    return f'Question: {question.text}\nOptions:\n{options}'


def results(folder: Path, answers: Mapping[str, Answered]) -> dict[str, Any]:
    """What VideoChat2 writes: responses beside what is right, and percents for the leaderboard.

    They are counted by its rule, whatever the protocol; what could not be asked is not in them.
    """
    counts: dict[str, list[int]] = {}  # right, and all, by task
    told = list[dict[str, str]]()
    for question in load(folder):
        answered = answers.get(question.id)
        if answered is None or answered.response is None:
            continue
        count = counts.setdefault(_titled(question.task), [0, 0])
        count[0] += bool(score_official(question, answered.response).right)
        count[1] += 1
        right = question.letters.index(str(question.answer))
        told.append(
            {
                'pred': _begun(answered.response),
                'gt': question.lettered('({}) {}')[right],
            }
        )
    right, asked = (sum(count[place] for count in counts.values()) for place in (0, 1))
    percents = {task: 100 * of[0] / of[1] for task, of in counts.items()}
    percents |= {'Avg': 100 * right / asked} if asked else {}
    return {
        'test.json': {'acc_dict': counts, 'res_list': told},
        'upload_leaderboard.json': percents,
    }


def _titled(task: str) -> str:
    """A task as the leaderboard spells it: fine_grained_pose is Fine-grained Pose."""
    return task.replace('_', ' ').title().replace('Fine Grained', 'Fine-grained')


def ask_official(question: Question, lines: Sequence[str]) -> Ask:
    """As VideoChat2 asks."""
    return Ask(f'{_told(question)}{ONLY}', begun=BEGUN, system=SYSTEM, tokens=32)


def ask_paper(question: Question, lines: Sequence[str]) -> Ask:
    """As VLMEvalKit asks Qwen: all of it is the user's turn, the question before the frames."""
    return Ask(f'{ONLY}{BEGUN}', before=f'{SYSTEM}{_told(question)}', tokens=1)


def score_official(question: Question, response: str | None) -> Reading:
    """The rule of VideoChat2, behind the bracket that begins the answer."""
    if response is None:
        return Reading('', None)
    return _match(question, _begun(response))


def _begun(response: str) -> str:
    """The first line of a response, behind the bracket that it was made to begin with."""
    return '(' + response.split('\n')[0]


def score_paper(question: Question, response: str | None) -> Reading:
    """The same rule in VLMEvalKit, where what could not be asked counts as right."""
    return Reading('', True) if response is None else _match(question, response)


def _match(question: Question, response: str) -> Reading:
    """As published: an empty answer, or a bracket alone, is part of every option: right."""
    said = response.lower().split(' ')[0]
    right = f'({question.answer})'.lower()
    return Reading(said, said.replace('.', '') in right or right in said)


BENCHMARK = Benchmark(
    name='MVBench',
    load=load,
    files=files,
    results=results,
    rules={
        'paper': Rules(Frames(64), ask_paper, score_paper),
        'official': Rules(Frames(16, middles=True), ask_official, score_official),
    },
)
