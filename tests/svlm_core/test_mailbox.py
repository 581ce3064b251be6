# SPDX-License-Identifier: Apache-2.0
"""The mailbox: rounds sampled by stamp, the newest wins, every frame accounted for."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svlm_core.mailbox import SECOND, Arrival, Mailbox, Round

EPOCH = 1_700_000_000 * SECOND


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


def put(box: Mailbox, *seconds: float) -> None:
    """Frames whose messages are their own stamps, in seconds after EPOCH."""
    for stamp in seconds:
        box.put(stamp, EPOCH + ns(stamp), received=0)


def shown(taken: Round | None) -> list[float]:
    assert taken is not None
    return [frame.message for frame in taken.frames]


def steady(fps: float, seconds: float) -> list[float]:
    return [i / fps for i in range(round(fps * seconds))]


def account(box: Mailbox) -> dict[str, int]:
    """What is not zero in the counts."""
    counts = {name: getattr(box.counts, name) for name in box.counts.__dataclass_fields__}
    return {name: number for name, number in counts.items() if number}


@pytest.fixture
def box() -> Mailbox:
    return Mailbox(fps=2, frames_per_round=2)


@pytest.mark.parametrize('fps', [2, 4, 10, 24, 30, 60])
def test_integer_frame_rates_are_sampled_at_exactly_t_and_t_plus_half(box, fps):
    found = []
    for stamp in steady(fps, 5):
        put(box, round(stamp, 4))  # stamps of real cameras are not exact
        if box.waiting:
            found.append(box.take())
    assert [taken.start for taken in found] == [0, 1, 2, 3, 4]
    assert [shown(taken) for taken in found] == [[t, t + 0.5] for t in range(5)]
    assert not any(taken.repeated for taken in found)


def test_a_round_is_ready_as_soon_as_its_second_instant_has_a_frame(box):
    put(box, 0, 0.1, 0.2, 0.3, 0.4)
    assert not box.waiting
    put(box, 0.4999)  # a stamp is never exact
    assert box.waiting


def test_of_two_frames_around_an_instant_the_nearer_one_is_shown(box):
    put(box, 0, 0.48, 0.58)
    assert shown(box.take()) == [0, 0.48]
    put(box, 0.9, 1.02, 1.4, 1.51)
    assert shown(box.take()) == [1.02, 1.51]


def test_a_two_hertz_camera_that_jitters_loses_and_repeats_nothing(box):
    stamps = [0, 0.49, 1.02, 1.47, 2.03, 2.5, 2.98, 3.51, 4.0]
    rounds = []
    for stamp in stamps:
        put(box, stamp)
        if box.waiting:
            rounds.append(shown(box.take()))
    assert rounds == [[0, 0.49], [1.02, 1.47], [2.03, 2.5], [2.98, 3.51]]
    assert account(box) == {'received': 9, 'used': 8, 'pending': 1}


def test_a_slow_camera_has_its_last_frame_repeated_and_counted(box):
    rounds = []
    for stamp in range(5):
        put(box, stamp)
        if box.waiting:
            rounds.append(box.take())
    assert [shown(taken) for taken in rounds] == [[t, t] for t in range(4)]
    assert [taken.repeated for taken in rounds] == [1, 1, 1, 1]
    assert account(box) == {'received': 5, 'used': 4, 'repeated': 4, 'pending': 1}


def test_a_busy_worker_gets_the_newest_complete_second_and_the_others_are_counted(box):
    put(box, *steady(10, 0.6))
    assert box.take().index == 0
    put(box, *(t for t in steady(10, 5.7) if t > 0.55))  # while it works: five more seconds
    taken = box.take()
    assert (taken.index, taken.start, shown(taken)) == (5, 5.0, [5.0, 5.5])
    assert taken.dropped == 48  # of 51 that came since: two are shown, 5.6 is still the newest
    assert account(box) == {
        'received': 57,
        'used': 4,
        'pending': 1,
        'unsampled': 44,
        'skipped': 8,
        'rounds_replaced': 4,
    }


def test_after_a_silence_the_stream_goes_on_at_the_second_of_the_new_frame(box):
    put(box, *steady(10, 3.3))
    assert box.take().index == 2
    put(box, 100.0, 100.1, 100.5)
    taken = box.take()
    assert (taken.index, shown(taken)) == (100, [100.0, 100.5])
    # 3.2 stands in up to 5.2: seconds 3 and 4 were ready, the older one was replaced by the newer.
    assert account(box)['rounds_replaced'] == 4
    assert account(box)['rounds_blind'] == 95


def test_a_frame_stands_in_for_missing_ones_until_it_is_too_old():
    box = Mailbox(fps=2, frames_per_round=2, max_age=1.5, queue=None)
    put(box, 0, 0.5, 10.0, 10.5)
    rounds = []
    while (taken := box.take()) is not None:
        rounds.append((taken.index, shown(taken), taken.repeated))
    assert rounds == [(0, [0, 0.5], 0), (1, [0.5, 0.5], 2), (10, [10.0, 10.5], 0)]
    assert account(box) == {'received': 4, 'used': 4, 'repeated': 2, 'rounds_blind': 8}


def test_without_a_frame_for_its_second_instant_a_round_is_skipped_and_its_frame_dropped():
    box = Mailbox(fps=2, frames_per_round=2, max_age=0)
    put(box, 0, 0.5)
    box.take()
    put(box, 1.0, 2.0, 2.5)
    taken = box.take()
    assert (taken.index, shown(taken), taken.dropped) == (2, [2.0, 2.5], 1)
    assert account(box) == {'received': 5, 'used': 4, 'skipped': 1, 'rounds_blind': 1}


def test_a_camera_slower_than_a_round_is_captioned_while_its_frame_is_fresh_enough():
    box = Mailbox(fps=2, frames_per_round=2, max_age=2, queue=None)
    put(box, 0, 1.9, 3.8, 5.7)
    rounds = []
    while (taken := box.take()) is not None:
        rounds.append(shown(taken))
    assert rounds == [[0, 0], [0, 0], [1.9, 1.9], [1.9, 1.9], [3.8, 3.8], [3.8, 5.7]]
    assert box.counts.rounds_blind == 0


def test_a_round_whose_camera_stalls_is_ready_at_its_deadline(box):
    put(box, 0, 0.1)
    box.tick(ns(0.6))  # frames were received at 0: half a second has passed since the newest
    assert not box.waiting
    box.tick(ns(0.66))  # 0.75: the instant 0.5 has waited for half an interval
    taken = box.take()
    assert (shown(taken), taken.repeated) == ([0, 0.1], 0)


def test_time_alone_ends_the_stand_in_and_skips_seconds_until_a_frame_comes(box):
    put(box, 0, 0.5)
    box.take()
    found = []
    for tenth in range(1, 600):
        box.tick(ns(tenth / 10))
        if box.waiting:
            taken = box.take()
            found.append((taken.index, taken.repeated, tenth))
    assert found == [(1, 2, 13), (2, 2, 23)]  # then 0.5 is older than two seconds
    assert account(box)['rounds_blind'] == 58
    put(box, 60.5)
    assert not box.waiting  # its second has begun without a frame
    put(box, 61, 61.5)
    assert shown(box.take()) == [61, 61.5]


def test_a_late_frame_does_not_undo_what_a_deadline_decided(box):
    put(box, 0)
    box.tick(ns(0.8))
    assert shown(box.take()) == [0, 0]
    put(box, 0.5, 1.0, 1.5)
    assert shown(box.take()) == [1.0, 1.5]


def test_frames_that_come_in_time_leave_nothing_to_the_deadline(box):
    for tenth in range(51):
        box.tick(ns(tenth / 10))
        box.put(tenth / 10, EPOCH + ns(tenth / 10), received=ns(tenth / 10) + 1)
        if box.waiting:
            taken = box.take()
            assert shown(taken) == [taken.start, taken.start + 0.5]
    assert taken.index == 4


def test_a_clock_that_is_set_to_another_age_begins_a_new_stream(box):
    box.put('unset clock', 1, received=1)
    assert box.put('set clock', EPOCH, received=1) is Arrival.RESTARTED
    box.put('next', EPOCH + SECOND, received=1)
    taken = box.take()
    assert (shown(taken), taken.start, taken.era) == (['set clock', 'set clock'], 0, 1)


def test_a_silence_of_a_day_costs_no_time(box):
    put(box, 0, 0.5, 23 * 3600.0, 23 * 3600 + 0.5)
    assert box.take().index == 23 * 3600


def test_a_queue_keeps_every_round_up_to_its_bound():
    box = Mailbox(fps=2, frames_per_round=2, queue=3)
    put(box, *steady(4, 5))
    assert [box.take().index for _ in range(3)] == [2, 3, 4]
    assert box.take() is None
    assert account(box)['rounds_replaced'] == 2


def test_a_stream_that_is_taken_up_again_goes_on_where_it_stood(box):
    box.restart(at=3600)
    put(box, 0, 0.5)
    taken = box.take()
    assert (taken.index, taken.start, shown(taken)) == (3600, 3600, [0, 0.5])
    assert taken.origin + 3600 * SECOND == EPOCH  # the second begins at its first frame


def test_stamps_that_stand_still_or_go_back_are_dropped_and_counted(box):
    put(box, 1.0)
    assert box.put('again', EPOCH + ns(1.0), received=0) is Arrival.STALE
    assert box.put('earlier', EPOCH, received=0) is Arrival.STALE
    assert account(box) == {'received': 3, 'stale': 2, 'pending': 1}


def test_time_that_goes_back_by_more_than_a_second_begins_a_new_stream_at_zero(box):
    put(box, 100, 100.5, 101)
    assert box.take().era == 0
    assert box.put(20, EPOCH + ns(20), received=0) is Arrival.RESTARTED
    put(box, 20.5)
    taken = box.take()
    assert (taken.index, taken.start, taken.era, shown(taken)) == (0, 0, 1, [20, 20.5])
    assert account(box) == {'received': 5, 'used': 4, 'skipped': 1}


def test_a_restart_drops_what_waits_and_begins_with_the_next_frame(box):
    put(box, 0, 0.5, 1)
    assert box.restart() == 1
    assert account(box) == {'received': 3, 'skipped': 3}
    put(box, 1.25, 1.75)
    taken = box.take()
    assert (taken.index, taken.era, shown(taken)) == (0, 1, [1.25, 1.75])


def test_while_it_is_held_nothing_is_taken_and_afterwards_only_the_newest(box):
    box.hold(True)
    put(box, *steady(2, 3))
    assert box.take() is None
    box.hold(False)
    assert shown(box.take()) == [2, 2.5]
    assert account(box) == {'received': 6, 'used': 2, 'skipped': 4, 'rounds_replaced': 2}


def test_a_camera_that_leaves_its_stamps_zero_is_sampled_by_time_of_arrival(box):
    for tenth in range(6):
        box.put(tenth, 0, received=EPOCH + tenth * SECOND // 10)
    taken = box.take()
    assert shown(taken) == [0, 5]
    assert taken.frames[-1].stamp == EPOCH + SECOND // 2
    assert taken.origin == EPOCH


def test_unreadable_frames_are_counted_before_and_after_sampling(box):
    box.refuse()
    put(box, 0, 0.5)
    box.take()
    box.spoil()
    assert account(box) == {'received': 3, 'used': 1, 'unreadable': 2}


@pytest.mark.parametrize(
    ('fps', 'size', 'seconds'), [(1, 1, 1), (2, 4, 2), (4, 4, 1), (0.5, 1, 2)]
)
def test_other_rates_and_lengths_of_a_round(fps, size, seconds):
    box = Mailbox(fps, size)
    for stamp in steady(20, 4 * seconds):
        put(box, stamp)
        if box.waiting:
            taken = box.take()
            assert taken.start == taken.index * seconds
            assert shown(taken) == [taken.start + i / fps for i in range(size)]
    assert taken.index == 3


STEPS = st.one_of(
    st.integers(1, 60).map(lambda cs: ('put', cs * SECOND // 100)),
    st.sampled_from([-3 * SECOND, -1, 0, 1, 2 * SECOND, 3600 * SECOND]).map(lambda d: ('put', d)),
    st.sampled_from([0, 1, SECOND // 3, SECOND, 4 * SECOND, 3600 * SECOND]).map(
        lambda d: ('tick', d)
    ),
    st.sampled_from([('take', 0), ('refuse', 0), ('restart', 0), ('restart', 17)]),
)


@given(
    st.lists(STEPS, max_size=120),
    st.sampled_from([(2, 2), (1, 1), (4, 4), (2, 6)]),
    st.sampled_from([1, 3]),
    st.sampled_from([0, 0.3, 2, 100]),
)
def test_every_frame_is_accounted_for_whatever_comes_in_whatever_order(steps, shape, queue, age):
    fps, size = shape
    box, stamp, taken = Mailbox(fps, size, queue=queue, max_age=age), EPOCH, []
    for action, delta in steps:
        if action == 'refuse':
            box.refuse()
        if action == 'put':
            arrival = box.put(None, stamp + delta, received=1)
            stamp = stamp if arrival is Arrival.STALE else stamp + delta
        if action == 'restart':
            box.restart(at=delta)
        if action == 'tick':
            box.tick(1 + delta)
        if action == 'take' and box.waiting:
            taken.append(box.take())
        counts = box.counts
        assert counts.received == counts.used + counts.dropped + counts.pending
        assert counts.pending <= (queue + 1) * size + 1
        assert min(getattr(counts, name) for name in counts.__dataclass_fields__) >= 0
    assert counts_by_round(taken) == (box.counts.used, box.counts.repeated) if steps else True
    order = [(t.era, t.index) for t in taken]
    assert order == sorted(set(order))


def counts_by_round(taken: list[Round]) -> tuple[int, int]:
    """Frames used once, and showings that were repeats, from the rounds themselves."""
    return len({frame for t in taken for frame in t.frames}), sum(t.repeated for t in taken)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.sampled_from([1, 2, 3]))
@example([75, 50, 1], 1)  # a frame just between two others: the third instant sees nothing new
def test_the_rounds_are_those_of_a_sampler_that_sees_all_stamps_at_once(gaps, size):
    box, stamp, stamps, found = Mailbox(2, size, queue=None, max_age=1), 0, [], []
    for gap in gaps:
        stamps.append(stamp)
        box.put(stamp, EPOCH + stamp * SECOND // 100, received=0)
        while (taken := box.take()) is not None:
            found.append((taken.index, shown(taken)))
        stamp += gap
    assert found == sampled_at_once(stamps, size)


def sampled_at_once(stamps: list[int], size: int) -> list[tuple[int, list[int]]]:
    """Rounds of instants 50 hundredths apart, from all stamps (hundredths, ascending)."""
    rounds = []
    instants = range(0, stamps[-1] + 1, 50)
    for number in range(len(instants) // size):
        chosen = [nearest(stamps, at) for at in instants[number * size : (number + 1) * size]]
        if None not in chosen:
            rounds.append((number, chosen))
    return rounds


def nearest(stamps: list[int], at: int) -> int | None:
    """The frame for one instant: none further than 25 hundredths ahead or 100 behind."""
    after = min(s for s in stamps if s >= at)
    before = max((s for s in stamps if s < at), default=after)
    if after - at <= 25 and after - at < abs(at - before):
        return after
    return before if at - before <= 100 else None
