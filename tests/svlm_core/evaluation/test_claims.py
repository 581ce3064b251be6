# SPDX-License-Identifier: Apache-2.0
"""Claims: how they are tried, what makes one hold, and what `svlm claims` says of them."""

from __future__ import annotations

import csv
import json
import math
import re

import pytest

from svlm_core import cli
from svlm_core.card import EMBEDDED
from svlm_core.evaluation import claims as table
from svlm_core.evaluation.claims import CLAIMS, MARGIN, Claim, Side, judge, right
from svlm_core.evaluation.conditions import CHANGE, CONDITIONS, NEW_TASK
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.identity import Identity, file_hash
from svlm_core.evaluation.judging import COUNTING
from svlm_core.evaluation.measures import Cost, Right, Span
from svlm_core.evaluation.plan import Size, gathered, needs, papers
from svlm_core.evaluation.sitting import Paper, sit, sit_all
from svlm_core.evaluation.wins import wins, wins_of_training
from svlm_core.synthetic.captions import SILENCE
from svlm_core.synthetic.script import SKILLS, TASKS

ALL = Right(span=Span())
OF, WINDOW = ('gold', 'own'), 'window, gold history'


def stream(share: float, held: int = 100) -> list[Mark]:
    """A stream of which this share of seconds is told right."""
    return [
        Mark(n, 'silence', SILENCE, '' if n < share * 100 else 'Oh.', held, 30) for n in range(100)
    ]


def tried(a: list[float], b: list[float], wanted='more', by=1.0):
    claim = Claim('it is so', Side('a', ALL), Side('b', ALL), wanted, by)
    return judge(claim, {('a', False): [*map(stream, a)], ('b', False): [*map(stream, b)]}, 3)


def test_a_claim_holds_when_the_interval_of_the_difference_is_on_its_side_of_zero():
    assert tried([0.9, 0.8, 0.95, 0.9], [0.3, 0.2, 0.5, 0.4]).holds
    assert not tried([0.3, 0.2, 0.5, 0.4], [0.9, 0.8, 0.95, 0.9]).holds
    assert tried([0.3, 0.2, 0.5, 0.4], [0.9, 0.8, 0.95, 0.9], 'less').holds
    assert not tried([0.9, 0.1, 0.5, 0.6], [0.1, 0.9, 0.6, 0.5]).holds  # nobody can tell


def test_streams_are_compared_in_pairs_so_hard_worlds_do_not_blur_a_difference():
    found = tried([0.9, 0.5, 0.1, 0.7], [0.88, 0.48, 0.08, 0.68])
    assert found.holds
    assert found.diff == pytest.approx(0.02)
    assert found.ci_a[0] < found.b < found.ci_a[1]


def test_as_good_means_that_the_whole_interval_lies_within_the_margin():
    a = [0.90, 0.91, 0.89, 0.90]
    assert tried(a, [x + MARGIN / 3 for x in a], 'as good').holds
    assert not tried(a, [x - 3 * MARGIN for x in a], 'as good').holds
    assert not tried([0.9, 0.1, 0.5, 0.6], [0.1, 0.9, 0.6, 0.5], 'as good').holds


def test_a_claim_about_a_multiple_compares_with_the_multiple():
    assert tried([0.9, 0.9], [0.2, 0.2], 'more', by=4).holds
    assert not tried([0.9, 0.9], [0.3, 0.3], 'more', by=4).holds


def test_the_costlier_side_may_have_fewer_streams():
    claim = Claim('it is so', Side('a', ALL), Side('b', ALL), 'more')
    marks = {('a', False): [stream(1)] * 2, ('b', False): [stream(0.5)] * 2 + [stream(1)] * 9}
    assert judge(claim, marks, 0).b == 0.5


def test_what_was_never_asked_holds_nothing_and_is_null():
    claim = Claim('it is so', right('a', 'recall'), right('a', 'recall'), 'as good')
    found = judge(claim, {('a', False): [stream(1)] * 3}, 0)
    assert not found.holds
    assert math.isnan(found.a)
    assert json.loads(found.to_json())['ci_diff'] == [None, None]


