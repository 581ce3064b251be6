# SPDX-License-Identifier: Apache-2.0
"""The inference thread: rounds in, captions out, and no error in a round ends it."""

from __future__ import annotations

from queue import Queue
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest

from ros_support import FakeStream
from svlm_core.config import StreamSettings
from svlm_core.desk import Desk
from svlm_core.errors import FrameError, MemoryFull
from svlm_core.mailbox import SECOND
from svlm_ros.channel import Channel
from svlm_ros.orders import Orders
from svlm_ros.worker import Worker

PICTURE = np.zeros((4, 6, 3), np.uint8)


class Rig:
    """A worker with its mailbox, a fake stream, and a listener that queues what it is told."""

    def __init__(self, reply, *, partial=False):
        desk = Desk()
        self.box = desk.open(2, 2)
        self.stream = FakeStream(StreamSettings(), reply)
        self.told = Queue()
        self.forgotten = 0
        channel = Channel(self.stream, self.box, self.convert, self, partial=lambda: partial)
        self.worker = Worker(desk, [channel])
        self.orders = Orders(self.worker, channel)
        self.worker.start()

    def convert(self, message):
        if isinstance(message, Exception):
            raise message
        return message

    def said(self, progress):
        self.told.put(progress)

    def failed(self, error, *, fatal):
        self.told.put((type(error), fatal))

    def forgot(self):
        self.forgotten += 1

    def second(self, number, first=PICTURE, second=PICTURE):
        """Two frames of one second of stream."""
        for half, message in enumerate((first, second)):
            self.box.put(message, (2 * number + half + 1) * SECOND // 2, received=0)

    def next(self):
        return self.told.get(timeout=10)


@pytest.fixture
def rig():
    rigs = []

    def make(*args, **options):
        rigs.append(Rig(*args, **options))
        return rigs[-1]

    yield make
    assert all(made.worker.stop() for made in rigs)


def words(number, frames):
    return f'this is {number}'


def test_a_round_becomes_one_finished_caption(rig):
    made = rig(words)
    made.second(0, PICTURE + 1, PICTURE + 2)
    progress = made.next()
    assert (progress.text, progress.delta, progress.done) == ('this is 0', 'this is 0', True)
    assert (progress.shown, progress.repeated, progress.tokens) == (2, 0, 4)
    [(start, frames)] = made.stream.seen
    assert start == 0
    assert [frame.max() for frame in frames] == [1, 2]


def test_partial_captions_add_up_to_the_whole_one(rig):
    made = rig(words, partial=True)
    made.second(0)
    told = [made.next() for _ in range(4)]
    assert [p.done for p in told] == [False, False, False, True]
    assert [p.text for p in told] == ['this', 'this is', 'this is 0', 'this is 0']
    assert ''.join(p.delta for p in told) == 'this is 0'
    assert [p.tokens for p in told] == [1, 2, 3, 4]


def test_a_round_is_late_when_a_newer_one_is_complete_before_it_ends(rig):
    entered, go_on = Event(), Event()

    def slow(number, frames):
        entered.set()
        assert go_on.wait(10)
        return 'said'

    made = rig(slow)
    made.second(0)
    assert entered.wait(10)
    made.second(1)
    made.second(2)
    go_on.set()
    first, third = made.next(), made.next()
    assert (first.round.index, first.late) == (0, True)
    assert (third.round.index, third.late) == (2, False)
    assert third.round.dropped == 2


def test_a_round_is_late_when_it_takes_longer_than_its_second(rig, monkeypatch):
    clock = iter([10.0, 11.5])
    made = rig(words)
    # Its own clock alone: other threads look at the one of all.
    monkeypatch.setattr('svlm_ros.channel.time', SimpleNamespace(monotonic=lambda: next(clock)))
    made.second(0)
    late = made.next().late
    monkeypatch.undo()
    assert late


def test_a_bad_frame_is_replaced_by_the_other_and_told(rig):
    made = rig(words)
    made.second(0, FrameError('torn'), PICTURE + 2)
    assert made.next() == (FrameError, False)
    assert made.next().repeated == 1
    assert [frame.max() for frame in made.stream.seen[0][1]] == [2, 2]
    assert (made.box.counts.used, made.box.counts.unreadable) == (1, 1)


def test_a_round_of_bad_frames_is_told_and_lost_and_memory_stays(rig):
    made = rig(words)
    made.second(0, FrameError('torn'), FrameError('torn'))
    assert made.next() == (FrameError, False)
    made.second(1)
    assert made.next().round.index == 1
    assert made.stream.resets == 0
    assert [start for start, _ in made.stream.seen] == [1]


def test_a_camera_that_changes_resolution_within_a_second_goes_on(rig):
    made = rig(words)
    made.second(0, PICTURE, np.ones((8, 8, 3), np.uint8))
    assert made.next().repeated == 1
    assert made.stream.seen[0][1].shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    ('error', 'resets'), [(MemoryFull('full'), 1), (RuntimeError('out of memory'), 0)]
)
def test_an_engine_error_costs_a_round_and_only_a_full_memory_is_reset(rig, error, resets):
    def fails_once(number, frames):
        if number == 0:
            raise error
        return 'back'

    made = rig(fails_once)
    made.second(0)
    assert made.next() == (type(error), False)
    made.second(1)
    assert made.next().text == 'back'
    assert made.stream.resets == resets


