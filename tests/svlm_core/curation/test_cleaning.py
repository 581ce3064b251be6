# SPDX-License-Identifier: Apache-2.0
"""A model decides about every sentence, or nothing is kept; it never places a word."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from svlm_core.curation.cleaning import clean, decide, ratios
from svlm_core.curation.settings import Cleaning
from svlm_core.endpoints.chat import Reply
from svlm_core.errors import SettingsError


def sentence(start: float, text: str, step: float = 0.5) -> dict[str, Any]:
    words = [[start + n * step, start + (n + 1) * step, w] for n, w in enumerate(text.split())]
    return {'start': start, 'end': words[-1][1], 'words': words}


SENTENCES = [sentence(1, 'Jonson shoots.'), sentence(5, 'Buy Cola.'), sentence(9, 'What a save!')]


class Model:
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, *said: Any) -> None:
        self.said, self.asked = list(said), list[str]()

    def __call__(self, messages, schema=None):
        self.asked.append(messages[-1]['content'])
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return said if isinstance(said, Reply) else Reply(json.dumps(said))


def decisions(*rows: tuple[int, str, str]) -> dict[str, Any]:
    keys = 'sentence', 'decision', 'text'
    return {'decisions': [dict(zip(keys, row, strict=True)) for row in rows]}


GOOD = decisions((2, 'keep', ''), (0, 'edit', 'Johnson shoots high.'), (1, 'delete', 'x'))


def aligned(*sentences: dict[str, Any]) -> dict[str, Any]:
    about = {'title': 'A vs B', 'category': '', 'duration': 300.0, 'language': 'en'}
    return {**about, 'sentences': list(sentences)}


def test_kept_words_keep_their_time_and_corrected_ones_share_that_of_their_sentence():
    product = clean(aligned(*SENTENCES), Model(GOOD), Cleaning())
    edited, kept = product.content['sentences']
    assert edited['words'] == [
        [1, 1.333, 'Johnson'], [1.333, 1.667, 'shoots'], [1.667, 2.0, 'high.'],
    ]  # fmt: skip
    assert kept == SENTENCES[2]
    assert product.counts == {'keep': 1, 'edit': 1, 'delete': 1, 'refused': 0, 'invalid': 0}
    (report,) = product.content['segments']
    assert report['sentences'][1] == {'was': 'Buy Cola.', 'decision': 'delete', 'text': ''}


def test_the_model_sees_the_title_and_120_seconds_at_a_time():
    model = Model(decisions((0, 'keep', '')))
    far = sentence(119, 'One.'), sentence(120, 'Two.'), sentence(260, 'Three.')
    product = clean(aligned(*far), model, Cleaning(), workers=1)
    assert product.counts['keep'] == 3
    assert [part['start'] for part in product.content['segments']] == [0, 120, 240]
    assert model.asked == [
        f'Title: A vs B\nFrom second {start}:\n0 [{at}s] {text}'
        for start, at, text in zip(
            (0, 120, 240), ('119.0', '120.0', '260.0'), ('One.', 'Two.', 'Three.'), strict=True
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('bad', 'told'),
    [
        ({'decisions': []}, 'decisions leave out sentence 0'),
        (decisions((0, 'keep', ''), (0, 'keep', '')), 'decisions[1].sentence is 0, which was'),
        (decisions((3, 'keep', '')), 'decisions[0].sentence is 3; the last sentence is 2'),
        (decisions((0, 'edit', ' ')), 'decisions[0].text is empty, although'),
        (decisions((0, 'drop', '')), 'decisions[0].decision is "drop", not one of keep, edit'),
        (decisions((-1, 'keep', '')), 'decisions[0].sentence is -1, less than 0'),
        ({'decisions': [{'sentence': 0}]}, 'decisions[0].decision is missing'),
        ({'decisions': [], 'why': ''}, 'the value has the unknown field why'),
        ([], 'the value is [], not an object'),
    ],
)
def test_an_answer_that_does_not_decide_is_told_what_is_wrong_and_asked_again(bad, told):
    model = Model(bad, GOOD)
    answer = decide(model, 'A vs B', 0, SENTENCES)
    assert answer.outcome == 'ok'
    assert told in model.asked[1]


@pytest.mark.parametrize(
    ('said', 'outcome'), [(Reply('', 'I cannot help.'), 'refused'), ({'decisions': []}, 'invalid')]
)
def test_where_it_decides_nothing_nothing_is_kept_and_it_is_recorded(said, outcome):
    product = clean(aligned(*SENTENCES), Model(said), Cleaning())
    assert product.content['sentences'] == []
    assert product.counts[outcome] == 3
    assert product.left_out == 'no sentence of it was kept'
    (report,) = product.content['segments']
    assert report['outcome'] == outcome
    assert report['problem']
    assert ratios(product.counts)['undecided'] == 1


def test_ratios_are_of_decisions_and_nothing_is_divided_by_nothing():
    counts = {'keep': 2, 'edit': 1, 'delete': 1, 'refused': 1, 'invalid': 0}
    assert ratios(counts) == {'keep': 0.5, 'edit': 0.25, 'delete': 0.25, 'undecided': 0.2}
    assert all(math.isnan(share) for share in ratios({}).values())


def test_settings_out_of_range_are_told():
    with pytest.raises(SettingsError, match='--segment above 0'):
        Cleaning(segment=0)
