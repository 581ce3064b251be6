# SPDX-License-Identifier: Apache-2.0
"""The engine against the brute-force oracle, on random streams of up to hundreds of rounds.

First the oracle proves itself on the golden traces, without the engine. Then both watch the same
random frames under random settings, and every round must agree: the ids in memory, the tokens
said, the positions, and the logits of every token.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from oracle import NaiveModel, Oracle
from svlm_core import StreamingVLM, StreamSettings, preset
from svlm_core.config import Policy, Sampling

PARITY = Path(__file__).parents[1] / 'parity'
CASES = sorted(p.parent.name for p in PARITY.glob('*/case.json'))
LOGITS = 2e-4  # how far logits may lie apart
TIE = 1e-4  # two scores closer than this may swap places through rounding
WORDS = 'user sees the red ball moves left . describe what robot now ... Time=1.0-2.0s'.split()
NAMES = '<|im_end|> <|im_start|> <|video_pad|> <|vision_end|>'.split()


@pytest.mark.parametrize('case', CASES)
def test_the_oracle_alone_reproduces_the_golden_traces(case: str) -> None:
    recorded = json.loads((PARITY / case / 'case.json').read_text())
    trace = np.load(PARITY / case / 'trace.npz')
    values = dict(recorded['settings'])
    values['sampling'] = SimpleNamespace(repetition_penalty=values['repetition_penalty'])
    published = SimpleNamespace(**values, published_quirks=True, text_refresh_interval=None)
    oracle = Oracle(NaiveModel(PARITY / 'checkpoint'), published)
    for i, chunk in enumerate(recorded['chunks']):
        frames = trace['frames'][i].transpose(0, 2, 3, 1)
        heard = oracle.step(frames, chunk['start'], lambda scores: int(scores.argmax()))
        assert heard.context == trace[f'context_ids_{i}'].tolist()
        assert heard.said == chunk['generated']
        np.testing.assert_allclose(heard.logits, trace[f'logits_{i}'], atol=LOGITS, rtol=0)
        if values['rope'] == 'contiguous':
            np.testing.assert_array_equal(heard.positions, trace[f'positions_{i}'])


# -- random streams --------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """A random stream: what it is told, how long it lasts, and the seed of what it sees."""

    settings: StreamSettings
    rounds: int
    start: float
    seed: int
    talker: str  # which checkpoint speaks

    def frames(self):
        """One round after the other: (start, frames (T, H, W, 3))."""
        rng = np.random.default_rng(self.seed)
        T, size = self.settings.frames_per_round, 28 * rng.integers(1, 5, 2)
        seen = rng.integers(0, 256, (T, *size, 3), np.uint8)
        for i in range(self.rounds):
            yield self.start + i * self.settings.chunk_seconds, seen
            if not self.settings.published_quirks and rng.random() < 0.3:
                size = 28 * rng.integers(1, 5, 2)  # the camera changes its resolution
            if rng.random() < 0.8 or seen.shape[1:3] != tuple(size):  # else it shows a still
                seen = rng.integers(0, 256, (T, *size, 3), np.uint8)


@st.composite
def streams(
    draw,
    policies: tuple[str, ...],
    rounds: tuple[int, int],
    names: tuple[str, ...] = ('robot', 'reference'),
    ropes: tuple[str, ...] = ('contiguous', 'contiguous', 'native'),
    bounded: bool = False,
):
    """Streams of these presets under one of the policies, with small random budgets."""
    name = draw(st.sampled_from(names))
    robot = name == 'robot'
    policy = draw(st.sampled_from(policies))
    none = st.nothing() if bounded or policy == 'window' else st.none()
    chunk = draw(st.sampled_from((1, 2)))
    vision = draw(st.integers(0 if robot else 1, 5) | none)
    values = {
        'policy': policy,
        'rope': draw(st.sampled_from(ropes)),
        'query': draw(st.sampled_from(('', 'describe what the robot sees'))),
        'vision_window': None if vision is None else vision * chunk,
        'text_rounds': draw(st.integers(1, 5) | none),
        'text_sink': draw(st.integers(0, 30) | none),
        'text_window': draw(st.integers(0 if robot else 1, 30) | none),
        'reset_every': chunk * draw(st.integers(2, 7)),
        'text_refresh_interval': draw(st.none() | st.integers(1, 4).map(lambda n: n * chunk)),
        'fps': draw(st.sampled_from((2, 2, 4, 1, 3) if chunk == 1 else (2, 2, 1))),
        'chunk_seconds': chunk,
        'max_new_tokens': draw(st.integers(1, 8)),
    }
    if not robot and None in (values['text_sink'], values['text_window']):
        values['text_sink'] = values['text_window'] = None  # the preset takes both or neither
    words = WORDS + NAMES if robot else WORDS
    values['previous_text'] = ' '.join(draw(st.lists(st.sampled_from(words), max_size=60)))
    if robot and draw(st.booleans()):
        values['query'] = 'red <|im_end|>\n<|im_start|>user\nball <|video_pad|>'
    limits = ('vision_window', 'text_rounds', 'text_sink', 'text_window')
    if policy == 'full_attention' or any(values[name] is None for name in limits):
        values['capacity'] = 6000
    sampling = Sampling(
        temperature=draw(st.sampled_from((0, 1.0))),
        top_k=draw(st.sampled_from((0, 20))),
        repetition_penalty=draw(st.sampled_from((1.0, 1.05, 1.3))),
        seed=draw(st.integers(0, 1000)),
    )
    return Stream(
        preset(name, **values, sampling=sampling, min_vision_tokens=1, max_vision_tokens=16),
        draw(st.integers(*rounds)),
        draw(st.sampled_from((0.0, 3.0, 97.5, 1234.0))),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from(('golden', 'terse'))),
    )


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Matrices this small are slower on two cores, which then wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def speakers(folder: Path) -> tuple[StreamingVLM, NaiveModel]:
    return StreamingVLM.from_pretrained(folder, device='cpu', dtype='float32'), NaiveModel(folder)


@pytest.fixture(scope='module')
def talkers(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints to speak for us: the golden one, and one that is quick to end its replies,
    with and without the terminator, or by its second end-of-text token."""
    terse = tmp_path_factory.mktemp('terse') / 'checkpoint'
    shutil.copytree(PARITY / 'checkpoint', terse)
    weights = load_file(terse / 'model.safetensors')
    model = NaiveModel(PARITY / 'checkpoint')
    loud = {model.id('<|im_end|>'): 4, model.terminator: 3, model.id('<|endoftext|>'): 2}
    for token, factor in loud.items():
        weights['lm_head.weight'][token] *= factor
    save_file(weights, terse / 'model.safetensors', {'format': 'pt'})
    ends = {'eos_token_id': [model.id('<|im_end|>'), model.id('<|endoftext|>')]}
    (terse / 'generation_config.json').write_text(json.dumps(ends))
    return {'golden': PARITY / 'checkpoint', 'terse': terse}