def test_an_engine_that_fails_twice_in_a_row_is_reset(rig):
    def fails_twice(number, frames):
        if number < 2:
            raise RuntimeError('stuck')
        return 'back'

    made = rig(fails_twice)
    for second in range(2):
        made.second(second)
        assert made.next() == (RuntimeError, False)
    made.second(2)
    assert made.next().text == 'back'
    assert made.stream.resets == 1


def test_an_engine_that_refuses_frames_keeps_its_memory(rig):
    def refuses(number, frames):
        raise FrameError('too small')

    made = rig(refuses)
    made.second(0)
    assert made.next() == (FrameError, False)
    assert made.stream.resets == 0


def test_an_engine_that_cannot_be_reset_ends_the_thread_and_says_so(rig):
    def fails(number, frames):
        raise RuntimeError('device lost')

    made = rig(fails)
    made.stream.reset = lambda: fails(0, None)
    made.second(0)
    assert made.next() == (RuntimeError, False)
    made.second(1)
    assert [made.next(), made.next()] == [(RuntimeError, False), (RuntimeError, True)]


def test_stopping_ends_the_reply_at_the_next_token(rig):
    entered, go_on = Event(), Event()

    def slow(number, frames):
        entered.set()
        assert go_on.wait(10)
        return 'a very long reply indeed'

    made = rig(slow, partial=True)
    made.second(0)
    assert entered.wait(10)
    assert not made.worker.stop(patience=0)  # asked for; still inside the engine
    go_on.set()
    assert made.worker.stop()
    assert made.told.empty()
    assert made.stream.words == 1


class Slow:
    """A reply that waits, inside the engine, until it is let go."""

    def __init__(self):
        self.entered, self.go_on = Event(), Event()

    def __call__(self, number, frames):
        self.entered.set()
        assert self.go_on.wait(10)
        return 'a long reply indeed'


def test_an_order_is_carried_out_between_rounds_and_gives_its_result(rig):
    slow = Slow()
    made = rig(slow)
    made.second(0)
    assert slow.entered.wait(10)
    order = made.orders.set_query('What moves?')
    assert not order.done()
    slow.go_on.set()
    assert order.result(10) is None
    assert made.stream.queries == ['What moves?']
    assert made.next().text == 'a long reply indeed'  # it was not cut


def test_an_order_that_fails_tells_who_gave_it_and_the_thread_goes_on(rig):
    made = rig(words)
    with pytest.raises(MemoryFull, match='raise query_tokens'):
        made.orders.set_query('very ' * 100).result(10)
    made.second(0)
    assert made.next().text == 'this is 0'


@pytest.mark.parametrize('busy', [True, False])
def test_a_reset_cuts_a_reply_at_its_next_token_and_begins_a_new_stream(rig, busy):
    slow = Slow()
    made = rig(slow)
    if busy:
        made.second(5)
        assert slow.entered.wait(10)
    order = made.orders.reset()
    slow.go_on.set()
    assert order.result(10) is busy
    if busy:
        cut = made.next()
        assert (cut.text, cut.done, cut.tokens) == ('a', True, 1)
    assert (made.stream.resets, made.forgotten) == (1, 1)
    made.second(7)
    after = made.next()
    assert (after.round.index, after.text) == (0, 'a long reply indeed')
    assert made.stream.resets == 1


def test_time_that_jumps_back_resets_the_stream_before_its_first_round(rig):
    made = rig(words)
    made.second(50)
    assert made.next().round.start == 0
    made.second(3)
    assert made.next().round.start == 0
    assert (made.stream.resets, made.forgotten) == (1, 1)


def test_a_paused_worker_still_takes_orders_and_goes_on_with_the_newest_second(rig):
    made = rig(words)
    made.orders.pause(True)
    for second in range(3):
        made.second(second)
    made.orders.set_query('Still there?').result(10)
    assert made.told.empty()
    made.orders.pause(False)
    assert made.next().round.index == 2


def test_orders_that_come_too_late_are_cancelled(rig):
    slow = Slow()
    made = rig(slow)
    made.second(0)
    assert slow.entered.wait(10)
    order = made.orders.set_query('What moves?')
    made.worker.stop(patience=0)
    assert order.cancelled()
    slow.go_on.set()
    assert made.worker.stop()
    assert made.orders.reset().cancelled()  # and so are those that come even later
