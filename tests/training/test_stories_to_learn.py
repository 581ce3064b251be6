# SPDX-License-Identifier: Apache-2.0
"""Chunks of the synthetic world: what was shown, what was said, what was said before."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from lessons import composer
from svlm_core import StreamingVLM, preset
from svlm_core.errors import SettingsError
from svlm_core.prompt import Prompt
from svlm_core.synthetic.captions import meaning
from svlm_core.synthetic.lessons import Gallery, Lookout
from svlm_core.synthetic.noise import CHATTER
from svlm_core.synthetic.questions import QUESTIONS, ask
from svlm_core.synthetic.script import TASKS
from svlm_core.synthetic.story import Story, seed_to_train
from svlm_core.synthetic.tokenizer import build_tokenizer
from svlm_core.training.recipe import Stories
from svlm_core.training.stories import StorySource, retold
from svlm_core.transcript import Transcript

SETTINGS = preset('robot', text_sink=12, text_window=20)


def source(engine: StreamingVLM, **changes) -> StorySource:
    return StorySource(Stories(**{'tasks': 0.0, **changes}), composer(engine, SETTINGS))


def beginning(engine: StreamingVLM, sample) -> int:
    """The second with which a sample begins, as it is written in its text."""
    text = engine.tokenizer.decode(sample.ids.tolist())
    return int(float(text.split('Time=')[1].split('-')[0]))


def test_neighbours_overlap_by_half_and_say_what_the_world_says(engine: StreamingVLM) -> None:
    stories = source(engine, run=3, samples=6, length=120)
    for number in range(2):
        story = Story(seed_to_train(number))
        firsts = [beginning(engine, stories[3 * number + place]) for place in range(3)]
        assert [second - firsts[0] for second in firsts] == [0, 12, 24]
        assert firsts[0] % 12 == 0
        spoken = engine.tokenizer.decode(stories[3 * number].labels.tolist())
        said = [story.second(firsts[0] + place).caption for place in range(24)]
        assert [part.strip() for part in spoken.split(' ...')[:-1]] == said


def test_a_sample_shows_the_frames_of_its_seconds(engine: StreamingVLM) -> None:
    stories = source(engine, samples=2, run=1, length=60)
    sample = stories[1]
    first, story = beginning(engine, sample), Story(seed_to_train(1))
    cell = engine._model.config.vision.patch_size * engine._model.config.vision.merge_size
    assert sample.film.shape == (48, 112 // cell * cell, 112 // cell * cell, 3)
    shown = torch.from_numpy(story.frames(first + 23))
    assert (sample.film[46:].float() - shown.float()).abs().mean() < 1


def test_the_same_number_is_the_same_sample_whatever_came_before(engine: StreamingVLM) -> None:
    one, other = source(engine, samples=9), source(engine, samples=9)
    other[3]
    assert torch.equal(one[7].ids, other[7].ids)
    assert torch.equal(one[7].film, other[7].film)


def test_beginnings_are_frequent_and_late_seconds_come_too(engine: StreamingVLM) -> None:
    stories = source(engine, samples=300, run=1, length=1800, window=2, overlap=1, size=28)
    firsts = [beginning(engine, stories[n]) for n in range(300)]
    assert 10 < sum(first == 0 for first in firsts) < 60
    assert 10 < sum(first > 600 for first in firsts) < 80
    assert max(firsts) < 1800


def test_a_share_of_worlds_is_told_under_another_query(engine: StreamingVLM) -> None:
    few = {'samples': 40, 'run': 1, 'length': 30, 'window': 3, 'overlap': 0, 'size': 28}
    stories = source(engine, tasks=0.5, **few)
    texts = [engine.tokenizer.decode(stories[n].ids.tolist()) for n in range(40)]
    asked = [next(query for query in TASKS if query in text) for text in texts]
    assert set(asked) == set(TASKS)
    assert 10 < asked.count(next(iter(TASKS))) < 30


@pytest.mark.parametrize('limits', [(0, 0), (12, 20), (7, None), (None, 7), (500, 500)], ids=str)
@pytest.mark.parametrize('count', [0, 1, 60])
def test_what_is_retold_is_cut_to_the_same_text_as_the_whole(
    engine: StreamingVLM, limits: tuple, count: int
) -> None:
    settings = preset('robot', text_sink=limits[0], text_window=limits[1], capacity=9000)
    maker, prompt = composer(engine, settings), Prompt(engine.tokenizer, settings)
    draws = random.Random(1)
    told = [draws.choice(['', 'A red circle enters.', 'It waits.']) for _ in range(count)]
    few = retold(told.__getitem__, count, maker.tokens, *limits)
    cut, whole = (Transcript(maker.opening(prompt, said)).ids for said in (few, told))
    assert cut == whole
    if None not in limits and count == 60 and sum(limits) < 100:
        assert len(few) < 40


def learnt(engine: StreamingVLM, sample) -> list[str]:
    """The replies that a sample is to be learnt from."""
    return [part.strip() for part in engine.tokenizer.decode(sample.labels.tolist()).split(' ...')]


def test_clips_have_no_history_and_teach_only_what_they_show(engine: StreamingVLM) -> None:
    stories = source(
        engine, samples=20, run=1, window=4, overlap=0, length=60, history=False, only_shown=True
    )
    asked = set()
    for number in range(20):
        sample, story = stories[number], Story(seed_to_train(number))
        first = beginning(engine, sample)
        text = engine.tokenizer.decode(sample.ids.tolist())
        assert 'previous text\n\nuser' in text  # nothing stands between
        shown = [story.second(second) for second in range(first, first + 4)]
        known = [now for now in shown if now.source is None or now.source >= first]
        assert learnt(engine, sample)[:-1] == [now.caption for now in known]
        asked |= {now.skill for now in known}
    assert 'code' in asked
    assert 'count' not in asked


@pytest.mark.parametrize(('name', 'kind'), [('lookout', Lookout), ('gallery', Gallery)])
def test_a_lesson_is_told_and_shown_as_its_own_world(
    engine: StreamingVLM, name: str, kind: type[Story]
) -> None:
    few = {'samples': 4, 'run': 1, 'length': 600, 'history': False, 'world': name}
    stories = source(engine, **few)
    for number in range(4):
        sample, world = stories[number], kind(seed_to_train(number))
        first = beginning(engine, sample)
        said = [world.second(first + place).caption for place in range(24)]
        assert learnt(engine, sample)[:-1] == said
        shown = torch.from_numpy(world.frames(first + 23))
        assert (sample.film[46:].float() - shown.float()).abs().mean() < 1


def test_a_chunk_without_history_may_be_learnt_whole_and_one_with_it_in_part(
    engine: StreamingVLM,
) -> None:
    few = {'samples': 8, 'run': 1, 'length': 600}
    whole, part = source(engine, history=False, **few), source(engine, only_shown=True, **few)
    for number in range(8):
        first, story = beginning(engine, whole[number]), Story(seed_to_train(number))
        shown = [story.second(first + place) for place in range(24)]
        known = [now for now in shown if now.source is None or now.source >= first]
        assert learnt(engine, whole[number])[:-1] == [now.caption for now in shown]
        assert learnt(engine, part[number])[:-1] == [now.caption for now in known]
        texts = [engine.tokenizer.decode(of[number].ids.tolist()) for of in (whole, part)]
        assert ['previous text\n\nuser' in text for text in texts] == [True, first == 0]


def test_noise_tells_its_share_of_seconds_wrong_in_two_ways(engine: StreamingVLM) -> None:
    few = {'samples': 12, 'run': 1, 'length': 300, 'noise': 0.4}
    stories, ways = source(engine, **few), Counter[str]()
    for number in range(12):
        sample, story = stories[number], Story(seed_to_train(number))
        first = beginning(engine, sample)
        for place, said in enumerate(learnt(engine, sample)[:-1]):
            true = story.second(first + place).caption
            ago = range(2, min(5, first + place) + 1)
            late = [story.second(first + place - n).caption for n in ago]
            way = {said in late: 'late', said in CHATTER: 'chat', said == true: 'true'}[True]
            ways[way] += 1
    assert ways.total() == 12 * 24
    assert 0.55 < ways['true'] / ways.total() < 0.7
    assert 0.12 < ways['late'] / ways.total() < 0.27
    assert 0.12 < ways['chat'] / ways.total() < 0.3


def test_two_chunks_that_overlap_have_the_same_noise_in_what_was_and_is_said(
    engine: StreamingVLM,
) -> None:
    roomy = composer(engine, preset('robot', text_sink=400, text_window=400))
    stories = StorySource(Stories(tasks=0, noise=0.5, samples=4, run=2, length=48), roomy)
    for number in (0, 2):
        one, next_ = stories[number], stories[number + 1]
        assert learnt(engine, one)[12:24] == learnt(engine, next_)[:12]
        text = engine.tokenizer.decode(next_.ids.tolist())
        before = ' '.join(said for said in learnt(engine, one)[:12] if said)
        assert before in text.split('previous text\n')[1]


def test_small_talk_is_no_caption_and_takes_few_tokens() -> None:
    tokenizer = build_tokenizer()
    for said in CHATTER:
        assert meaning(said) is None
        assert len(tokenizer.encode(f' {said}').ids) == len(said.split()) + 1


def test_frames_leave_early_in_a_share_of_chunks_after_any_time_up_to_16_seconds(
    engine: StreamingVLM,
) -> None:
    few = {'samples': 120, 'run': 4, 'length': 200, 'size': 28}
    stories, plain = source(engine, early_eviction=0.5, **few), source(engine, **few)
    stays = []
    for number in range(120):
        sample = stories[number]
        assert torch.equal(sample.ids, plain[number].ids)
        if sample.until is not None:
            starts = (sample.ids == engine.tokenizer.vision_start).nonzero()[:, 0].tolist()
            gone = sample.until[starts[0]].item()
            stays.append(sum(start < gone for start in starts))
    assert 40 < len(stays) < 80
    assert set(stays) <= set(range(1, 17))
    assert len(set(stays)) > 12


def test_a_share_of_chunks_ends_with_a_question_about_what_they_show(
    engine: StreamingVLM,
) -> None:
    few = {'samples': 60, 'run': 2, 'length': 200, 'window': 4, 'overlap': 0, 'size': 28}
    stories, plain = source(engine, questions=0.5, **few), source(engine, **few)
    kinds = Counter[str]()
    for number in range(60):
        sample, first = stories[number], beginning(engine, plain[number])
        extra = engine.tokenizer.decode(sample.ids[len(plain[number]) :].tolist())
        if not extra:
            continue
        story = Story(seed_to_train(number // 2))
        seconds = [story.second(first + place) for place in range(4)]
        user, question, assistant, answer, end = extra.split('\n')
        assert (user, assistant, end) == ('user', 'assistant', '')
        [kind] = [kind for kind in QUESTIONS if ask(kind, seconds).text == question]
        kinds[kind] += 1
        assert answer == f' {ask(kind, seconds).answer} ...'
        assert learnt(engine, sample)[-2] == ask(kind, seconds).answer
    assert set(kinds) == set(QUESTIONS)
    assert 20 < kinds.total() < 40


def test_a_chunk_whose_frames_leave_is_asked_nothing(engine: StreamingVLM) -> None:
    few = {'samples': 30, 'run': 1, 'length': 100, 'size': 28, 'questions': 1.0}
    stories = source(engine, early_eviction=0.5, **few)
    plain = source(engine, samples=30, run=1, length=100, size=28)
    for number in range(30):
        asked = len(stories[number]) > len(plain[number])
        assert asked == (stories[number].until is None)


def test_a_task_that_changes_is_learnt_from_its_change_on(engine: StreamingVLM) -> None:
    stories = source(engine, samples=60, run=1, window=24, overlap=12, length=200, tasks=1.0)
    changed = 0
    for number in range(60):
        sample, story = stories[number], Story(seed_to_train(number))
        first = beginning(engine, sample)
        text = engine.tokenizer.decode(sample.ids.tolist())
        task = next(query for query in TASKS if query in text)
        told = [story.second(first + place).told(task) for place in range(24)]
        replies = learnt(engine, sample)[:-1]
        if len(replies) < 24:
            changed += 1
        assert not replies or replies[-1] == told[-1]
    assert 5 < changed < 40


def test_a_stream_of_other_rounds_than_seconds_is_refused(engine: StreamingVLM) -> None:
    with pytest.raises(SettingsError, match='2 fps and rounds of 1 second'):
        StorySource(Stories(), composer(engine, preset('robot', fps=4)))
