# SPDX-License-Identifier: Apache-2.0
"""How answers are read: every published rule with its traps, and the strict one beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svlm_core.evaluation.vqa import proactive
from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS
from svlm_core.evaluation.vqa.proactive import Poll
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.reading import strict


def question(answer: str | None = 'A', kind: str = 'choice', options=None, **more) -> Question:
    options = ('an apple', 'a bag', 'a cup', 'a dog') if options is None else options
    options = options if kind == 'choice' else ()
    usual = {'id': 'q', 'task': 't', 'video': Path('v.mp4'), 'text': 'What is it?'}
    return Question(**usual, answer=answer, kind=kind, options=options, **more)


def right(benchmark: str, protocol: str, response: str | None, **asked) -> bool | None:
    return BENCHMARKS[benchmark].rules[protocol].score(question(**asked), response).right


TRAPS = [
    # MVBench: whatever is part of "(a)" is right, and nothing is part of everything.
    ('mvbench', 'official', '', 'B', True),
    ('mvbench', 'official', 'B) a bag', 'B', True),
    ('mvbench', 'official', 'A) an apple', 'B', False),
    ('mvbench', 'official', 'B)\nA)', 'B', True),
    ('mvbench', 'official', None, 'B', None),
    ('mvbench', 'paper', '', 'B', True),
    ('mvbench', 'paper', '(', 'B', True),
    ('mvbench', 'paper', 'b.', 'B', True),
    ('mvbench', 'paper', '(B),(C)', 'B', True),
    ('mvbench', 'paper', 'The bag', 'B', False),
    ('mvbench', 'paper', None, 'B', True),  # failed items count as right in the published table
    # Video-MME: the first capital of A to D, whatever word it begins.
    ('videomme', 'official', 'An apple', 'A', True),
    ('videomme', 'official', 'B', 'B', True),
    ('videomme', 'official', 'The best answer is C.', 'C', True),
    ('videomme', 'official', 'Best option: C', 'C', False),
    ('videomme', 'official', 'Best option: C', 'B', True),
    ('videomme', 'official', 'Answer: C', 'C', True),
    ('videomme', 'official', 'Answer C', 'A', True),
    ('videomme', 'official', 'it is not to be seen in any of the frames at all', 'A', None),
    ('videomme', 'official', '', 'A', None),
    ('videomme', 'official', None, 'A', None),
    ('videomme', 'paper', '', 'A', False),
    ('videomme', 'paper', None, 'A', None),
    ('videomme', 'paper', 'Best answer: D', 'B', True),
    # LongVideoBench: the authors' list of phrases is whole, VLMEvalKit's is not.
    ('longvideobench', 'official', 'Best option: C', 'C', True),
    ('longvideobench', 'paper', 'Best option: C', 'C', False),
    ('longvideobench', 'official', 'E', 'A', False),
    ('longvideobench', 'paper', 'nothing', 'A', False),
    ('longvideobench', 'paper', None, 'A', None),
    # OVO-Bench: the right letter anywhere; LiveCC: the response begins with it.
    ('ovobench', 'official', 'ABCD', 'C', True),
    ('ovobench', 'official', 'A man', 'A', True),
    ('ovobench', 'official', 'b', 'B', False),
    ('ovobench', 'official', '', 'A', False),
    ('ovobench', 'official', None, 'A', False),
    ('ovobench', 'paper', 'C', 'C', True),
    ('ovobench', 'paper', '7', 'C', False),
    ('ovobench', 'paper', None, 'C', False),
    # StreamingBench: the first character.
    ('streamingbench', 'official', 'Because', 'B', True),
    ('streamingbench', 'official', ' B', 'B', False),
    ('streamingbench', 'official', '(B)', 'B', False),
    ('streamingbench', 'official', '', 'B', None),
    ('streamingbench', 'official', None, 'B', None),
]  # fmt: skip


@pytest.mark.parametrize(('benchmark', 'protocol', 'response', 'answer', 'counts'), TRAPS)
def test_a_published_rule_is_kept_with_its_traps(benchmark, protocol, response, answer, counts):
    assert right(benchmark, protocol, response, answer=answer) is counts


@pytest.mark.parametrize(
    ('protocol', 'kind', 'response', 'answer', 'counts'),
    [
        ('official', 'count', '3 times', '3', True),
        ('official', 'count', '1 or 2', '12', True),
        ('official', 'count', '1 or 2', '1', False),
        ('official', 'count', '03', '3', False),
        ('official', 'count', 'three', '3', False),
        ('paper', 'count', '3', '3', True),
        ('paper', 'count', '1', '12', False),
        ('official', 'yes_no', 'Nothing', 'No', True),
        ('official', 'yes_no', 'Yes, No', 'No', True),
        ('official', 'yes_no', 'no', 'No', False),
        ('official', 'yes_no', 'N', 'No', True),
        ('official', 'yes_no', 'Y', 'Yes', True),
        ('official', 'yes_no', 'Y', 'No', False),
        ('paper', 'yes_no', 'Yes', 'Yes', True),
        ('paper', 'yes_no', 'A', 'Yes', False),
    ],
)
def test_the_rules_of_ovobench_for_what_is_to_come(protocol, kind, response, answer, counts):
    assert right('ovobench', protocol, response, answer=answer, kind=kind) is counts


def test_chance_answers_for_who_says_nothing_the_same_in_every_run():
    score = BENCHMARKS['longvideobench'].rules['official'].score
    drawn = [score(question(answer='A', options=tuple('wxyz')), '') for _ in range(5)]
    assert len({reading.said for reading in drawn}) == 1
    assert drawn[0].said in 'ABCD'
    usual = {'task': 't', 'video': Path('v'), 'text': '?', 'answer': 'A', 'options': tuple('wxyz')}
    many = {score(Question(id=str(n), **usual), None).said for n in range(60)}
    assert many == set('ABCD')


@pytest.mark.parametrize(
    ('response', 'said'),
    [
        ('B', 'B'),
        (' B.\n', 'B'),
        ('(B)', 'B'),
        ('B) a bag', 'B'),
        ('(B) A bag.', 'B'),
        ('B. a cup', ''),  # the letter of one option and the words of another
        ('An apple', ''),
        ('A dog', ''),
        ('A man', ''),
        ('b', ''),
        ('E', ''),
        ('A or B', ''),
        ('Best option: B', ''),
        ('', ''),
        (None, ''),
    ],
)
def test_strictly_a_response_is_a_letter_and_its_own_option_or_no_answer(response, said):
    reading = strict(question(answer='B'), response)
    assert reading.said == said
    assert reading.right is (said == 'B')


@pytest.mark.parametrize(
    ('kind', 'response', 'said'),
    [
        ('count', '12', '12'),
        ('count', '07.', '7'),
        ('count', '1 or 2', ''),
        ('count', 'twelve', ''),
        ('yes_no', 'yes.', 'Yes'),
        ('yes_no', 'NO', 'No'),
        ('yes_no', 'Nothing', ''),
        ('yes_no', 'Y', ''),
    ],
)
def test_strictly_a_number_is_a_number_and_yes_is_yes(kind, response, said):
    assert strict(question(answer='x', kind=kind), response).said == said


@given(st.text(max_size=40), st.sampled_from('ABCD'))
def test_strictly_nobody_is_right_by_accident(response, answer):
    reading = strict(question(answer=answer), response)
    if reading.right:
        assert response.strip().lstrip('(')[0] == answer
    assert reading.right is (reading.said == answer)


def test_without_a_published_answer_nothing_is_right_or_wrong():
    assert strict(question(answer=None), 'A').right is None
    assert right('longvideobench', 'official', 'A', answer=None) is None
    assert right('longvideobench', 'paper', 'A', answer=None) is None


def awaited() -> Question:
    return question(answer='3', kind='output', asked=10.0, due=14.0, end=18.0)


def polled(script: dict[float, str]) -> tuple[list[Poll], list[tuple[float, str]]]:
    """The polls of somebody who says what the script has for a second, else no."""
    asked = []

    def ask(second, told):
        asked.append((second, told.text))
        kind = 'time' if 'Is it the right time' in told.text else 'words'
        return script.get((second, kind), 'No.')

    polls, _ = proactive.await_words(awaited(), ask, str)
    return polls, asked


def test_words_are_awaited_second_by_second_until_four_after_they_are_due():
    polls, asked = polled({})
    assert [poll.second for poll in polls] == [11, 12, 13, 14, 15, 16, 17, 18]
    assert 'Is it the right time to output "3"?' in asked[0][1]
    assert proactive.official(awaited(), polls).right is False
    assert proactive.strict(awaited(), polls).said == ''


@pytest.mark.parametrize(
    ('second', 'agreed', 'words', 'official', 'strictly'),
    [
        (14.0, 'Yes.', '3', True, True),
        (16.0, 'yes', '"3".', True, True),
        (17.0, 'yes', '3', False, False),
        (12.0, 'yes', '3', True, True),
        (11.0, 'yes', '3', False, False),
        (14.0, 'yes', 'It is 13 now', True, False),  # the words occur, in another one
        (14.0, 'My eyes say no', '3', True, False),  # a yes in another word
        (14.0, 'yes', '4', False, False),
    ],
)
def test_words_count_when_they_come_in_time(second, agreed, words, official, strictly):
    polls, asked = polled({(second, 'time'): agreed, (second, 'words'): words})
    assert [poll.second for poll in polls[-2:]] == [second, second]
    assert 'Is it the right time' not in asked[-1][1]
    assert proactive.official(awaited(), polls).right is official
    assert proactive.strict(awaited(), polls).right is strictly
