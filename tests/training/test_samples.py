# SPDX-License-Identifier: Apache-2.0
"""A chunk to learn from is, token by token, what a stream holds that said the same."""

from __future__ import annotations

import pytest
import torch

from lessons import composer, frames, made_to_say, moments, told, words
from svlm_core import Sampling, Stream, StreamingVLM, preset
from svlm_core.prompt import Prompt
from svlm_core.training.samples import Moment
from svlm_core.transcript import Role

GREEDY = Sampling(temperature=0, repetition_penalty=1.0)


def settings(name: str = 'robot', **changes):
    few = {'min_vision_tokens': 1} if name == 'reference' else {}
    return preset(name, sampling=GREEDY, max_new_tokens=64, query='What is new?', **few, **changes)


def ids_held(stream: Stream) -> list[int]:
    """All ids in memory, and the line feed that comes with whatever follows the last reply."""
    return [*stream.transcript.ids, *stream.prompt.tokenizer.encode('\n')]


@pytest.mark.parametrize('name', ['robot', 'reference'])
@pytest.mark.parametrize('fps', [1, 2, 3])
def test_the_beginning_of_a_stream_is_laid_out_as_inference_does(
    engine: StreamingVLM, name: str, fps: int
) -> None:
    whole = settings(name, fps=fps, policy='full_attention', capacity=2000)
    maker, stream = composer(engine, whole), engine.open(whole)
    with made_to_say(stream, maker, 0, 12):
        sample = maker.compose(moments(0, 12, fps=fps), [], 0)
    assert sample.ids.tolist() == ids_held(stream)
    laid = torch.from_numpy(stream.positions)
    assert torch.equal(sample.positions[:, : laid.shape[1]], laid)


@pytest.mark.parametrize('cut', [(512, 512), (6, 9), (0, 9), (9, 0), (0, 0)], ids=str)
def test_a_later_chunk_is_what_a_stream_holds_that_was_reset_before_it(
    engine: StreamingVLM, cut: tuple[int, int]
) -> None:
    resets = settings(
        policy='window', reset_every=12, text_sink=cut[0], text_window=cut[1], capacity=2000
    )
    maker, stream = composer(engine, resets), engine.open(resets)
    with made_to_say(stream, maker, 0, 36):
        sample = maker.compose(moments(24, 12), [words(i) for i in range(24)], 24)
    assert sample.ids.tolist() == ids_held(stream)


@pytest.mark.parametrize('name', ['robot', 'reference'])
@pytest.mark.parametrize('second', [17, 25, 40])
def test_previous_text_is_cut_as_a_running_stream_cuts_it(
    engine: StreamingVLM, name: str, second: int
) -> None:
    runs = settings(name, text_sink=7, text_window=12)
    maker, stream = composer(engine, runs), engine.open(runs)
    with made_to_say(stream, maker, 0, second):
        pass
    gone = [words(i) for i in range(second - runs.text_rounds)]  # from memory's place
    held = [s.ids for s in stream.transcript.segments if s.role is Role.PREVIOUS]
    cut = maker.opening(Prompt(engine.tokenizer, runs), gone)
    assert [s.ids for s in cut if s.role is Role.PREVIOUS] == held


def test_time_that_begins_again_does_so_in_training_too(engine: StreamingVLM) -> None:
    wraps = settings(time_origin='wrapped', time_range=5, policy='full_attention', capacity=2000)
    maker, stream = composer(engine, wraps), engine.open(wraps)
    with made_to_say(stream, maker, 0, 12):
        sample = maker.compose(moments(0, 12), [], 0)
    assert sample.ids.tolist() == ids_held(stream)


def test_only_replies_and_their_end_marks_are_to_be_foretold(engine: StreamingVLM) -> None:
    code = engine.tokenizer
    sample = composer(engine, settings()).compose(moments(3, 7), ['Said before.'], 3)
    replies = [words(i) for i in range(3, 10)]
    expected = [
        (*code.encode(f' {said} ...' if said else ' ...'), code.turn_end) for said in replies
    ]
    assert sample.labels.tolist() == [token for reply in expected for token in reply]
    assert sample.ids[sample.asked + 1].tolist() == sample.labels.tolist()
    header = code.encode('assistant\n')
    first = sample.asked[: 1 + len(header)][0]
    assert tuple(sample.ids[first + 1 - len(header) : first + 1].tolist()) == header


def test_a_silent_second_is_the_terminator_alone(engine: StreamingVLM) -> None:
    code = engine.tokenizer
    sample = composer(engine, settings()).compose([Moment(0, frames(0), '')], [], 0)
    assert sample.labels.tolist() == [*code.encode(' ...'), code.turn_end]


