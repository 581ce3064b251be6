# SPDX-License-Identifier: Apache-2.0
"""Chunks of the synthetic world: what was shown, what was said, what was said before."""

from __future__ import annotations

import random

import pytest
import torch

from lessons import composer
from svlm_core import StreamingVLM, preset
from svlm_core.errors import SettingsError
from svlm_core.prompt import Prompt
from svlm_core.synthetic.script import TASKS
from svlm_core.synthetic.story import Story, seed_to_train
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
    stories = source(engine, samples=300, run=1, length=1800, window=2, overlap=1)
    firsts = [beginning(engine, stories[n]) for n in range(300)]
    assert 10 < sum(first == 0 for first in firsts) < 60
    assert 10 < sum(first > 600 for first in firsts) < 80
    assert max(firsts) < 1800


def test_a_share_of_worlds_is_told_under_another_query(engine: StreamingVLM) -> None:
    stories = source(engine, samples=40, run=1, window=3, overlap=0, length=30, tasks=0.5)
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
    stories = source(engine, samples=20, run=1, window=4, overlap=0, length=60, history=False)
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
