# SPDX-License-Identifier: Apache-2.0
"""The planes of keys and values: they never move, and hold what a plain list would hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from svlm_core.cache import TURNED, Cache
from svlm_core.errors import MemoryFull
from svlm_core.model.config import TextConfig
from svlm_core.rope import RopeSpec, Rotary, rotate

CPU = torch.device('cpu')
LAYERS, HEADS, SIZE = 2, 2, 16
SPEC = RopeSpec(SIZE, 1e6, (2, 3, 3), 2)
CONFIG = TextConfig(64, 64, 64, LAYERS, 4, HEADS, SIZE, 1e-6, False, SPEC)
ROTARY = Rotary(SPEC, CPU)


def cache_of(slots: int, unrotated: bool = True, dtype: torch.dtype = torch.float32) -> Cache:
    return Cache(CONFIG, slots, dtype, CPU, unrotated)


def tables(count: int, start: float = 0) -> tuple[Tensor, Tensor]:
    return ROTARY.tables((torch.arange(count) + start).expand(3, -1))


def write(cache: Cache, names: list[int]) -> None:
    """Append a token per name: the name is in every number of its keys and values."""
    cos, sin = tables(len(names), cache.length)
    for layer in range(LAYERS):
        named = torch.tensor(names, dtype=cache.keys.dtype)[:, None, None]
        keys = named.expand(-1, HEADS, SIZE) + layer
        cache.extend(layer, cache.length, keys, rotate(keys, cos, sin), -keys)
    cache.length += len(names)


def put(cache: Cache, at: int, names: list[int]) -> None:
    """Encode tokens where room was made for them."""
    cos, sin = tables(len(names), at)
    for layer in range(LAYERS):
        keys = torch.tensor(names, dtype=cache.keys.dtype)[:, None, None] + layer
        keys = keys.expand(-1, HEADS, SIZE)
        cache.extend(layer, at, keys, rotate(keys, cos, sin), -keys)


def addresses(cache: Cache) -> list[int]:
    return [plane.data_ptr() for plane in cache.planes]


def names_in(cache: Cache, plane: Tensor) -> list[float]:
    """What the tokens of a layer's plane are called, in their order."""
    return plane[cache.slots.tolist(), 0, 0].tolist()


def assert_holds(cache: Cache, held: list[int]) -> None:
    """All planes hold these tokens, each in a slot of its own and none behind the length."""
    assert sorted(cache.slots.tolist()) == list(range(len(held)))
    for layer in range(LAYERS):
        keys = cache.keys if cache.unrotated is None else cache.unrotated
        if cache.unrotated is not None:
            assert names_in(cache, keys[layer]) == [n + layer for n in held]
        assert names_in(cache, cache.values[layer]) == [-n - layer for n in held]


