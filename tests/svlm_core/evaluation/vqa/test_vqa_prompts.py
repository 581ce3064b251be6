# SPDX-License-Identifier: Apache-2.0
"""What is asked, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS
from svlm_core.evaluation.vqa.protocol import Ask, Pixels
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.subtitles import below, read_subtitles

SELECT = (
    'Select the best answer to the following multiple-choice question based on the video. '
    'Respond with only the letter (A, B, C, or D) of the correct option.\n'
)


def asked(benchmark: str, protocol: str, lines=(), **more) -> Ask:
    usual = {
        'id': 'q', 'task': 't', 'video': Path('v.mp4'), 'text': 'What is it?', 'answer': 'A',
        'options': ('x', 'y'), 'tags': {'set': 'real'},
    }  # fmt: skip
    return BENCHMARKS[benchmark].rules[protocol].ask(Question(**{**usual, **more}), lines)


def test_mvbench_puts_the_beginning_of_the_answer_into_the_models_mouth():
    ask = asked('mvbench', 'official')
    question = 'Question: What is it?\nOptions:\n(A) x\n(B) y'
    assert ask.text == f'{question}\nOnly give the best option.'
    assert ask.begun == 'Best option:('
    assert ask.system.startswith('Carefully watch the video and pay attention')
    paper = asked('mvbench', 'paper')
    assert paper.text == '\nOnly give the best option.Best option:('
    assert paper.before == ask.system + question
    assert (paper.begun, paper.system, paper.tokens) == ('', '', 1)


def test_videomme_lists_subtitles_only_where_there_are_any():
    told = 'What is it?\nA. x\nB. y'
    assert asked('videomme', 'official').text == f'{SELECT}{told}\nThe best answer is:'
    lines = ['hello', 'hello', 'there']
    ask = asked('videomme', 'official', lines, subtitles=Path('a.srt'))
    listed = "This video's subtitles are listed below:\nhello\nthere\n"
    assert ask.text == f'{listed}{SELECT}{told}\nThe best answer is:'
    paper = asked('videomme', 'paper', lines, subtitles=Path('a.srt'))
    listed = "This video's subtitles are listed below:\nhello\nhello\nthere\n"
    frames = '\nThese are the frames of a video. '
    assert paper.text == f'{frames}{listed}{SELECT}Question: {told}\nAnswer: '
    assert asked('videomme', 'paper').text == f'{frames}{SELECT}Question: {told}\nAnswer: '
    assert paper.tokens == 1


@pytest.mark.parametrize('protocol', ['paper', 'official'])
def test_longvideobench_asks_for_the_letter_directly(protocol):
    ask = asked('longvideobench', protocol)
    directly = "Answer with the option's letter from the given choices directly."
    assert ask.text == f'What is it?\nA. x\nB. y\n{directly}'


def test_ovobench_joins_options_by_semicolons_or_lists_them():
    ask = asked('ovobench', 'official')
    words = ' '.join(ask.text.split())
    assert words.startswith('Question: What is it? Options: A. x; B. y; Respond only with the')
    assert ask.text.startswith('\n' + 16 * ' ' + 'Question:')
    assert ask.text.endswith('\n' + 12 * ' ')
    paper = asked('ovobench', 'paper')
    assert paper.text == 'What is it?\nA. x\nB. y\nPlease select the correct answer.'
    assert paper.begun == 'The answer is:\n'
    assert paper.choices == ('No', 'Yes', *'0123456789ABCDE')


@pytest.mark.parametrize('protocol', ['paper', 'official'])
@pytest.mark.parametrize(
    ('task', 'kind', 'words'),
    [
        ('REC', 'count', 'Provide your answer as a single number'),
        ('SSR', 'yes_no', 'currently performing this step. Answer only with “Yes” or “No”.'),
        ('CRR', 'yes_no', 'provide enough information for answering the question. Answer only'),
    ],
)
def test_ovobench_has_words_of_its_own_for_each_forward_task(protocol, task, kind, words):
    text = ' '.join(asked('ovobench', protocol, task=task, kind=kind, options=()).text.split())
    assert words in text
    assert 'What is it?' in text


def test_streamingbench_tells_earlier_questions_with_their_true_answers():
    ask = asked('streamingbench', 'official')
    assert ask.text.endswith(
        'Question: What is it?\n\nOptions:\nA. x\nB. y\n\nThe best option is:'
    )
    told = asked('streamingbench', 'official', tags={'set': 'sqa'}, history='Once upon a time.')
    assert '\n\nOnce upon a time.\n\nHere is the question.' in told.text
    assert told.text.endswith('Options:\nA. x\nB. y\n\nThe best option is:')


@pytest.mark.parametrize(
    ('frames', 'most'), [(2, 768), (64, 768), (128, 384), (480, 134), (768, 134)]
)
def test_pixels_are_shared_out_as_qwens_own_tools_do(frames, most):
    assert Pixels().most(frames) == most


def test_a_model_of_small_pictures_sets_the_bounds():
    assert Pixels().within(4) == Pixels(low=1, high=4)
    assert Pixels().within(4).most(2) == 4
    assert Pixels().within(300) == Pixels(high=300)
    assert Pixels().within(1000) == Pixels()


def test_the_subtitle_below_a_frame_is_the_one_on_screen(published):
    lines = read_subtitles(published['videomme'] / 'subtitle/fFjv93ACGo8.srt')
    assert lines == (
        (0.5, 2.6, 'When you see these four trees'),
        (4.1, 4.9, 'what comes to mind?'),
    )
    assert below(lines, [0, 1, 2, 3, 4.5]) == [lines[0][2], lines[0][2], lines[1][2]]
