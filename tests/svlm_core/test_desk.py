# SPDX-License-Identifier: Apache-2.0
"""The desk: one taker, several mailboxes, served in turn."""

from __future__ import annotations

from threading import Thread

from svlm_core.desk import Desk
from svlm_core.mailbox import SECOND


def fill(mailbox, second):
    """Two frames of one second of stream."""
    for half in range(2):
        mailbox.put(None, (2 * second + half + 2) * SECOND // 2, received=0)


def test_the_taker_sleeps_until_a_round_is_ready():
    desk, found = Desk(), []
    mailbox = desk.open(2, 2)
    taker = Thread(target=lambda: found.append(desk.take()))
    taker.start()
    fill(mailbox, 0)
    taker.join(10)
    [(which, taken)] = found
    assert (which, taken.index) == (mailbox, 0)


def test_a_taker_that_is_called_elsewhere_comes_back_with_nothing():
    desk, found, calls = Desk(), [], []
    desk.open(2, 2)
    taker = Thread(target=lambda: found.append(desk.take(lambda: bool(calls))))
    taker.start()
    calls.append('here')
    desk.wake()
    taker.join(10)
    assert found == [None]


def test_closing_wakes_the_taker_with_nothing_even_when_a_round_is_ready():
    desk, found = Desk(), []
    mailbox = desk.open(2, 2)
    taker = Thread(target=lambda: found.append(desk.take()))
    taker.start()
    desk.close()
    taker.join(10)
    fill(mailbox, 0)
    assert found == [None]
    assert desk.take() is None


def test_cameras_are_served_in_turn_however_fast_one_of_them_is():
    desk = Desk()
    front, rear, left = (desk.open(2, 2) for _ in range(3))
    served = []
    for second in range(6):
        fill(front, second)
        if second % 2 == 0:
            fill(rear, second)
        if second == 4:
            fill(left, second)
        mailbox, _ = desk.take()
        served.append(mailbox)
    assert served == [front, rear, front, rear, left, front]


def test_one_camera_alone_never_waits_for_the_others():
    desk = Desk()
    front, _ = desk.open(2, 2), desk.open(2, 2)
    for second in range(3):
        fill(front, second)
        assert desk.take()[0] is front
    assert front.counts.rounds_replaced == 0


def test_a_camera_that_is_held_does_not_hold_up_the_others():
    desk = Desk()
    front, rear = desk.open(2, 2), desk.open(2, 2)
    front.hold(True)
    fill(front, 0)
    fill(rear, 0)
    assert desk.take()[0] is rear
    assert desk.take(lambda: True) is None
    front.hold(False)
    assert desk.take()[0] is front