def test_spaces_and_line_feeds_in_words_do_not_change_the_layout(engine: StreamingVLM) -> None:
    maker = composer(engine, settings())
    neat, wild = (
        maker.compose([Moment(5, frames(0), said)], [said], 5)
        for said in ('It is gone.', '  It\n\nis \t gone. ')
    )
    assert neat.ids.tolist() == wild.ids.tolist()


def test_frames_of_any_size_share_the_video_budget_of_a_sample(engine: StreamingVLM) -> None:
    maker = composer(engine, settings(), budget=100)
    cell = engine._model.config.vision.patch_size * engine._model.config.vision.merge_size
    for size in ((600, 800), (600, 60), (cell, cell)):
        sample = maker.compose(moments(0, 10, *size), [], 0)
        assert 10 <= len(sample.seen) <= 100
        assert sample.film.shape[1] % cell == sample.film.shape[2] % cell == 0
        pad = engine.tokenizer.video_pad
        assert (sample.ids == pad).nonzero()[:, 0].tolist() == sample.seen.tolist()


def test_a_row_may_bring_its_own_question(engine: StreamingVLM) -> None:
    maker, code = composer(engine, settings()), engine.tokenizer
    plain, other = (maker.compose(moments(0, 1), [], 0, q) for q in ('', 'Who is there?'))
    assert 'What is new?' in code.decode(plain.ids.tolist())
    assert 'Who is there?' in code.decode(other.ids.tolist())


@pytest.mark.parametrize('name', ['robot', 'reference'])
def test_a_question_at_the_end_is_laid_out_as_a_running_stream_is_asked(
    engine: StreamingVLM, name: str
) -> None:
    asks = settings(name, policy='full_attention', capacity=2000, ask_tokens=64)
    maker, stream = composer(engine, asks), engine.open(asks)
    with made_to_say(stream, maker, 0, 5):
        fork = stream.fork()
    with told(stream, [*maker.reply(stream.prompt, 0, 'Three.').ids]):
        answer = fork.ask('How many came?')
    sample = maker.compose(moments(0, 5), [], 0, quiz=('How many came?', 'Three.'))
    assert answer.text.strip() == 'Three.'
    assert sample.labels.tolist()[-len(answer.ids) :] == list(answer.ids)
    asked = [s.ids for s in stream.prompt.question('How many came?')]
    newline = stream.prompt.tokenizer.encode('\n')
    expected = [*ids_held(stream), *(i for ids in asked for i in ids), *answer.ids, *newline]
    assert sample.ids.tolist() == expected
    held = fork._memory  # what it has encoded: all but the end of its answer
    assert sample.ids.tolist()[: len(held.transcript)] == list(held.transcript.ids)
    laid = torch.from_numpy(held.positions)
    assert torch.equal(sample.positions[:, : laid.shape[1]], laid)


def test_a_question_adds_to_a_chunk_and_changes_nothing_before_it(engine: StreamingVLM) -> None:
    maker = composer(engine, settings())
    plain = maker.compose(moments(3, 4), ['Said.'], 3)
    asks = maker.compose(moments(3, 4), ['Said.'], 3, quiz=('Is it so?', 'Yes.'))
    assert asks.ids[: len(plain)].tolist() == plain.ids.tolist()
    assert asks.asked[: len(plain.asked)].tolist() == plain.asked.tolist()
    assert asks.seen.tolist() == plain.seen.tolist()
    spoken = engine.tokenizer.decode(asks.labels[len(plain.labels) :].tolist())
    assert spoken == ' Yes. ...'


@pytest.mark.parametrize('window', [1, 2, 5])
def test_frames_that_leave_early_change_what_is_seen_and_nothing_else(
    engine: StreamingVLM, window: int
) -> None:
    maker = composer(engine, settings())
    plain = maker.compose(moments(3, 4), ['Said.'], 3)
    early = maker.compose(moments(3, 4), ['Said.'], 3, vision_rounds=window)
    assert plain.until is None
    assert early.until is not None
    for name in ('ids', 'positions', 'seen', 'film', 'asked', 'labels'):
        assert torch.equal(getattr(early, name), getattr(plain, name)), name
    assert early.until.tolist() == brute_until(engine, early.ids.tolist(), window)


def brute_until(engine: StreamingVLM, ids: list[int], window: int) -> list[int]:
    """Found in the bare ids: a turn of the user that shows frames begins a round."""
    code = engine.tokenizer
    shown = [place for place, token in enumerate(ids) if token == code.vision_start]
    begins = [max(p for p in range(v) if ids[p] == code.turn_start) for v in shown]
    ends = [place - 2 for place in begins]  # marker and line feed of the reply before
    assert all(ids[end] == code.turn_end for end in ends)
    until = [len(ids)] * len(ids)
    for number, start in enumerate(shown):
        end = ids.index(code.vision_end, start)
        leaves = (ends + [len(ids)] * window)[number + window]
        until[start : end + 1] = [leaves] * (end + 1 - start)
    return until
