# SPDX-License-Identifier: Apache-2.0
"""What is said to have been run in place of what the paper ran, and when nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from svlm_core.evaluation.paper.inplace import of_model, of_win_rate
from svlm_core.evaluation.paper.items import COLUMNS, INF, LIVE, OURS, Contestant
from svlm_core.evaluation.paper.published import GPT, LIVECC
from svlm_core.evaluation.paper.setup import Setup, Voice
from svlm_core.evaluation.paper.sources import LAB, TRAINED, VARIANTS, Sources
from svlm_core.evaluation.paper.standins import Size
from svlm_core.training import lab

MINI, LIVECC_7B = COLUMNS[GPT].maker, COLUMNS[LIVECC].maker


def setup(folder: Path, judge: str = '', commentator: str = '', size: Size | None = None) -> Setup:
    """A run with judges and a commentator by these names."""
    voices = {INF: Voice(judge, 'http://a', None), LIVE: Voice(judge, 'http://a', None)}
    return Setup(
        folder,
        Sources(lab=folder / 'lab'),
        size,
        seed=0,
        processes=1,
        device='cpu',
        judges=voices if judge else {},
        commentator=Voice(commentator, 'http://a', None) if commentator else None,
    )


@pytest.mark.parametrize(
    ('benchmark', 'judge', 'told'),
    [
        (INF, 'gpt-5', ''),
        (INF, 'openai/gpt-5-2025-08-07', ''),
        (LIVE, 'gpt-4o-mini', ''),
        (INF, 'gpt-5-mini', 'judged by gpt-5-mini, not by gpt-5'),
        (INF, 'gpt-4o-mini', 'judged by gpt-4o-mini, not by gpt-5'),
        (LIVE, 'gpt-5', 'judged by gpt-5, not by gpt-4o-mini'),
        (INF, '', 'judged by agreement of words and events, not by gpt-5'),
    ],
)
def test_a_judge_other_than_that_of_the_paper_stands_in(tmp_path, benchmark, judge, told):
    assert of_win_rate(OURS, [OURS], benchmark, setup(tmp_path, judge)) == told


def test_who_captions_in_place_of_others_is_told_once(tmp_path):
    given = setup(tmp_path, 'gpt-5', 'gpt-4o-mini-2024-07-18')
    assert of_win_rate(OURS, [OURS, MINI], INF, given) == ''
    given = setup(tmp_path, 'gpt-5', 'mini')
    told = of_win_rate(LIVECC_7B, [LIVECC_7B, MINI], INF, given)
    assert told == (
        'LiveCC captioned by svlm, not by its own code; captions of mini, not of gpt-4o-mini'
    )
    twice = of_win_rate(LIVECC_7B, [LIVECC_7B, LIVECC_7B], INF, given)
    assert twice == 'LiveCC captioned by svlm, not by its own code'
    assert of_win_rate(LIVECC_7B, [], INF, given) == ''  # captions of its own code were given


def test_a_model_of_the_laboratory_stands_for_every_training_that_rows_wait_for(tmp_path):
    given = setup(tmp_path, size=Size(1, 12))
    for name in TRAINED:
        assert given.lacks(Contestant(name), GPT) == {f'a model of the laboratory for {name}': LAB}
    (tmp_path / 'lab').mkdir()
    content = {'seeds': 1, 'stage': 'annealing', 'clip': None}
    (tmp_path / 'lab' / 'lab.json').write_text(json.dumps(content))
    for variant in (lab.TRUNK, *(f'{name}/0/annealing/model' for name in lab.VARIANTS)):
        (tmp_path / 'lab' / variant).mkdir(parents=True)
    for name in TRAINED:
        assert given.lacks(Contestant(name), GPT) == {}
        assert 'not trained so' not in of_model(name, given)
    live = given.model('sft-live-whisperx')
    assert live == tmp_path / 'lab/no-previous-text/0/annealing/model'
    assert of_model('sft-live-whisperx', given).startswith(f'{live} of the laboratory')
    assert set(VARIANTS.values()) <= {lab.TRUNK, *lab.VARIANTS}
