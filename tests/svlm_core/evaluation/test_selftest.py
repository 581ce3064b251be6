# SPDX-License-Identifier: Apache-2.0
"""The self-test: it says what a memory is worth, and of what was not asked that it was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from svlm_core import StreamingVLM, StreamSettings, cli
from svlm_core.card import suited
from svlm_core.evaluation import selftest as module
from svlm_core.evaluation.exam import Mark
from svlm_core.evaluation.selftest import Finding, selftest, tell
from svlm_core.synthetic.captions import SILENCE
from svlm_core.synthetic.script import second

SETTINGS = suited('robot', None, max_new_tokens=64)  # the golden model spells words out
GOLDEN = Path(__file__).parents[2] / 'parity' / 'checkpoint'
Told = Callable[[StreamSettings, Mark], str]


@pytest.fixture(scope='module')
def random() -> StreamingVLM:
    """A model that knows nothing."""
    return StreamingVLM.from_pretrained(GOLDEN, device='cpu', dtype='float32')


def perfect(settings: StreamSettings, mark: Mark) -> str:
    return str(mark.truth)


@pytest.fixture
def told_by(monkeypatch: pytest.MonkeyPatch, random: StreamingVLM) -> Callable:
    """The findings on a model that tells every second as a function says."""

    def found(says: Told, seeds: Sequence[int] = (2,), seconds: int = 120) -> dict[str, Finding]:
        def marks(
            engine: StreamingVLM, settings: StreamSettings, seeds: Sequence[int], seconds: int
        ) -> list[Mark]:
            seen = [second(seed, n) for seed in seeds for n in range(seconds)]
            true = [Mark(now.index, now.skill, now.meaning, '', 100, 30) for now in seen]
            return [replace(mark, said=says(settings, mark)) for mark in true]

        monkeypatch.setattr(module, 'tell', marks)
        monkeypatch.setattr(module, 'measure', lambda *_: module.Speed((0.01,) * 9, (100,) * 9))
        every = selftest(random, SETTINGS, seeds, seconds)
        return {finding.what: finding for finding in every}

    return found


def test_a_memory_that_works_has_no_fault(told_by: Callable) -> None:
    def without_sink_forgets(settings: StreamSettings, mark: Mark) -> str:
        forgotten = mark.skill == 'recall' and settings.text_sink == 0
        return 'The code of red is one.' if forgotten else str(mark.truth)

    found = told_by(without_sink_forgets, seeds=range(2, 12, 2))
    assert {what: finding.ok for what, finding in found.items()} == {
        'speed': True,
        'eyes': True,
        'sink': True,
        'vision window': True,
        'reuse gap': True,
    }
    assert '100% of facts' in found['sink'].found
    assert 'known after 15 s' in found['vision window'].found


def test_a_lag_that_was_never_asked_is_told_as_such_and_is_no_fault(told_by: Callable) -> None:
    found = told_by(perfect, seconds=60)['vision window']
    later = [second(2, n).skill for n in range(module.LATER, 60)]
    missing = [lag for lag in module.LAGS if f'past_{lag}' not in later]
    assert missing
    assert found.ok is True
    told = found.found.split(': ')[1].split(', ')
    assert told == [
        f'{lag} s not asked' if lag in missing else f'100% at {lag} s' for lag in module.LAGS
    ]


def test_of_a_stream_too_short_to_ask_anything_nothing_is_claimed(told_by: Callable) -> None:
    found = told_by(perfect, seconds=module.LATER)
    assert found['sink'] == Finding('sink', None, 'not tried: no fact was asked for after 40 s')
    assert found['vision window'].ok is None
    brief = told_by(perfect, seconds=SETTINGS.vision_rounds)
    assert brief['reuse gap'] == Finding('reuse gap', None, 'not tried: no frames leave in 16 s')
    for finding in (*found.values(), *brief.values()):
        assert 'nan' not in finding.found


def test_lights_that_are_forgotten_within_the_window_are_a_fault(told_by: Callable) -> None:
    def forgets_after_eight(settings: StreamSettings, mark: Mark) -> str:
        return '' if mark.skill in ('past_12', 'past_15') else str(mark.truth)

    found = told_by(forgets_after_eight, seeds=range(2, 12, 2))['vision window']
    assert found.ok is False
    assert 'known after 8 s' in found.found
    assert '0% at 12 s' in found.found


def test_what_reuse_of_keys_costs_is_a_fault_beyond_its_limit(told_by: Callable) -> None:
    def reuse_loses_facts(settings: StreamSettings, mark: Mark) -> str:
        lost = settings.policy == 'streaming' and mark.skill == 'recall'
        return '' if lost else str(mark.truth)

    found = told_by(reuse_loses_facts)
    assert found['reuse gap'].ok is False
    assert found['sink'].ok is False


def test_a_model_that_does_not_know_the_world_is_tried_for_speed_and_reuse_alone(
    random: StreamingVLM,
) -> None:
    found = {finding.what: finding for finding in selftest(random, SETTINGS, [2], 20)}
    assert found['speed'].ok is not None
    assert {found[what].ok for what in ('eyes', 'sink', 'vision window')} == {None}
    assert 'does not tell the synthetic world' in found['sink'].found
    assert found['reuse gap'].ok is not None


def test_marks_are_those_of_gold_history(random: StreamingVLM) -> None:
    marks = tell(random, SETTINGS, [2, 4], 9)
    assert [mark.second for mark in marks] == [*range(9), *range(9)]
    assert [mark.truth for mark in marks[:9]] == [second(2, n).meaning for n in range(9)]
    assert {mark.truth for mark in marks} != {SILENCE}


def test_the_command_prints_a_line_for_each_finding(capsys: pytest.CaptureFixture) -> None:
    command = 'selftest --device cpu --worlds 1 --seconds 60'
    assert cli.main(command.split()) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    names = [line[4:21].strip() for line in lines[-5:]]
    assert names == ['speed', 'eyes', 'sink', 'vision window', 'reuse gap']
    assert 'nan' not in ''.join(lines)


def test_sizes_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture) -> None:
    assert cli.main('selftest --seconds 5'.split()) == 1
    assert 'give at least' in capsys.readouterr().err