def test_a_line_has_the_fields_that_were_promised_and_no_others():
    line = json.loads(tried([0.9, 0.8], [0.3, 0.2]).to_json())
    assert list(line) == ['claim', 'a', 'b', 'ci_a', 'ci_b', 'diff', 'ci_diff', 'holds', 'seed']
    assert line['seed'] == 3


def test_a_win_rate_is_of_the_seconds_that_a_claim_is_about_with_an_interval_over_streams():
    early = Right(span=Span(0, 20))
    claim = Claim('it is so', Side('a', early), Side('b', early), 'more')
    marks = {('a', False): [stream(0.2), stream(0.2)], ('b', False): [stream(0), stream(0.9)]}
    assert wins(claim, marks, 3) == (0.75, (0.5, 1.0))  # what comes later a tells wrong
    late = Claim('it is so', Side('a', Right(span=Span(20))), Side('b', ALL), 'more')
    assert math.isnan(wins(late, marks, 3)[0])  # of other seconds there is nothing to compare


def test_a_variant_wins_as_often_as_its_training_seeds_do_on_the_mean():
    claim = Claim('it is so', Side('c', ALL, variant='a'), Side('c', ALL, variant='t'), 'more')
    trials = {('a', 'c'): [[stream(1)], [stream(0.5)]], ('t', 'c'): [[stream(0.5)]]}
    rate, interval = wins_of_training(claim, trials, 3)
    # The first draws two windows of five and wins the others, the second draws all.
    assert rate == pytest.approx((0.8 + 0.5) / 2)
    assert interval == (rate, rate)


def test_every_claim_is_about_conditions_and_skills_that_there_are():
    for claim in CLAIMS:
        for side in (claim.a, claim.b):
            assert side.condition in CONDITIONS
            if isinstance(side.measure, Right):
                assert set(side.measure.skills) <= set(SKILLS)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)
    assert NEW_TASK in TASKS


def test_all_conditions_are_tried_on_the_same_worlds_and_another_seed_has_others():
    planned = papers(needs(CLAIMS), None, 1, Size())
    worlds = {key: [paper.seed for paper in of] for key, of in planned.items()}
    assert all(of == worlds['refreshed', False][: len(of)] for of in worlds.values())
    assert len(set(worlds['refreshed', False])) == 16
    assert all(seed % 2 == 0 for seed in worlds['refreshed', False])  # nothing was trained on them
    other = papers(needs(CLAIMS), None, 2, Size())
    assert not {p.seed for of in other.values() for p in of} & set(worlds['refreshed', False])


def test_costly_conditions_get_fewer_and_shorter_streams_unless_more_is_asked_for():
    def size(condition, of, free=False):
        some = papers([(condition, free)], None, 0, of)[condition, free]
        return len(some), some[0].seconds

    assert size('refreshed', Size()) == (16, 1800)
    assert size('full attention', Size()) == (4, 480)
    assert size('vision 2 s', Size()) == (16, 480)
    assert size('full attention', Size(32, 60)) == (8, 960)
    assert size('full attention', Size(2, 1)) == (2, 60)
    assert size('refreshed', Size(), free=True) == (16, 1800)
    assert size('no sink', Size(), free=True) == (16, 240)
    assert size('no sink', Size(2, 1), free=True) == (2, 60)


@pytest.mark.parametrize('change', ['task pinned', 'task said'])
def test_a_task_changes_in_its_second_and_the_truth_with_it(change):
    marks = sit(Paper(None, change, seed=8, seconds=CHANGE + 20, free=False))
    assert [mark.second for mark in marks] == list(range(CHANGE + 20))
    later = [mark for mark in marks[CHANGE:] if mark.truth != SILENCE]
    assert {mark.skill for mark in later} <= set(TASKS[NEW_TASK])
    assert {mark.skill for mark in marks[:CHANGE] if mark.truth != SILENCE} - set(TASKS[NEW_TASK])


