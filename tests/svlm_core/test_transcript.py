# SPDX-License-Identifier: Apache-2.0
"""The table of segments: whatever a plan keeps, ids, spans and runs tell one story."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from svlm_core.transcript import Piece, Plan, Role, Segment, Transcript

OTHERS = [role for role in Role if role not in (Role.VISION, Role.PREVIOUS)]


@st.composite
def transcripts(draw) -> Transcript:
    """Segments of random roles, empty ones included; every token has an id of its own."""
    segments, count = [], 0
    for role in draw(st.lists(st.sampled_from([*OTHERS, Role.VISION, Role.PREVIOUS]))):
        grid = draw(st.tuples(*[st.integers(1, 3)] * 3)) if role is Role.VISION else None
        size = grid[0] * grid[1] * grid[2] + 2 if grid else draw(st.integers(0, 5))
        segments.append(Segment(role, tuple(range(count, count + size)), len(segments), grid))
        count += size
    return Transcript(tuple(segments))


@st.composite
def planned(draw) -> tuple[Transcript, Plan]:
    """A transcript, and a plan that keeps random pieces of it in random order."""
    transcript = draw(transcripts())
    pieces = []
    for source in draw(st.permutations(range(len(transcript.segments)))):
        segment = transcript.segments[source]
        if draw(st.booleans()):
            low, high = 0, len(segment.ids)
            if segment.grid is None:
                low, high = sorted(draw(st.tuples(*[st.integers(0, high)] * 2)))
            role = Role.PREVIOUS if segment.role is Role.REPLY else segment.role
            pieces.append(Piece(source, low, high, role))
    return transcript, Plan(tuple(pieces))


@given(transcripts())
def test_ids_starts_and_runs_count_the_same_tokens(transcript):
    assert len(transcript) == len(transcript.ids) == sum(n for n, _ in transcript.runs_from(0))
    for start, segment in zip(transcript.starts, transcript.segments, strict=False):
        assert transcript.ids[start : start + len(segment.ids)] == segment.ids


@given(transcripts())
def test_runs_from_any_segment_cover_the_rest_and_keep_grids_whole(transcript):
    for start in transcript.starts:
        runs = list(transcript.runs_from(start))
        assert sum(n for n, _ in runs) == len(transcript) - start
        assert all(g is None or n == g[0] * g[1] * g[2] for n, g in runs)


@given(transcripts(), st.data())
def test_runs_may_begin_in_the_middle_of_text(transcript, data):
    texts = [n for n, s in enumerate(transcript.segments) if s.grid is None and len(s.ids) > 1]
    if texts:
        chosen = data.draw(st.sampled_from(texts))
        inside = data.draw(st.integers(1, len(transcript.segments[chosen].ids) - 1))
        start = transcript.starts[chosen] + inside
        assert sum(n for n, _ in transcript.runs_from(start)) == len(transcript) - start


@given(planned())
def test_spans_find_exactly_the_tokens_that_stay_in_their_new_order(case):
    transcript, plan = case
    spans = transcript.spans(plan)
    found = tuple(transcript.ids[i] for i in chain.from_iterable(spans))
    assert found == transcript.applied(plan).ids
    assert all(len(span) > 0 for span in spans)
    assert all(a.stop != b.start for a, b in pairwise(spans))


@given(planned())
def test_previous_text_stays_one_segment_however_often_it_grows(case):
    transcript, plan = case
    roles = [s.role for s in transcript.applied(plan).segments]
    assert (Role.PREVIOUS, Role.PREVIOUS) not in pairwise(roles)


def test_find_gives_the_first_of_a_role_or_none():
    transcript = Transcript((Segment(Role.USER, (1,)), Segment(Role.REPLY, (2,))) * 2)
    assert transcript.find(Role.REPLY) == 1
    assert transcript.find(Role.VISION) is None


def test_what_stands_before_the_rounds_is_all_that_belongs_to_none():
    opening = [Segment(Role.SYSTEM, (1, 2)), Segment(Role.PREVIOUS, (3, 4, 5))]
    rounds = [Segment(Role.USER, (6,), 4), Segment(Role.REPLY, (7, 8), 4)]
    assert Transcript().before_rounds == 0
    assert Transcript(tuple(opening)).before_rounds == 5
    assert Transcript((*opening, *rounds)).before_rounds == 5
    assert Transcript(tuple(rounds)).before_rounds == 0