@given(data=st.data(), unrotated=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_story_of_growing_and_keeping_holds_what_a_list_would(data, unrotated):
    cache, held, fresh = cache_of(40, unrotated), [], iter(range(1, 10_000))
    before = addresses(cache)
    for _ in range(data.draw(st.integers(1, 8))):
        room = cache.capacity - cache.length
        added = [next(fresh) for _ in range(data.draw(st.integers(0, room)))]
        write(cache, added)
        held += added
        match data.draw(st.sampled_from(('keep', 'keep', 'settle', 'insert', 'nothing'))):
            case 'keep':
                marks = sorted(data.draw(st.sets(st.integers(0, len(held)), max_size=6)))
                spans = [range(a, b) for a, b in pairwise(marks)]
                spans = data.draw(st.permutations(spans[:: data.draw(st.sampled_from((1, 2)))]))
                tokens = [token for span in spans for token in span]
                front = data.draw(st.integers(0, len(tokens)))
                cache.keep(np.array(tokens, dtype=np.int64), front)
                held = [held[token] for token in tokens]
                assert sorted(cache.slots[:front].tolist()) == list(range(front))
            case 'settle':
                count = data.draw(st.integers(0, len(held)))
                cache.settle(count)
                assert cache.slots[:count].tolist() == list(range(count))
            case 'insert':
                at = data.draw(st.integers(0, len(held)))
                count = data.draw(st.integers(0, cache.capacity - len(held)))
                cache.insert(at, count)
                assert cache.slots[: at + count].tolist() == list(range(at + count))
                put(cache, at, made := [next(fresh) for _ in range(count)])
                held[at:at] = made
        assert cache.length == len(held)
        assert_holds(cache, held)
    assert addresses(cache) == before


def test_a_round_moves_no_more_than_it_forgets():
    cache = cache_of(64)
    write(cache, list(range(1, 61)))
    for name in range(61, 100):
        before, length = cache.values.clone(), cache.length
        cache.keep(np.array([*range(4), *range(9, length)]), 4)  # a sink of four, five leave
        write(cache, [name] * 5)
        changed = (cache.values != before).flatten(2).any(2).sum(1)  # slots of each layer
        assert changed.max() <= 10  # those that moved and those that are new


def test_a_cache_that_has_no_room_to_move_is_as_it_was(monkeypatch):
    cache = cache_of(40)
    write(cache, list(range(1, 31)))
    held, picked = list(range(1, 31)), []

    def full(*given):
        picked.append(given)
        if len(picked) == 2:  # the second plane
            raise torch.OutOfMemoryError
        return index_select(*given)

    index_select = Tensor.index_select
    monkeypatch.setattr(Tensor, 'index_select', full)
    with pytest.raises(torch.OutOfMemoryError):
        cache.keep(np.arange(10, 30), 5)
    monkeypatch.undo()
    assert_holds(cache, held)


def test_settling_takes_a_batch_at_a_time(monkeypatch):
    monkeypatch.setattr('svlm_core.cache.SWAPPED', 3)
    cache = cache_of(40)
    write(cache, list(range(1, 31)))
    order = np.random.default_rng(0).permutation(30)
    cache.keep(order, 0)
    assert cache.slots.tolist() == order.tolist()
    cache.settle(17)
    assert cache.slots[:17].tolist() == list(range(17))
    assert_holds(cache, [1 + token for token in order])


def test_text_that_is_rotated_anew_comes_to_the_front_and_what_stood_there_makes_room():
    cache = cache_of(64)
    write(cache, held := list(range(1, 61)))
    for name in range(61, 120, 3):
        # Of text the oldest leaves, and so do two of the first round; its third joins the text.
        tokens = [0, 1, *range(3, 10), 12, *range(13, cache.length)]
        cache.keep(np.array(tokens), 10)
        held = [held[token] for token in tokens]
        write(cache, [name, name + 1, name + 2])
        held += [name, name + 1, name + 2]
        assert sorted(cache.slots[:10].tolist()) == list(range(10))
        assert_holds(cache, held)


@pytest.mark.parametrize('at_once', [1, 8, 8192])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('count', [7, 18])
def test_turned_keys_are_rotations_of_the_unrotated_ones_and_the_rest_is_left_alone(
    count, dtype, at_once, monkeypatch
):
    monkeypatch.setitem(TURNED, 'cpu', at_once)
    cache = cache_of(30, dtype=dtype)
    write(cache, list(range(1, 21)))
    cache.keep(np.array([*range(5), 6, 7, *range(9, 20)]), 7)
    before = cache.keys.clone()
    cache.turn(*tables(count, 100))
    assert cache.unrotated is not None
    for layer in range(LAYERS):
        again = rotate(cache.unrotated[layer, :count], *tables(count, 100))
        torch.testing.assert_close(cache.keys[layer, :count], again, atol=0, rtol=0)
    assert torch.equal(cache.keys[:, count:], before[:, count:])
    assert not torch.equal(cache.keys[:, :count], before[:, :count])


def test_the_keys_of_a_head_lie_one_after_the_other():
    for plane in cache_of(30).planes:
        assert plane[0, :, 0].is_contiguous()


def test_hundreds_of_evictions_leave_bf16_keys_as_if_they_were_rotated_once():
    torch.manual_seed(0)
    cache = cache_of(64, dtype=torch.bfloat16)
    write(cache, list(range(1, 33)))
    cache.unrotated[:, :32].normal_()
    sink = cache.unrotated[:, cache.slots[:8]].clone()
    for second in range(600):
        cache.keep(np.array([*range(8), *range(12, 32)]), 8)
        write(cache, [1, 2, 3, 4])
        start = second % 7  # what stays is laid somewhere else each time
        cos, sin = tables(32, start)
        cache.turn(*(table[np.argsort(cache.slots[:32])] for table in (cos, sin)))
    assert torch.equal(cache.unrotated[:, cache.slots[:8]], sink)
    for layer in range(LAYERS):
        once = rotate(cache.unrotated[layer, cache.slots[:32]], cos, sin)
        assert torch.equal(cache.keys[layer, cache.slots[:32]], once)


def test_native_keys_keep_the_rotation_they_came_with():
    cache = cache_of(20, unrotated=False)
    write(cache, list(range(1, 11)))
    rotated = cache.keys[:, :10].clone()
    cache.keep(np.array([0, 1, 5, 6, 7, 8, 9]), 2)
    cache.turn(*tables(7))
    assert torch.equal(cache.keys[:, cache.slots], rotated[:, [0, 1, 5, 6, 7, 8, 9]])
    assert len(cache.planes) == len(cache_of(20).planes) - 1


def test_extend_returns_views_of_all_keys_and_values():
    cache = cache_of(12)
    write(cache, [1, 2, 3])
    new = torch.full((2, HEADS, SIZE), 7.0)
    keys, values = cache.extend(1, 3, new, new + 1, new + 2)
    assert keys.shape == values.shape == (5, HEADS, SIZE)
    assert keys.data_ptr() == cache.keys[1].data_ptr()
    assert values[3:].eq(9).all()
    assert keys[3:].eq(8).all()
    assert cache.unrotated[1, 3:5].eq(7).all()


@pytest.mark.parametrize('unrotated', [True, False])
def test_a_copy_holds_the_same_and_goes_its_own_way(unrotated):
    mine, theirs = cache_of(20, unrotated), cache_of(20, unrotated)
    write(theirs, [5, 6, 7])
    before = addresses(mine)
    theirs.keep(np.array([2, 0, 1]), 0)
    mine.fill(theirs.filled, theirs.slots)
    assert (mine.length, mine.slots.tolist()) == (3, [2, 0, 1])
    for ours, other in zip(mine.planes, theirs.planes, strict=True):
        assert torch.equal(ours[:, :3], other[:, :3])
    write(mine, [8])
    assert (mine.length, theirs.length) == (4, 3)
    assert theirs.values[:, 3].eq(0).all()
    assert addresses(mine) == before


def test_bytes_count_every_plane():
    cache = cache_of(10, dtype=torch.bfloat16)
    plane = LAYERS * 10 * HEADS * SIZE * 2
    assert cache.bytes == 3 * plane


def test_a_memory_for_which_there_is_no_room_is_refused_in_one_line():
    with pytest.raises(MemoryFull, match=r'cpu has no room for a memory of 10{15} tokens'):
        cache_of(10**15)
