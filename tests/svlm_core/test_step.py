# SPDX-License-Identifier: Apache-2.0
"""The step that every word takes: captured once it does the same, and nobody waits for it."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from captured import HOST
from streams import named, noise, pinning, said, small, watch
from svlm_core import StreamingVLM, gpu, preset, step
from svlm_core.config import Sampling
from svlm_core.model.attention import BACKENDS
from svlm_core.parity import Case, compare

GREEDY = Sampling(temperature=0)


@pytest.mark.parametrize(
    ('name', 'backend'),
    [
        *(('streaming-small-budget', backend) for backend in BACKENDS),
        ('native-rope', 'sdpa'),
        ('three-fps', 'matmul'),
    ],
)
def test_a_captured_step_reproduces_the_published_system(golden, captures, kernels, name, backend):
    engine = StreamingVLM.from_pretrained(golden / 'checkpoint', 'cpu', 'float32', 'matmul')
    engine.model.language.backend = backend
    assert compare(Case(golden / name), engine).exact
    assert captures.replays > 0


def test_layers_share_the_bound_of_a_step(engine, captures, monkeypatch):
    made = []
    bounded = step.bounded
    monkeypatch.setattr(step, 'bounded', lambda *given: made.append(given) or bounded(*given))
    engine.open(small())
    assert len(engine.model.language.layers) > 1
    assert len(made) == captures.count * (gpu.WARM_UP + 1)


@named
def test_words_are_the_same_with_a_captured_step_and_without(engine, captures, policy):
    captured = said(watch(engine.open(small(**policy, sampling=GREEDY)), range(6)))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(gpu, 'replays', lambda device: False)
        assert said(watch(engine.open(small(**policy, sampling=GREEDY)), range(6))) == captured


@pytest.mark.filterwarnings('ignore:no graph')  # the tower says so too, at the first round
def test_what_cannot_be_captured_is_launched_piece_by_piece_and_that_is_said(
    engine, captures, monkeypatch
):
    captured = said(watch(engine.open(small(sampling=GREEDY)), range(6)))

    def refuse(work, device):
        raise RuntimeError('operation not permitted when stream is capturing\nCompile with ...')

    monkeypatch.setattr(gpu, 'capture', refuse)
    with pytest.warns(UserWarning, match='no graph on cpu, words take longer: operation not perm'):
        stream = engine.open(small(sampling=GREEDY))
    assert said(watch(stream, range(6))) == captured


def test_the_same_seed_gives_the_same_words_with_a_captured_step(engine, captures):
    first, second = (said(watch(engine.open(small()), range(6))) for _ in range(2))
    assert first == second


@pinning
def test_a_reply_that_was_begun_in_vain_leaves_no_trace(engine, captures, policy):
    """Cut after a word, when the next is on its way already."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(gpu, 'replays', lambda device: False)
        plain = engine.open(small(**policy, sampling=GREEDY))
    streams = plain, engine.open(small(**policy, sampling=GREEDY))
    for stream in streams:
        watch(stream, range(3))
        tokens = stream.tokens(noise(3), 3)
        next(tokens)
        tokens.close()
    assert streams[0].encoded == streams[1].encoded
    assert said(watch(streams[0], range(4, 7))) == said(watch(streams[1], range(4, 7)))


def test_a_fork_answers_the_same_with_a_captured_step(engine, captures):
    answers = []
    for replays in (True, False):
        with pytest.MonkeyPatch.context() as m:
            m.setattr(gpu, 'replays', lambda device, replays=replays: replays)
            stream = engine.open(small(ask_tokens=64, sampling=GREEDY))
            watch(stream, range(4))
            answers.append(stream.fork().ask('what now').ids)
    assert answers[0] == answers[1]


# -- what a token costs the host -------------------------------------------------------------

READS = {'item', 'tolist', 'numpy', 'cpu', '__int__', '__bool__', '__float__', '__index__'}
WRITES = {'tensor', 'as_tensor', 'scalar_tensor', '__setitem__'}  # of numbers: a copy that waits


class Dispatched(TorchDispatchMode):
    """Counts operations that make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.name().split('.')[0] in HOST
        return func(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    """Counts methods that bring content of tensors to the host, or its numbers into tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        self.counts[name] += name in READS
        self.counts[name] += name in WRITES and not isinstance(args[-1], torch.Tensor)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('top_p', [1.0, 0.9])
@pytest.mark.parametrize('ahead', [False, True])
def test_the_host_waits_once_for_each_token_and_never_else(engine, captures, ahead, top_p):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(gpu, 'replays', lambda device: ahead)
        sampling = Sampling(top_p=top_p, repetition_penalty=1.1)
        stream = engine.open(small(max_new_tokens=12, sampling=sampling), endless=True)
        watch(stream, range(2))
        waits, reads = [], []
        for number in range(2, 5):
            with Called() as called:
                tokens = stream.tokens(noise(number), number)
                next(tokens)  # a round may wait before its first word
                called.counts.clear()
                with Dispatched() as dispatched:
                    assert len(list(tokens)) == 11
            waits.append(dispatched.count)
            reads.append(called.counts.total())
    assert waits == reads == [11] * 3


def test_a_round_sends_what_it_knows_by_upload_alone(engine):
    stream = engine.open(small(max_new_tokens=1))
    watch(stream, range(5))
    with Called() as called:
        watch(stream, range(5, 10))
    assert {name: called.counts[name] for name in WRITES} == dict.fromkeys(WRITES, 0)


def live() -> int:
    """Bytes of all tensors that there are."""
    gc.collect()
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in gc.get_objects()
        # To ask an object itself may warn; packed weights have no storage, and live with a model.
        if issubclass(type(t), torch.Tensor) and not t.is_mkldnn
    }
    return sum(storages.values())


@pytest.mark.parametrize('ahead', [False, True])
def test_nothing_is_captured_or_kept_once_the_window_is_full(engine, captures, ahead):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(gpu, 'replays', lambda device: ahead)
        stream = engine.open(small(), endless=True)
        watch(stream, range(20))
        captured, held = captures.count, live()
        watch(stream, range(20, 40))
    assert live() == held
    assert captures.count == captured == (2 if ahead else 0)  # the step and the tower
    assert not torch._dynamo.utils.counters['frames']


def test_what_a_step_gives_stays_when_the_next_is_run(engine, captures):
    stream = engine.open(preset('robot', max_new_tokens=5, max_vision_tokens=4), endless=True)
    kept = [(t.logits, t.logits.clone()) for t in stream.tokens(noise(0), 0)]
    assert len(kept) == 5
    assert all(torch.equal(*pair) for pair in kept)
    assert not torch.equal(kept[1][0], kept[2][0])
