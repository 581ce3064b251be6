# SPDX-License-Identifier: Apache-2.0
"""What answers: a stream with bounded memory, or a model that is shown frames at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from official_files import film, picture
from svlm_core.card import suited
from svlm_core.evaluation.vqa.answering import LIKELIEST, choice_id, spoken
from svlm_core.evaluation.vqa.atonce import AtOnce, Viewer
from svlm_core.evaluation.vqa.frames import Shown
from svlm_core.evaluation.vqa.protocol import Ask, Frames, Pixels, Reading, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.watching import Watching
from svlm_core.prompt import TERMINATOR

RULES = Rules(Frames(4), lambda q, lines: Ask(q.text), lambda q, r: Reading('', None))
SETTINGS = suited('robot', None)


def question(video, text='What happens?', **more) -> Question:
    return Question(id='q', task='t', video=video, text=text, answer=None, kind='count', **more)


def ask(who, of: Question, until=None, **how):
    return who.ask(of, until, lambda lines: Ask(of.text, **how))


def watching(tiny, settings=SETTINGS) -> Watching:
    return Watching(tiny, RULES, settings, 200)


def by_hand(tiny, seconds: range, until: int, text: str) -> str:
    """What a stream answers that a person steps through the seconds of a film."""
    stream = tiny.open(suited('robot', None, ask_tokens=200))
    for second in seconds:
        if second < until:
            stream.step(np.stack([picture(second)] * 2), float(second))
    tokens = [t for _, t in zip(range(16), stream.fork(LIKELIEST).tokens(text), strict=False)]
    drawn = ((t.id, t.logits) for t in tokens)
    return spoken(drawn, Ask(text), tiny.tokenizer)


def test_a_stream_sees_what_was_before_the_question_and_nothing_of_what_comes(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 10)
    who = watching(tiny)
    reply = ask(who, question(path), until=4)
    assert (reply.seen, reply.frames) == ((0, 4), 8)
    assert ask(who, question(path), until=6.9).seen == (0, 6)
    assert ask(who, question(path)).seen == (0, 10)


def test_what_a_stream_answers_is_what_it_would_answer_a_person(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 6)
    for until in (2, 5):
        assert ask(watching(tiny), question(path), until).text == by_hand(
            tiny, range(6), until, 'What happens?'
        )


def test_memory_stays_bounded_however_long_it_watches(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 12)
    who = watching(tiny, suited('robot', None, vision_window=3, text_rounds=3, text_window=8,
                                text_sink=8))  # fmt: skip
    replies = [ask(who, question(path), until) for until in (8, 10, 12)]
    assert [reply.frames for reply in replies] == [6, 6, 6]
    assert replies[-1].seen == (9, 12)
    for before, after in pairwise(replies):
        assert abs(after.tokens - before.tokens) < 40


def test_questions_are_answered_the_same_in_whatever_order_they_come(tiny, tmp_path):
    path, other = film(tmp_path / 'a.mp4', 6), film(tmp_path / 'b.mp4', 3)
    alone = {until: ask(watching(tiny), question(path), until) for until in (2, 4, 6)}
    who = watching(tiny)
    for until in (2, 4, 6, 4, 2):
        assert ask(who, question(path), until) == alone[until]
        if until == 4:
            ask(who, question(other), 3)


def test_a_video_is_watched_once_for_questions_in_order_of_time(tiny, tmp_path, monkeypatch):
    path, steps = film(tmp_path / 'a.mp4', 6), []
    who = watching(tiny)
    ask(who, question(path), 2)
    step = who._stream.step
    monkeypatch.setattr(who._stream, 'step', lambda f, s: [steps.append(s), step(f, s)])
    for until in (2, 4, 4, 6):
        ask(who, question(path), until)
    assert steps == [2, 3, 4, 5]


def test_a_stretch_begins_where_the_question_says(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 10)
    assert ask(watching(tiny), question(path, start=4.0), until=7).seen == (4, 7)


def test_an_unbounded_policy_gets_room_for_the_whole_video(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 8)
    who = watching(tiny, suited('robot', None, policy='full_attention'))
    assert ask(who, question(path)).frames == 16


def test_offline_frames_are_those_of_the_protocol_and_the_baseline_sees_the_last_four(
    tiny, tmp_path
):
    path = film(tmp_path / 'a.mp4', 8)
    reply = ask(AtOnce(tiny, RULES, Pixels().within(4)), question(path), until=6)
    assert (reply.frames, reply.seen, reply.pixels) == (4, (0, 6), (56, 56))
    last = AtOnce(tiny, RULES, Pixels().within(4), last=4, fps=2.0)
    reply = ask(last, question(path), until=6)
    assert (reply.frames, reply.seen) == (4, (4, 5.5))
    assert last.name == 'last 4 frames'


def test_frames_at_once_are_laid_out_as_in_qwens_chat(tiny):
    frames = np.stack([picture(n, 112) for n in range(4)])
    viewer, heard = Viewer(tiny), Ask('Behind?', before='Before.', begun='It is', system='Look!')
    _, grid = viewer._look(Shown(frames, (0, 1, 2, 3)))
    assert grid == (2, 2, 2)
    ids = [i for turn in viewer._turns(heard, grid, (0.0, 3.0)) for i in turn.ids]
    text = tiny.tokenizer._tokenizer.decode(ids, skip_special_tokens=False)
    assert text == (
        '<|im_start|>system\nLook!<|im_end|>\n<|im_start|>user\nBefore.<|vision_start|>'
        + 8 * '<|video_pad|>'
        + '<|vision_end|>Behind?<|im_end|>\n<|im_start|>assistant\nIt is'
    )


def test_a_long_video_is_encoded_piece_by_piece_with_the_same_result(tiny, monkeypatch):
    frames = np.random.default_rng(0).integers(0, 256, (10, 112, 112, 3), np.uint8)
    shown, viewer = Shown(frames, tuple(range(10))), Viewer(tiny)
    whole, grid = viewer._look(shown)
    monkeypatch.setattr('svlm_core.evaluation.vqa.atonce.STEPS', 2)
    pieces, same = viewer._look(shown)
    assert (grid, same) == ((5, 2, 2), (5, 2, 2))
    torch.testing.assert_close(pieces, whole)


def test_one_question_leaves_nothing_behind_for_the_next(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 8)
    who = AtOnce(tiny, RULES, Pixels().within(4))
    first = ask(who, question(path), until=3)
    ask(
        who, question(path, 'A much longer question than before, so that memory grows.'), tokens=40
    )
    assert ask(who, question(path), until=3) == first


def test_a_choice_is_the_likeliest_token_among_the_choices_alone(tiny):
    code = tiny.tokenizer
    choices = ('A', 'B', '7')
    scores = torch.zeros(1024)
    ids = [choice_id(choice, 'The answer is:\n', code) for choice in choices]
    assert len(set(ids)) == 3
    scores[ids[1]] = 1.0
    scores[(set(range(1024)) - set(ids)).pop()] = 9.0
    told = Ask('?', begun='The answer is:\n', choices=choices)
    assert spoken(iter([(0, scores)]), told, code) == 'B'


def test_an_answer_loses_its_markers_and_is_no_longer_than_asked_for(tiny):
    code, scores = tiny.tokenizer, torch.zeros(1)
    ids = [*code.encode('B is it'), *code.encode(TERMINATOR), code.turn_end]
    drawn = [(i, scores) for i in ids]
    assert spoken(iter(drawn), Ask('?', tokens=50), code) == 'B is it'
    assert spoken(iter(drawn), Ask('?', tokens=1), code) == code.decode(ids[:1]).strip()


def test_a_begun_answer_changes_how_it_goes_on_and_is_not_part_of_it(tiny, tmp_path):
    path = film(tmp_path / 'a.mp4', 3)
    plain = ask(watching(tiny), question(path))
    begun = ask(watching(tiny), question(path), begun='The code of red is')
    assert plain.text != begun.text
    assert 'The code of red is' not in begun.text


@pytest.mark.parametrize('policy', ['streaming', 'recompute', 'window'])
def test_asking_does_not_change_what_is_remembered(tiny, tmp_path, policy):
    path = film(tmp_path / 'a.mp4', 6)
    settings = suited('robot', None, policy=policy)
    asked, quiet = watching(tiny, settings), watching(tiny, settings)
    for until in (2, 3, 4):
        ask(asked, question(path, f'What at {until}?'), until)
    assert ask(asked, question(path)) == ask(quiet, question(path))
