# SPDX-License-Identifier: Apache-2.0
"""`svlm bench`: the curves of the paper's figure, files that are whole, and honest refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from svlm_core import cli
from svlm_core.benchmark import run
from svlm_core.benchmark.costs import Costs
from svlm_core.benchmark.machine import Ceilings, ceilings
from svlm_core.benchmark.models import random_engine
from svlm_core.benchmark.outputs import Run, read_run, write_run
from svlm_core.benchmark.run import Arm, Chunk, Course, Lap, run_arm, settings_of
from svlm_core.benchmark.summary import summarise
from svlm_core.benchmark.tables import comparison, figures
from svlm_core.errors import MemoryFull, SettingsError, SourceError
from svlm_core.eye import Eye

STAGES = {'look': 1.0, 'plan': 2.0, 'vision': 4.0, 'prefill': 8.0, 'decode': 16.0, 'sample': 32.0}
SECONDS = 28
AFTER = {'sm_mhz': 1980.0, 'memory_mhz': None, 'celsius': None}


@pytest.fixture(scope='module')
def small():
    """The grid of frames that these tests can afford, for all of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(run.GRIDS, 180, (2, 3))
        yield


@pytest.fixture(scope='module')
def engine():
    return random_engine('tiny', 'cpu')


@pytest.fixture(scope='module')
def bench(small, tmp_path_factory) -> tuple[Path, str]:
    """A whole run of the command: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp('bench') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr(
            'svlm_core.commands.console.Screen.print', lambda self, text: printed.append(str(text))
        )
        words = ['bench', '--device', 'cpu', '--seconds', str(SECONDS), '--reset-every', '4',
                 '--tokens', '2', '3', '--output', str(folder)]  # fmt: skip
        assert cli.main(words) == 0
    return folder, '\n'.join(printed)


def held(folder: Path, policy: str, tokens: int = 2) -> list[int]:
    """Tokens in memory, second by second."""
    with (folder / 'chunks.csv').open() as file:
        rows = [
            r for r in csv.DictReader(file) if (r['policy'], r['tokens']) == (policy, str(tokens))
        ]
    assert [int(row['second']) for row in rows] == list(range(SECONDS))
    return [int(row['keys']) for row in rows]


def test_the_curves_are_flat_sawtooth_and_linear(bench):
    folder, _ = bench
    streaming = held(folder, 'streaming')[20:]
    assert max(streaming) - min(streaming) <= 4, 'the time of a round is written in some digits'
    growing = held(folder, 'full_attention')
    assert growing == sorted(growing)
    assert growing[-1] > 1.1 * growing[20]
    saw = held(folder, 'window')
    falls = [n for n in range(1, SECONDS) if saw[n] < saw[n - 1]]
    assert falls == list(range(4, SECONDS, 4))


def test_recompute_reads_everything_anew_and_streaming_what_is_new(bench):
    folder, _ = bench
    with (folder / 'chunks.csv').open() as file:
        last = {(r['policy'], r['tokens']): r for r in csv.DictReader(file)}
    assert last['recompute', '2']['new'] == last['recompute', '2']['keys']
    assert int(last['streaming', '2']['new']) < int(last['streaming', '2']['keys']) / 10


def test_table_json_rows_and_figure_are_all_there(bench):
    folder, printed = bench
    assert sorted(p.name for p in folder.iterdir()) == ['bench.json', 'chunks.csv', 'latency.png']
    assert (folder / 'latency.png').read_bytes().startswith(b'\x89PNG')
    raw = json.loads((folder / 'bench.json').read_text())
    arms = [(arm['policy'], arm['tokens']) for arm in raw['arms']]
    policies = ['full_attention', 'window', 'recompute', 'streaming']
    assert arms == [(policy, tokens) for tokens in (2, 3) for policy in policies]
    assert {'torch', 'svlm', 'processor', 'mhz', 'attention', 'energy', 'state_before'} <= raw[
        'about'
    ].keys()
    for column in ('(a) full', '(b) window', '(c) recompute', '(d) streaming', 'GB/s', 'p99',
                   '| 2 tokens a second', '| 3 tokens a second'):  # fmt: skip
        assert column in printed
    assert list(folder.parent.iterdir()) == [folder]


def test_energy_of_a_second_is_that_of_all_of_them_by_their_number(engine):
    """A counter that ticks once in ten seconds: between two of them most differences are 0."""
    course, costs = Course(40, 180, 10), Costs.of(engine.model)
    chunks = tuple(chunk(n, joules=500.0 * (n // 10)) for n in range(40))
    lap = lap_of(chunks)
    found = summarise(lap, course, costs, Ceilings(1e9, 1e9))
    assert found is not None
    assert found.joules == 50
    silent = replace(lap, chunks=tuple(chunk(n, joules=None) for n in range(40)))
    none = summarise(silent, course, costs, Ceilings(1e9, 1e9))
    assert none is not None
    assert none.joules is None
    assert 'no counter' in figures([none], Ceilings(1e9, 1e9))


def test_a_run_can_be_held_against_an_earlier_one(bench):
    folder, _ = bench
    old = read_run(folder / 'bench.json')
    text = comparison(old.summaries, old.summaries)
    assert text.count('x1.00') == 4 * len(old.summaries)
    faster = [replace(s, chunk=s.chunk / 2) for s in old.summaries]
    assert comparison(faster, old.summaries).count('x0.50') == len(old.summaries)
    assert comparison([], old.summaries) == 'no arm is in both runs'


def test_replies_have_their_length_whatever_the_model_would_say(engine, small, monkeypatch):
    # Of a model that wants to end at once: the score of its end marker is above all.
    end = engine.tokenizer.turn_end
    score = type(engine.model.language).logits
    monkeypatch.setattr(
        type(engine.model.language),
        'logits',
        lambda self, h: score(self, h).index_fill(-1, torch.tensor([end]), 1e4),
    )
    lap = run_arm(engine, Arm('streaming', 5), Course(28, 180, 10))
    assert {chunk.tokens for chunk in lap.chunks} == {5}


def test_streams_take_turns_and_each_sees_its_own_frames(engine, small):
    course = Course(28, 180, 10, streams=2)
    lap = run_arm(engine, Arm('streaming', 2), course, (told := []).append)
    assert [(c.second, c.stream) for c in lap.chunks] == [
        (n, s) for n in range(28) for s in (0, 1)
    ]
    assert told == list(range(28))
    alone = run_arm(engine, Arm('streaming', 2), replace(course, streams=1))
    assert lap.memory_bytes == 2 * alone.memory_bytes
    assert [c.keys for c in lap.chunks[::2]] == [c.keys for c in alone.chunks]


def test_more_frames_in_a_second_are_more_vision_tokens(engine, small):
    """Two frames are one step of the tower; eight are four, and an odd one is a step, too."""
    slow, fast, odd = (
        run_arm(engine, Arm('streaming', 2), Course(28, 180, 10, fps=fps)) for fps in (2, 8, 5)
    )
    assert [lap.grid[0] for lap in (slow, fast, odd)] == [1, 4, 3]
    cells = 2 * 3  # vision tokens of a pair
    assert fast.chunks[-1].new - slow.chunks[-1].new == 3 * cells
    assert odd.chunks[-1].new - slow.chunks[-1].new == 2 * cells
    assert fast.chunks[-1].keys - slow.chunks[-1].keys == 16 * 3 * cells
    vision = Costs.of(engine.model).vision_operations
    assert vision(fast.grid) == 4 * vision(slow.grid)


@pytest.mark.parametrize('ahead', [False, True])
def test_streams_are_told_the_frames_to_come_where_that_is_asked_for(
    engine, small, captures, monkeypatch, ahead
):
    """With a stand-in for a GPU: the tower has then worked already when a second begins."""
    early = []
    expect = Eye.expect
    monkeypatch.setattr(
        Eye, 'expect', lambda eye, frames, most: early.append(eye) or expect(eye, frames, most)
    )
    encode, done = Eye.encode, []
    monkeypatch.setattr(
        Eye, 'encode', lambda eye, view: done.append(eye._ahead is not None) or encode(eye, view)
    )
    lap = run_arm(engine, Arm('streaming', 2), Course(28, 180, 10, streams=2, ahead=ahead))
    assert len(lap.chunks) == 56
    assert len(early) == (54 if ahead else 0)  # all but the last second
    assert done == [False] * 2 + [ahead] * 54  # all but the first


def test_memory_is_told_for_each_arm_by_itself(engine, small):
    """What an earlier arm has held is given back, and is not the peak of the next."""
    course, kept = Course(28, 180, 10), torch.ones(2**28, dtype=torch.uint8)
    large = run_arm(engine, Arm('streaming', 2), course)
    assert large.memory_bytes > 0
    assert large.peak >= max(chunk.used for chunk in large.chunks)
    assert (large.reserved, large.chunks[0].allocations) == (None, None)  # there is no GPU
    del kept
    assert large.peak - run_arm(engine, Arm('streaming', 2), course).peak > 2**27


def test_a_policy_that_has_no_room_ends_as_a_result(engine, small, monkeypatch):
    full = settings_of(engine, Arm('full_attention', 2), Course(28, 180, 10))
    tight = replace(full, capacity=1300)
    monkeypatch.setattr(run, 'settings_of', lambda *given: tight)
    lap = run_arm(engine, Arm('full_attention', 2), Course(28, 180, 10))
    assert 0 < len(lap.chunks) < 28
    assert 'full_attention' in lap.problem
    monkeypatch.setattr(engine, 'open', lambda *given, **more: _raise(MemoryFull('no room')))
    assert run_arm(engine, Arm('streaming', 2), Course(28, 180, 10)).problem == 'no room'


def _raise(error: Exception) -> None:
    raise error


def chunk(second: int, **changes) -> Chunk:
    given = {'chunk': 70.0, 'gaps': (1.0, 2.0, 2.0, 2.0, 3.0), 'stages': STAGES, 'tokens': 10,
             'new': 5, 'keys': 50, 'grids': 1, 'used': 1000 + second,
             'allocations': min(second, 25), 'joules': 7.0 + 3 * second}  # fmt: skip
    return Chunk(second=second, **{'stream': 0, **given, **changes})


def test_streams_are_live_when_a_second_is_enough_for_all_of_them(engine):
    """Four that take turns at 0.2 s each, and 0.5 s in one second of twenty."""
    course, costs = Course(40, 180, 10, streams=4), Costs.of(engine.model)
    chunks = [
        chunk(n, stream=s, chunk=0.5 if n == 35 else 0.2) for n in range(40) for s in range(4)
    ]
    found = summarise(lap_of(chunks), course, costs, Ceilings(1e9, 1e9))
    assert found is not None
    assert (found.live, found.live_p99) == (pytest.approx(1.25), pytest.approx(0.5))
    assert (found.seconds, found.chunk, found.joules) == (20, pytest.approx(200), 3)
    assert '| 1.25; 0.50 at p99' in figures([found], Ceilings(1e9, 1e9))


def test_one_slow_second_shows_in_the_percentiles_and_not_in_the_medians(engine):
    course, costs = Course(40, 180, 10), Costs.of(engine.model)
    slow = chunk(30, chunk=200.0, gaps=(1.0, 9.0), stages={**STAGES, 'vision': 100.0})
    chunks = [slow if n == 30 else chunk(n) for n in range(40)]
    found = summarise(lap_of(chunks), course, costs, Ceilings(1e9, 1e9))
    assert found is not None
    assert (found.chunk, found.p99) == (70_000, 200_000)
    assert (found.token, found.token_p99) == (2_000, 9_000)
    assert (found.stages['vision'], found.stages_p99['vision']) == (4_000, 100_000)
    assert found.stages == {name: 1000 * value for name, value in STAGES.items()}
    assert (found.amortised, found.amortised_p99) == (6_000, 15_600)
    assert (found.outside, found.outside_p99) == (41_000, 75_000)
    assert '| 2000.00; 9000.00 ms ' in figures([found], Ceilings(1e9, 1e9))


def lap_of(chunks: Sequence[Chunk]) -> Lap:
    return Lap(Arm('streaming', 10), tuple(chunks), memory_bytes=7, grid=(1, 4, 4), peak=5000,
               reserved=6000, after=AFTER)  # fmt: skip


def test_a_summary_is_of_the_seconds_that_count_and_by_the_published_measure(engine):
    course, costs = Course(40, 180, 10), Costs.of(engine.model)
    early = [chunk(n, chunk=1e6) for n in range(course.warm_up)]
    lap = lap_of((*early, *(chunk(n) for n in range(20, 40))))
    found = summarise(lap, course, costs, Ceilings(1e9, 1e9))
    assert found is not None
    assert (found.chunk, found.p99, found.seconds) == (70_000, 70_000, 20)
    assert found.amortised == 1000 * (4 + 8 + 16 + 32) / 10
    assert found.outside == 1000 * (70 - (1 + 4 + 8 + 16))
    assert (found.token, found.joules) == (2000, 3.0)
    assert (found.memory, found.peak, found.reserved) == (7, 5000, 6000)
    assert (found.steady, found.growth, found.allocations) == (1039, 20, 6)
    assert found.bandwidth == costs.token_bytes(50) / 2
    told = figures([found], Ceilings(1e9, 1e9))
    assert '| 10 tokens a second' in told
    assert '| 1980 MHz ' in told
    assert '| not told ' in told  # how warm it was
    assert summarise(lap_of(early), course, costs, Ceilings(1, 1)) is None


@pytest.mark.parametrize(
    ('words', 'told'),
    [(['--seconds', '20'], 'at least 28'), (['--tokens', '1'], 'at least 2'),
     (['--fps', '0'], 'one frame'), (['--streams', '0'], 'one stream'),
     (['--model', 'x', '--random', 'tiny'], 'exclude'), (['--compare', 'nowhere.json'], 'nowhere'),
     (['--output', '.'], 'exists'), (['--output', 'no/where'], 'make it first')],
)  # fmt: skip
def test_what_cannot_be_done_is_told_before_the_work(words, told, capsys, monkeypatch):
    monkeypatch.setattr(
        'svlm_core.commands.bench.Bench._engine', lambda self: pytest.fail('began')
    )
    assert cli.main(['bench', *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_folder_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch, engine):
    monkeypatch.setattr(
        'svlm_core.benchmark.outputs.draw', lambda *given: _raise(OSError(28, 'full'))
    )
    course = Course(40, 180, 10)
    with pytest.raises(Exception, match='full'):
        write_run(
            tmp_path / 'run', Run({'model': 'm', 'device': 'd'}, Ceilings(1, 1), ()), [], course
        )
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_version_is_refused_in_one_line_before_the_work(
    bench, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        'svlm_core.commands.bench.Bench._engine', lambda self: pytest.fail('began')
    )
    raw = json.loads((bench[0] / 'bench.json').read_text())
    del raw['format'], raw['arms'][0]['token_p99']  # as it was before there was a number
    old = tmp_path / 'old.json'
    old.write_text(json.dumps(raw))
    assert cli.main(['bench', '--compare', str(old)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'old.json was written by another version of svlm bench' in line


def test_a_file_of_something_else_is_no_run(tmp_path):
    (tmp_path / 'x.json').write_text('{"arms": [{"policy": 3}]}')
    with pytest.raises(SourceError, match='no bench'):
        read_run(tmp_path / 'x.json')


def test_ceilings_are_measured_with_numbers_as_they_come(monkeypatch):
    seen = []
    multiply = torch.mm
    monkeypatch.setattr(torch, 'mm', lambda a, b, out: seen.append(a) or multiply(a, b, out=out))
    most = ceilings(torch.device('cpu'), torch.float32)
    assert most.bytes_per_second > 1e8
    assert most.operations_per_second > 1e8
    assert len(seen[0].unique()) > 1000


def test_an_unknown_size_is_refused():
    with pytest.raises(SettingsError, match='7b, 3b, mid, tiny'):
        random_engine('70b')
