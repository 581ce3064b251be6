# SPDX-License-Identifier: Apache-2.0
"""What each policy keeps, over random streams: told by hand here, and held against the plans.

Every token of these streams has an id of its own, so that each can be followed; the id of a
later token is the larger one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svlm_core.config import StreamSettings, preset
from svlm_core.errors import SettingsError
from svlm_core.policies import plan_round
from svlm_core.transcript import ROUND_ROLES, Plan, Role, Segment, Transcript

CLOSED = 2  # tokens at the end of a reply that are no content
BLOCK = (Role.SYSTEM, Role.PINNED, Role.PREVIOUS_OPEN, Role.PREVIOUS, Role.PREVIOUS_CLOSE)
FRAME = {*BLOCK} - {Role.PREVIOUS}


def content(reply: Segment) -> int:
    return len(reply.ids) - CLOSED


@dataclass
class Story:
    """A stream of unique tokens under some settings, and all that it has been told."""

    settings: StreamSettings
    sizes: list[int]  # content tokens of each reply
    given_text: int = 0
    ids: Iterator[int] = field(default_factory=count)
    replies: list[tuple[int, ...]] = field(default_factory=list)

    def segment(self, role: Role, size: int, number: int | None = None, grid=None) -> Segment:
        return Segment(role, tuple(next(self.ids) for _ in range(size)), number, grid)

    def __post_init__(self) -> None:
        lengths = {Role.SYSTEM: 11, Role.PREVIOUS: self.given_text}
        self.opening = tuple(self.segment(role, lengths.get(role, 3)) for role in BLOCK)
        self.told = self.opening[BLOCK.index(Role.PREVIOUS)].ids

    def rounds(self) -> Iterator[tuple[int, Transcript, Plan, Transcript]]:
        """Before each round but the first: its number, what was, the plan, and what is left."""
        held = Transcript(self.opening)
        for number, size in enumerate(self.sizes):
            if number:
                plan = plan_round(held, self.settings, number, content)
                after = held.applied(plan)
                yield number, held, plan, after
                held = after
            held = held.extended(self.round(number, size))

    def round(self, number: int, size: int) -> list[Segment]:
        parts = [(Role.USER, 3, None), (Role.TIME, 10, None), (Role.VISION, 6, (1, 2, 2)),
                 (Role.TAIL, 2, None), (Role.ASSISTANT, 3, None)]  # fmt: skip
        prompt = [self.segment(role, n, number, grid) for role, n, grid in parts]
        reply = self.segment(Role.REPLY, size + CLOSED, number)
        self.replies.append(reply.ids[:size])
        return [*prompt, reply]


limits = st.none() | st.integers(1, 6)
texts = st.none() | st.integers(0, 12)


@st.composite
def stories(draw, policy: str = 'streaming', robot: bool = True) -> Story:
    changes = {
        'vision_window': draw(st.none() | st.integers(0 if robot else 1, 6)),
        'text_rounds': draw(limits),
        'text_sink': draw(texts),
        'text_window': draw(texts if robot else st.integers(1, 12)),
        'reset_every': draw(st.integers(1, 5)),
        'policy': policy,
    }
    if not robot and changes['text_sink'] is None:
        changes['text_window'] = None
    chosen = preset('robot' if robot else 'reference', **changes)
    sizes = draw(st.lists(st.integers(0, 7), min_size=2, max_size=14))
    return Story(chosen, sizes, draw(st.integers(0, 20)))


def rounds_of(transcript: Transcript, role: Role) -> list[int]:
    return [s.round for s in transcript.segments if s.role is role]


def previous(transcript: Transcript) -> tuple[int, ...]:
    return tuple(i for s in transcript.segments if s.role is Role.PREVIOUS for i in s.ids)


def newest(rounds: int | None, upcoming: int) -> list[int]:
    """The rounds kept of those before `upcoming`, if it is the last of `rounds`."""
    return [n for n in range(upcoming) if rounds is None or n > upcoming - rounds]


def cut(told: tuple[int, ...], sink: int | None, recent: int | None) -> tuple[int, ...]:
    if sink is None or recent is None or len(told) <= sink + recent:
        return told
    return told[:sink] + told[len(told) - recent :]


@given(stories())
def test_streaming_keeps_the_windows_it_was_told_and_nothing_else(story):
    chosen = story.settings
    for number, _, _, after in story.rounds():
        seen, read = newest(chosen.vision_rounds, number), newest(chosen.text_rounds, number)
        assert rounds_of(after, Role.VISION) == seen
        for role in (Role.REPLY, Role.TIME, Role.ASSISTANT):
            assert rounds_of(after, role) == read
        for role in (Role.USER, Role.TAIL):
            assert rounds_of(after, role) == sorted({*seen, *read})


@given(stories())
def test_replies_that_leave_their_place_become_previous_text_in_order(story):
    for number, _, _, after in story.rounds():
        gone = number - len(newest(story.settings.text_rounds, number))
        told = story.told + tuple(i for reply in story.replies[:gone] for i in reply)
        kept = cut(told, story.settings.text_sink, story.settings.text_window)
        assert previous(after) == kept


@given(stories(robot=False))
def test_the_published_window_is_one_token_shorter_than_its_name(story):
    sink, window = story.settings.text_sink, story.settings.text_window
    for number, _, _, after in story.rounds():
        gone = number - len(newest(story.settings.text_rounds, number))
        told = story.told + tuple(i for reply in story.replies[:gone] for i in reply)
        assert previous(after) == cut(told, sink, None if window is None else window - 1)


@pytest.mark.parametrize('policy', ['streaming', 'window', 'full_attention', 'recompute'])
@given(data=st.data())
@settings(max_examples=40)
def test_under_every_policy(policy, data):
    story = data.draw(stories(policy))
    for _, before, plan, after in story.rounds():
        assert [s for s in after.segments if s.role in FRAME] == [
            s for s in story.opening if s.role in FRAME
        ]
        whole = {s.ids for s in before.segments if s.role is Role.VISION}
        assert {s.ids for s in after.segments if s.role is Role.VISION} <= whole
        assert set(after.ids) <= set(before.ids)
        assert len(set(after.ids)) == len(after.ids)
        told = previous(after)
        in_place = [i for i in after.ids if i not in set(told)]
        assert in_place == sorted(in_place)
        assert told == tuple(sorted(told))
        assert plan.reuse or policy != 'streaming'


@given(stories())
def test_recompute_keeps_what_streaming_keeps_and_encodes_it_anew(story):
    changes = {f: getattr(story.settings, f) for f in story.settings.__dataclass_fields__}
    again = StreamSettings(**{**changes, 'policy': 'recompute'})
    other = Story(again, story.sizes, story.given_text)
    for (*_, plan, after), (*_, anew, same) in zip(story.rounds(), other.rounds(), strict=True):
        assert after == same
        assert (plan.reuse, anew.reuse) == (True, False)


@given(stories('full_attention'))
def test_full_attention_forgets_nothing(story):
    for _, before, plan, after in story.rounds():
        assert after == before
        assert plan == Plan(plan.pieces, reuse=True, opening=False)


@given(stories('window'))
def test_a_window_grows_until_its_reset_which_leaves_the_words_alone(story):
    sink, recent = story.settings.text_sink, story.settings.text_window
    told, since = story.told, 0
    for number, before, plan, after in story.rounds():
        if number % story.settings.reset_rounds:
            assert after == before
            assert not plan.opening
            continue
        assert (plan.opening, plan.reuse) == (True, False)
        assert not [s for s in after.segments if s.role in ROUND_ROLES]
        told = cut(told + tuple(i for r in story.replies[since:number] for i in r), sink, recent)
        assert previous(after) == told
        since = number


def test_a_published_window_of_nothing_is_refused_before_it_eats_the_end_marker():
    chosen = preset('reference', text_sink=4, text_window=0, text_rounds=1)
    with pytest.raises(SettingsError, match='text_window=0'):
        for _ in Story(chosen, [3] * 4).rounds():
            continue
    kept = [len(previous(after)) for *_, after in Story(
        preset('robot', text_sink=4, text_window=0, text_rounds=1), [3] * 4).rounds()]  # fmt: skip
    assert kept == [3, 4, 4]


def test_no_vision_window_means_that_none_stays():
    story = Story(preset('robot', vision_window=0, text_rounds=2), [2] * 5)
    assert all(rounds_of(after, Role.VISION) == [] for *_, after in story.rounds())