def test_full_attention_gets_room_for_all_of_its_stream():
    marks = sit(Paper(None, 'full attention', seed=8, seconds=40, free=False))
    held = [mark.held for mark in marks]
    assert held == sorted(held)
    assert held[-1] > 2 * held[15]


def test_processes_give_the_same_marks_as_one_after_the_other():
    some = [Paper(None, 'streaming', seed, 12, free) for seed in (2, 4) for free in (True, False)]
    done: list[int] = []
    marks = sit_all(some, 2, done.append)
    assert done == [0, 1, 2, 3, 4]
    assert marks == {paper: sit(paper) for paper in some}
    key = 'streaming', False
    assert gathered({key: [some[1], some[3]]}, marks)[key] == [marks[some[1]], marks[some[3]]]


def test_the_command_prints_a_line_for_each_claim_and_writes_a_report(
    tmp_path, capsys, monkeypatch
):
    grows = Claim('it grows', Side('refreshed', Cost(True)), Side('window', Cost(True)), 'more')
    monkeypatch.setattr(table, 'CLAIMS', (grows,))
    folder, lab = tmp_path / 'claims', tmp_path / 'lab'
    flags = f'--seed 5 --streams 2 --minutes 1 --processes 2 --variants {lab} --output {folder}'
    status = cli.main(['claims', *flags.split()])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    [told] = [line for line in printed.err.splitlines() if 'left out' in line]
    assert f'10 claims about training left out; {lab} lacks trunk, overlapped,' in told
    assert f'python training/lab.py --trunk DIR --output {lab}' in told
    assert status == 0
    assert [json.loads(line)['claim'] for line in lines] == ['it grows']
    [row] = map(json.loads, (folder / 'claims.jsonl').read_text().splitlines())
    assert {name: row[name] for name in json.loads(lines[0])} == json.loads(lines[0])
    page = (folder / 'claims.html').read_text()
    assert 'it grows' in page
    assert page.count('<svg') == 3
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    rows = (folder / 'marks.csv').read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 * 2 * 60
    assert len((folder / 'table.csv').read_text().splitlines()) == 1 + 4

    run = json.loads((folder / 'run.json').read_text())
    assert run.keys() == {f'{c}, {h} history' for c in ('refreshed', 'window') for h in OF}
    assert (row['made_a'], row['made_b']) == (run['refreshed, gold history'], run[WINDOW])
    assert row['made_b'].keys() == Identity.__dataclass_fields__.keys()
    assert (row['made_b']['policy'], row['made_b']['judge']) == ('window', COUNTING)
    worlds = row['made_b']['data']['worlds']
    assert worlds == [
        p.seed for p in papers([('window', False)], None, 5, Size(2))['window', False]
    ]
    assert row['made_b']['model']['sha256'] == file_hash(
        [EMBEDDED / 'config.json', EMBEDDED / 'model.safetensors']
    )
    digests = {name: Identity(**of).digest for name, of in run.items()}
    for mark in csv.DictReader((folder / 'marks.csv').open()):
        assert mark['run'] == digests[f'{mark["condition"]}, {mark["history"]} history']

    # The same command goes on where it was: what is there is not sat again.
    exams = sorted((folder / 'exams').iterdir())
    assert [file.name for file in exams][:2] == [
        'refreshed-gold-history-0-0.jsonl',
        'refreshed-gold-history-0-1.jsonl',
    ]
    assert len(exams) == 2 * 2 * 2
    whole = exams[0].read_text()
    exams[0].unlink()
    times = {file: file.stat().st_mtime_ns for file in exams[1:]}
    assert cli.main(['claims', *flags.split()]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert {file: file.stat().st_mtime_ns for file in exams[1:]} == times
    assert exams[0].read_text().count('\n') == whole.count('\n') == 60

    # Another seed would be other claims.
    assert cli.main(['claims', *flags.replace('--seed 5', '--seed 6').split()]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert f'{folder} holds a run with other settings' in told.err


def test_sizes_that_make_no_sense_are_refused(capsys):
    assert cli.main('claims --streams 1'.split()) == 1
    assert 'give at least' in capsys.readouterr().err
