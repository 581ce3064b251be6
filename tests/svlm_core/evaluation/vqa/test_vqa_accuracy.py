# SPDX-License-Identifier: Apache-2.0
"""The lines of a table: what counts, how groups are made up, and how sure a share is."""

from __future__ import annotations

import pytest

from svlm_core.evaluation.vqa.accuracy import Slice, rows, shares, slices
from svlm_core.evaluation.vqa.answers import Answered
from svlm_core.evaluation.vqa.benchmarks import BENCHMARKS
from svlm_core.evaluation.vqa.protocol import Reading


def answer(right: bool | None, task='OCR', video='a', strict=None, said='A', **more) -> Answered:
    return Answered(
        id='q', by='streaming', task=task, video=video, question='?', options=(), answer='A',
        response='A', official=Reading('A', right),
        strict=Reading(said, right if strict is None else strict), run='', **more,
    )  # fmt: skip


def table(name: str, answers) -> dict[tuple[str, str], dict]:
    found = rows(BENCHMARKS[name], answers, {'mode': 'streaming'}, seed=0)
    return {(row['kind'], row['name']): row for row in found}


def test_what_is_left_out_officially_is_wrong_strictly():
    answers = [answer(True), answer(None, strict=False, said=''), answer(False), answer(True)]
    total = table('videomme', answers)['total', 'total']
    assert total['official'] == pytest.approx(100 * 2 / 3)
    assert total['official_counted'] == 3
    assert total['strict'] == 50
    assert total['answered'] == 75
    assert total['questions'] == 4
    assert total['mode'] == 'streaming'


def test_ovobench_is_the_mean_of_three_groups_and_a_group_of_its_tasks():
    answers = [
        *[answer(True, 'OCR', video=str(n)) for n in range(9)],
        answer(False, 'ACR'),
        answer(True, 'EPM'),
        answer(False, 'REC'),
        answer(True, 'SSR'),
        answer(False, 'CRR'),
    ]
    found = table('ovobench', answers)
    assert found['group', 'realtime']['official'] == pytest.approx(50)
    assert found['group', 'backward']['official'] == pytest.approx(100)
    assert found['group', 'forward']['official'] == pytest.approx(100 / 3)
    assert found['total', 'total']['official'] == pytest.approx((50 + 100 + 100 / 3) / 3)
    assert found['total', 'total']['questions'] == 14
    assert found['task', 'OCR']['official'] == 100


def test_there_is_no_total_where_a_group_is_missing():
    lines = {(s.kind, s.name) for s in slices(BENCHMARKS['ovobench'], [answer(True, 'OCR')])}
    assert lines == {('group', 'realtime'), ('task', 'OCR')}


def test_a_table_is_broken_down_by_what_its_benchmark_names():
    answers = [
        answer(True, 't', tags={'duration': 'short'}),
        answer(False, 't', tags={'duration': 'long'}),
    ]
    found = table('videomme', answers)
    assert found['duration', 'short']['official'] == 100
    assert found['duration', 'long']['official'] == 0
    assert found['total', 'total']['official'] == 50


def test_questions_that_failed_are_counted():
    found = table('mvbench', [answer(True), answer(False, error='no such file')])
    assert found['total', 'total']['failed'] == 1


def interval(answers) -> tuple[float, float]:
    (share,) = shares([Slice('total', 't', [(1.0, answers)])], lambda a: a.official.right, 0)
    assert share.interval is not None
    return share.interval


def test_the_interval_is_that_of_a_binomial_where_every_video_has_one_question():
    answers = [answer(n % 2 == 0, video=str(n)) for n in range(100)]
    low, high = interval(answers)
    assert low == pytest.approx(50 - 9.8, abs=1.5)
    assert high == pytest.approx(50 + 9.8, abs=1.5)


def test_a_hundred_questions_on_four_videos_are_no_hundred_witnesses():
    many = [answer(n % 2 == 0, video=str(n)) for n in range(100)]
    few = [answer(n % 4 < 2, video=str(n % 4)) for n in range(100)]
    widths = [high - low for low, high in (interval(many), interval(few))]
    assert widths[1] > 3 * widths[0]


def test_of_nothing_that_counts_there_is_no_share():
    (share,) = shares([Slice('t', 't', [(1.0, [answer(None)])])], lambda a: a.official.right, 0)
    assert (share.percent, share.interval, share.counted) == (None, None, 0)
