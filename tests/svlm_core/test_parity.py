# SPDX-License-Identifier: Apache-2.0
"""`svlm parity`: exact on the golden traces, and not to be deceived by a trace that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svlm_core import StreamingVLM, cli
from svlm_core.model.attention import BACKENDS
from svlm_core.model.backends import choose_backend
from svlm_core.parity import Case, Report, compare, replay

PARITY = Path(__file__).parents[1] / 'parity'
CASES = sorted(p.parent.name for p in PARITY.glob('*/case.json'))


@pytest.mark.parametrize('name', CASES)
def test_the_published_system_is_reproduced_to_the_token(engine, golden, name):
    case = Case(golden / name)
    report = compare(case, engine)
    assert report.exact
    assert report.chunks == len(case) == len(case.frames)
    assert (report.context_mismatches, report.token_mismatches) == (0, 0)
    assert (report.text_mismatches, report.length_mismatches) == (0, 0)
    assert report.position_max_diff == (None if 'native' in name else 0)
    assert report.logit_max_diff <= 2e-4


@pytest.mark.parametrize('backend', [name for name in BACKENDS if name != 'parted'])
@pytest.mark.parametrize('name', ['streaming-small-budget', 'native-rope', 'three-fps'])
def test_every_back_end_reproduces_it_too(golden, kernels, name, backend):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32', 'matmul')
    assert engine.info.attention == 'matmul'
    engine.model.language.backend = backend  # of GPUs: a stand-in, which the CPU would refuse
    assert compare(Case(golden / name), engine).exact


def test_the_other_tests_attend_as_a_cpu_does(engine):
    assert engine.info.attention == choose_backend(torch.device('cpu'), torch.float32) == 'parted'


@pytest.mark.parametrize('name', ['recompute', 'native-vision-shorter'])
def test_the_command_prints_one_line_of_json_and_ends_well(golden, name, capfd):
    assert cli.main(['parity', str(golden / name)]) == 0
    printed = capfd.readouterr()
    assert printed.err == ''
    (line,) = printed.out.splitlines()
    report = json.loads(line)
    assert report['case'] == name
    assert report['chunks'] == len(json.loads((golden / name / 'case.json').read_text())['chunks'])
    assert report['context_mismatches'] == report['token_mismatches'] == 0
    assert {'position_max_diff', 'logit_max_diff'} <= report.keys()


# -- a short copy of a case, and what can be done to it ---------------------------------------

SECONDS = 8


@dataclass
class Trace:
    """The content of a case folder, to be changed and written back."""

    folder: Path
    case: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def save(self) -> Path:
        (self.folder / 'case.json').write_text(json.dumps(self.case))
        np.savez(self.folder / 'trace.npz', **self.arrays)
        return self.folder

    def change(self, name: str, place: tuple[int, ...], by: float) -> None:
        array = self.arrays[name] = self.arrays[name].copy()
        array[place] += by


def shortened(golden: Path, folder: Path, name: str) -> Trace:
    case = json.loads((golden / name / 'case.json').read_text())
    case['chunks'] = case['chunks'][:SECONDS]
    arrays = {
        key: array
        for key, array in np.load(golden / name / 'trace.npz').items()
        if key == 'frames' or int(key.rpartition('_')[2]) < SECONDS
    }
    arrays['frames'] = arrays['frames'][:SECONDS]
    shutil.copytree(golden / name, folder / name)
    return Trace(folder / name, case, arrays)


@pytest.fixture
def trace(golden, tmp_path) -> Trace:
    return shortened(golden, tmp_path, 'streaming-small-budget')


def an_id_of_a_context(t: Trace) -> None:
    t.change('context_ids_5', (30,), 1)


def a_said_id(t: Trace) -> None:
    t.case['chunks'][2]['generated'][1] ^= 1


def a_said_id_too_many(t: Trace) -> None:
    t.case['chunks'][2]['generated'].append(5)


def a_position(t: Trace) -> None:
    t.change('positions_6', (1, 40), 1)


def a_logit(t: Trace) -> None:
    t.change('logits_3', (1, 7), 3e-3)


def a_logit_that_is_no_number(t: Trace) -> None:
    t.change('logits_3', (1, 7), np.nan)


def logits_of_a_token_less(t: Trace) -> None:
    t.arrays['logits_3'] = t.arrays['logits_3'][:-1]


def positions_of_a_token_less(t: Trace) -> None:
    t.arrays['positions_3'] = t.arrays['positions_3'][:, :-1]


def the_last_second_of_the_record(t: Trace) -> None:
    t.case['chunks'].pop()


def a_second_in_the_middle_of_the_record(t: Trace) -> None:
    t.case['chunks'].pop(3)


def the_last_frames(t: Trace) -> None:
    t.arrays['frames'] = t.arrays['frames'][:-1]


def all_seconds(t: Trace) -> None:
    t.case['chunks'] = []
    t.arrays['frames'] = t.arrays['frames'][:0]


def a_pixel(t: Trace) -> None:
    t.arrays['frames'] = t.arrays['frames'] ^ np.uint8(255)


def the_start(t: Trace) -> None:
    t.case['settings']['start_time'] = 100.0


COUNTED: list[tuple[Callable[[Trace], None], Callable[[Report], bool]]] = [
    (an_id_of_a_context, lambda r: r.context_mismatches == 1 and r.token_mismatches == 0),
    (a_said_id, lambda r: r.token_mismatches == 1 and r.context_mismatches == 0),
    (a_said_id_too_many, lambda r: r.token_mismatches == 1 and r.context_mismatches == 0),
    (a_position, lambda r: r.position_max_diff == 1 and r.context_mismatches == 0),
    (a_logit, lambda r: r.logit_max_diff == pytest.approx(3e-3, abs=2e-4)),
    (a_logit_that_is_no_number, lambda r: r.logit_max_diff > 1e300),
    (logits_of_a_token_less, lambda r: not r.complete and r.token_mismatches == 0),
    (positions_of_a_token_less, lambda r: not r.complete and r.token_mismatches == 0),
    (the_last_second_of_the_record, lambda r: not r.complete and r.token_mismatches == 0),
    (a_second_in_the_middle_of_the_record, lambda r: r.token_mismatches > 0),
    (the_last_frames, lambda r: r.chunks == SECONDS - 1 and not r.complete),
    (all_seconds, lambda r: r.chunks == 0 and r.logit_max_diff is None),
    (a_pixel, lambda r: r.logit_max_diff > 2e-4 or r.token_mismatches > 0),
    (the_start, lambda r: r.context_mismatches == SECONDS),
]


@pytest.mark.parametrize(('tamper', 'told'), COUNTED, ids=[t.__name__ for t, _ in COUNTED])
def test_what_was_tampered_with_is_counted_and_told(engine, trace, tamper, told):
    assert compare(Case(trace.save()), engine).exact
    tamper(trace)
    report = compare(Case(trace.save()), engine)
    assert not report.exact
    assert told(report)


def test_the_command_ends_with_1_when_a_trace_differs(golden, trace, capsys):
    a_said_id(trace)
    words = ['parity', str(trace.save()), '--checkpoint', str(golden / 'checkpoint')]
    assert cli.main(words) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)['token_mismatches'] == 1


def test_the_replay_needs_nothing_that_was_recorded(engine, trace):
    free = [(s.context, s.generated) for s in replay(Case(trace.save()), engine)]
    trace.arrays = {'frames': trace.arrays['frames']}
    trace.case['chunks'] = [{'generated': [1, 2, 3]}] * SECONDS
    assert [(s.context, s.generated) for s in replay(Case(trace.save()), engine)] == free


# -- settings that the golden cases do not have -----------------------------------------------


@pytest.mark.parametrize(
    'changes',
    [
        {'vision_window': 100_000, 'text_rounds': 100_000, 'text_sink': None, 'text_window': None},
        {'vision_window': None, 'text_rounds': None},
        {'policy': 'full_attention'},
        {'policy': 'window'},
        {'vision_window': 2, 'text_rounds': 5},
        {'vision_window': 5, 'text_rounds': 2},
        {'text_sink': 0, 'text_window': 3},
        {'start_time': 3600.0, 'query': '', 'previous_text': ''},
        {'policy': 'recompute', 'rope': 'native'},
    ],
    ids=str,
)
def test_other_settings_replay_too(engine, trace, changes):
    trace.case['settings'] |= changes
    assert len(list(replay(Case(trace.save()), engine))) == SECONDS


def test_frames_of_any_size_and_rate_are_taken_as_they_are(engine, trace):
    trace.case['settings'] |= {'fps': 8, 'height': 252, 'width': 1120}
    trace.arrays['frames'] = np.zeros((1, 8, 3, 252, 1120), np.uint8)
    (second,) = replay(Case(trace.save()), engine)
    assert second.context.count(engine.tokenizer.video_pad) == 4 * 9 * 40


# -- what is no case --------------------------------------------------------------------------


def a_lost_setting(t: Trace) -> None:
    del t.case['settings']['fps']


def a_setting_of_another_kind(t: Trace) -> None:
    t.case['settings']['height'], t.case['settings']['text_sink'] = 'tall', [1]


def another_sampling(t: Trace) -> None:
    t.case['settings']['sampling'] = 'beam'


def lost_positions(t: Trace) -> None:
    del t.arrays['positions_4']


def lost_words(t: Trace) -> None:
    del t.case['chunks'][4]['generated']


def frames_of_another_type(t: Trace) -> None:
    t.arrays['frames'] = t.arrays['frames'].astype(np.float32)


def frames_of_another_shape(t: Trace) -> None:
    t.arrays['frames'] = t.arrays['frames'][0]


def logits_of_another_shape(t: Trace) -> None:
    t.arrays['logits_0'] = t.arrays['logits_0'][0]


@pytest.mark.parametrize(
    'spoil',
    [a_lost_setting, a_setting_of_another_kind, another_sampling, lost_positions, lost_words,
     frames_of_another_type, frames_of_another_shape, logits_of_another_shape],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_a_case_with_something_missing_gives_one_line(golden, trace, capsys, spoil):
    spoil(trace)
    refused(trace.save(), golden, capsys)


@pytest.mark.parametrize(
    ('name', 'content'),
    [('case.json', None), ('case.json', b''), ('case.json', b'[]'),
     ('case.json', b'{"chunks": 3}'), ('trace.npz', None), ('trace.npz', b''),
     ('trace.npz', b'PK\x03\x04 no archive'), ('trace.npz', b'text')],
)  # fmt: skip
def test_a_folder_that_is_no_case_gives_one_line(golden, trace, capsys, name, content):
    path = trace.save() / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    refused(trace.folder, golden, capsys)


def test_a_trace_that_was_cut_off_gives_one_line(golden, trace, capsys):
    path = trace.save() / 'trace.npz'
    path.write_bytes(path.read_bytes()[:-1000])
    refused(trace.folder, golden, capsys)


def refused(folder: Path, golden: Path, capsys) -> None:
    words = ['parity', str(folder), '--checkpoint', str(golden / 'checkpoint')]
    assert cli.main(words) == 1
    told = capsys.readouterr()
    assert told.out == ''
    assert told.err.startswith('svlm: ')
    assert len(told.err.splitlines()) == 1
