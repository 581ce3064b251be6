# SPDX-License-Identifier: Apache-2.0
"""Claims about training: over seeds and streams, and only those that can be measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from svlm_core import StreamingVLM, cli
from svlm_core.card import EMBEDDED
from svlm_core.evaluation import claims as table
from svlm_core.evaluation import quiz, sitting
from svlm_core.evaluation import variants as module
from svlm_core.evaluation.bootstrap import interval
from svlm_core.evaluation.claims import QUESTIONS, TRAINING, Claim, Side, judge_training
from svlm_core.evaluation.conditions import CONDITIONS
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.measures import Right
from svlm_core.evaluation.plan import Size, papers
from svlm_core.evaluation.quiz import Quiz, answered
from svlm_core.evaluation.sitting import Paper
from svlm_core.evaluation.variants import possible, trials, tried
from svlm_core.fork import Fork
from svlm_core.synthetic import questions
from svlm_core.synthetic.captions import SILENCE
from svlm_core.synthetic.script import SKILLS, second
from svlm_core.training.lab import TRUNK, VARIANTS, Lab, read_lab

SEEDS = 2


def laboratory(folder: Path, clip: int | None = 2, without: tuple[str, ...] = ()) -> Path:
    """A folder in which every variant is the embedded model."""
    folder.mkdir()
    account = {'seeds': SEEDS, 'stage': 'annealing', 'clip': clip}
    (folder / 'lab.json').write_text(json.dumps(account))
    places = [folder / TRUNK]
    places += [
        folder / variant / str(seed) / 'annealing' / 'model'
        for variant in VARIANTS
        for seed in range(SEEDS)
        if f'{variant}/{seed}' not in without
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(EMBEDDED)
    return folder


def stream(share: float) -> list[Mark]:
    """A stream of which this share of seconds is told right."""
    return [
        Mark(n, 'silence', SILENCE, '' if n < share * 100 else 'Oh.', 9, 3) for n in range(100)
    ]


def judged(a: list[list[float]], b: list[list[float]], wanted='more'):
    """A claim on two variants; shares by training seed and stream."""
    claim = Claim(
        'it is so', Side('c', Right(), variant='a'), Side('c', Right(), variant='b'), wanted
    )
    runs = {
        (name, 'c'): [[stream(share) for share in shares] for shares in of]
        for name, of in (('a', a), ('b', b))
    }
    return judge_training(claim, runs, 3)


def test_a_side_is_the_mean_over_training_seeds_and_streams_are_what_is_drawn():
    found = judged([[0.9, 0.7], [0.7, 0.9], [0.8, 0.2]], [[0.3, 0.3], [0.4, 0.4], [0.2, 0.2]])
    assert found.a == pytest.approx(0.7)
    assert found.b == pytest.approx(0.3)
    assert found.ci_a == pytest.approx(interval([0.8, 0.6], 3))
    assert found.ci_diff == pytest.approx(interval([0.5, 0.3], 3))
    assert found.holds


def test_one_lucky_seed_does_not_make_a_claim():
    assert not judged([[0.9, 0.9, 0.9], [0.2, 0.1, 0.3]], [[0.6, 0.5, 0.6], [0.5, 0.6, 0.6]]).holds


def test_a_trunk_that_was_trained_once_is_compared_with_all_seeds_of_a_variant():
    assert judged([[0.52, 0.5], [0.48, 0.5]], [[0.5, 0.5]], 'as good').holds
    assert not judged([[0.6, 0.5], [0.6, 0.5]], [[0.5, 0.5]], 'as good').holds


def test_every_claim_is_about_variants_conditions_and_skills_that_there_are():
    for claim in TRAINING:
        for side in (claim.a, claim.b):
            assert side.variant in (TRUNK, *VARIANTS)
            assert side.condition in (QUESTIONS, *CONDITIONS)
            assert isinstance(side.measure, Right)
            assert set(side.measure.skills) <= set(SKILLS)
            assert not side.free
    used = {side.variant for claim in TRAINING for side in (claim.a, claim.b)}
    assert used == {TRUNK, *VARIANTS}
    assert len({claim.text for claim in (*TRAINING, *table.CLAIMS)}) == len(TRAINING) + len(
        table.CLAIMS
    )


def test_a_whole_laboratory_can_try_every_claim(tmp_path):
    folder = laboratory(tmp_path / 'lab')
    assert possible(folder, read_lab(folder)) == (list(TRAINING), '')


def test_a_variant_of_which_one_seed_is_missing_leaves_its_claims_out(tmp_path):
    folder = laboratory(tmp_path / 'lab', without=('noisy/1',))
    claims, line = possible(folder, read_lab(folder))
    assert [claim for claim in TRAINING if claim not in claims] == [TRAINING[3]]
    assert line == (
        f'1 claims about training left out; {folder} lacks noisy: train them with '
        f'`python training/lab.py --trunk DIR --output {folder}`'
    )


def test_a_trunk_that_was_taught_no_questions_is_not_said_to_keep_its_answers(tmp_path):
    folder = laboratory(tmp_path / 'lab', clip=None)
    claims, line = possible(folder, read_lab(folder))
    left = [claim for claim in TRAINING if claim not in claims]
    assert left == [claim for claim in TRAINING if claim.a.condition == QUESTIONS]
    assert 'was taught no questions' in line


def test_without_a_laboratory_nothing_is_claimed_about_training(tmp_path):
    claims, line = possible(tmp_path, read_lab(tmp_path))
    assert claims == []
    assert all(variant in line for variant in VARIANTS)
    assert len(line.splitlines()) == 1


def test_all_variants_and_seeds_sit_the_same_worlds_for_four_minutes(tmp_path):
    lab = Lab(3, 'annealing', 4)
    planned = trials(TRAINING, tmp_path, lab, 7, Size())
    assert {len(runs) for (variant, _), runs in planned.items() if variant != TRUNK} == {3}
    streams = [of for runs in planned.values() for of in runs]
    counts = {condition: {len(of) for of in runs} for (_, condition), runs in planned.items()}
    costly = {name for name, of in CONDITIONS.items() if of.costly}
    assert all(of == ({4} if name in costly else {16}) for name, of in counts.items())
    worlds = [paper.seed for paper in streams[0]]
    assert all([paper.seed for paper in of] == worlds[: len(of)] for of in streams)
    plain = papers([('refreshed', False)], None, 7, Size())['refreshed', False]
    assert [paper.seed for paper in streams[0]] == [paper.seed for paper in plain]
    assert {paper.seconds for of in streams for paper in of} == {240}
    assert {paper.free for of in streams for paper in of if isinstance(paper, Paper)} == {False}
    assert {p.clip for of in streams for p in of if isinstance(p, Quiz)} == {4}
    models = {paper.model for of in streams for paper in of}
    assert models == {m for v in (TRUNK, *VARIANTS) for m in lab.models(tmp_path, v)}
    small = trials(TRAINING, tmp_path, lab, 7, Size(2, 1))
    assert {paper.seconds for runs in small.values() for of in runs for paper in of} == {60}


@dataclass
class Said:
    """What a fork answers."""

    text: str


@pytest.mark.parametrize(('shown', 'first'), [(None, 1), (1, 0)])
def test_a_quiz_asks_everything_about_chunks_that_are_seen_alone(monkeypatch, shown, first):
    engine = StreamingVLM.from_pretrained(None, device='cpu')
    asked: list[tuple[str, tuple[float, float]]] = []
    ask = Fork.ask

    def noted(self: Fork, question: str) -> object:
        found = ask(self, question)
        asked.append((question, found.seen))
        return found

    monkeypatch.setattr(Fork, 'ask', noted)
    monkeypatch.setattr(quiz, 'CHUNKS', 6)
    answers = list(answered(engine, Quiz(None, seed=8, seconds=100, clip=2, shown=shown)))
    assert len(answers) == len(asked) == 6 * len(questions.QUESTIONS)
    for found, (text, seen) in zip(answers, asked, strict=True):
        # The chunk alone is in memory, or its end alone; what is asked is about all of it.
        assert seen == (found.second - first, found.second + 1)
        clip = [second(8, found.second - 1), second(8, found.second)]
        question = questions.ask(found.skill, clip)
        assert (text, found.truth) == (question.text, question.answer)
        assert found.right == question.answered(found.said)
    ends = sorted({found.second for found in answers})
    assert (ends[0], len(ends)) == (1, 6)
    assert 80 < ends[-1] < 100


def test_who_answers_rightly_gets_full_marks(monkeypatch):
    def know(self: Fork, question: str) -> Said:
        clip = [second(8, int(start)) for start in range(*map(int, self._origin.seen))]
        [kind] = [kind for kind, (text, _) in questions.QUESTIONS.items() if text == question]
        return Said(f' {questions.ask(kind, clip).answer.title()}. ')

    monkeypatch.setattr(Fork, 'ask', know)
    engine = StreamingVLM.from_pretrained(None, device='cpu')
    answers = list(answered(engine, Quiz(None, seed=8, seconds=40, clip=3)))
    assert Right()(answers) == 1
    assert Right(('robot',))(answers) == 1
    assert {found.truth for found in answers} > {'yes', 'no', 'none'}


def one_by_one(work, jobs, processes):
    """What `spread` does, in this process."""
    yield from enumerate(map(work, jobs))


def test_the_command_tries_variants_and_reports_every_seed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sitting, 'spread', one_by_one)
    monkeypatch.setattr(quiz, 'CHUNKS', 2)
    same = Claim(
        'it anneals',
        Side('refreshed', Right(), variant='annealed'),
        Side('refreshed', Right(), variant='noisy'),
        'as good',
    )
    monkeypatch.setattr(table, 'CLAIMS', ())
    monkeypatch.setattr(module, 'TRAINING', (same, TRAINING[5]))
    lab, folder = laboratory(tmp_path / 'lab', without=('early-eviction/0',)), tmp_path / 'claims'
    flags = f'--seed 5 --streams 2 --minutes 1 --processes 2 --variants {lab} --output {folder}'
    assert cli.main(['claims', *flags.split()]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line['claim'] for line in lines] == ['it anneals', TRAINING[5].text]
    assert [line['diff'] for line in lines] == [0, 0], 'they are all one model'
    assert all(line['holds'] for line in lines)
    assert 'left out' not in printed.err, 'no claim needs what is missing'
    rows = (folder / 'variants.csv').read_text().splitlines()
    names = [row.split(',')[:4] for row in rows]
    assert names[1:4] == [
        ['annealed', 'refreshed', '0', '2'],
        ['annealed', 'refreshed', '1', '2'],
        ['annealed', 'refreshed', 'spread', ''],
    ]
    assert len(rows) == 1 + 2 * 3
    asked = (folder / 'answers.csv').read_text().splitlines()
    assert [row.split(',')[0] for row in asked] == ['variant', *['overlapped'] * 3, TRUNK]
    page = (folder / 'claims.html').read_text()
    assert 'Variants of training' in page
    assert 'Questions about single chunks' in page


def test_results_come_back_in_the_order_of_the_plan():
    planned = {('noisy', 'refreshed'): [[Paper(None, 'refreshed', s, 9, False) for s in (2, 4)]]}
    marks = {paper: [f'world {paper.seed}'] for paper in planned['noisy', 'refreshed'][0]}
    assert tried(planned, marks) == {('noisy', 'refreshed'): [[['world 2'], ['world 4']]]}