class Follower:
    """Chooses for the oracle: its own greedy choice, or the engine's where that was drawn by
    lot or where two scores tie; anything else is a disagreement."""

    def __init__(self, sampling: Sampling, said: list[int]) -> None:
        self.sampling, self.said, self.ties = sampling, iter(said), 0

    def __call__(self, scores: np.ndarray) -> int:
        theirs = next(self.said, None)
        assert theirs is not None, 'the engine ended its reply too early'
        if self.sampling.temperature == 0:
            gap = scores.max() - scores[theirs]
            assert gap < TIE, f'the engine said {theirs}, the oracle {scores.argmax()}'
            self.ties += int(gap > 0)
        elif self.sampling.top_k:
            least = np.sort(scores)[-self.sampling.top_k]
            assert scores[theirs] > least - TIE, 'the engine drew from outside its top k'
        return theirs


def agree(stream: Stream, talkers: dict[str, Path]) -> None:
    """Let engine and oracle watch the stream, and compare all they do in every round."""
    engine, model = speakers(talkers[stream.talker])
    camera, oracle = engine.open(stream.settings), Oracle(model, stream.settings)
    ties = tokens = 0
    for i, (start, frames) in enumerate(stream.frames()):
        said, logits = [], []
        for token in camera.tokens(frames, start):
            said.append(token.id)
            logits.append(token.logits)
            context = list(camera.transcript.ids)
            assert camera.held <= camera.capacity
        follower = Follower(stream.settings.sampling, said)
        heard = oracle.step(frames, start, follower)
        where = f'round {i}'
        assert camera.last is not None, where
        assert context == heard.context, where
        assert said == heard.said, where
        assert list(camera.last.ids) == heard.said, where
        assert list(camera.transcript.ids) == heard.kept, where
        assert camera.held == camera.last.held == len(heard.kept), where
        assert camera.held <= camera.capacity, where
        ours = torch.stack(logits).double().numpy()
        np.testing.assert_allclose(ours, heard.logits, atol=LOGITS, rtol=0, err_msg=where)
        if stream.settings.rope != 'native':
            np.testing.assert_array_equal(camera.positions, heard.positions, err_msg=where)
            no_gaps(heard.positions)
        ties, tokens = ties + follower.ties, tokens + len(said)
    assert ties <= 1 + tokens // 200


def no_gaps(positions: np.ndarray) -> None:
    """Each token starts at the next free number, or inside the grid it belongs to."""
    reached = np.maximum.accumulate(positions.max(axis=0))
    assert not positions[:, 0].any()
    assert (positions.min(axis=0)[1:] <= reached[:-1] + 1).all()


def examples(count: int, shrink: bool = True):
    return how(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )


@examples(80)
@given(stream=streams(('streaming',), (1, 16)))
def test_short_streams_with_random_budgets(stream: Stream, talkers) -> None:
    agree(stream, talkers)


@examples(24)
@given(stream=streams(get_args(Policy), (1, 12), ropes=('plain',)))
def test_plain_positions_under_every_policy(stream: Stream, talkers) -> None:
    agree(stream, talkers)


@pytest.mark.parametrize('rope', ['contiguous', 'native'])
@pytest.mark.parametrize('name', ['robot', 'reference'])
@examples(2, shrink=False)
@given(data=st.data())
def test_streams_of_hundreds_of_rounds(name: str, rope: str, data, talkers) -> None:
    agree(data.draw(streams(('streaming',), (200, 350), (name,), (rope,), bounded=True)), talkers)


@examples(40)
@given(stream=streams(('recompute', 'window', 'full_attention'), (1, 12)))
def test_the_other_policies(stream: Stream, talkers) -> None:
    agree(stream, talkers)
