# SPDX-License-Identifier: Apache-2.0
"""The planes of keys and values: they never move, and hold what a plain list would hold."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from svlm_core.cache import Cache
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


def addresses(cache: Cache) -> list[int]:
    return [plane.data_ptr() for plane in cache.planes]


def names_in(plane: Tensor, length: int) -> list[int]:
    return plane[:length, 0, 0].tolist()


@given(data=st.data(), unrotated=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_story_of_growing_and_gathering_holds_what_a_list_would(data, unrotated):
    cache, held, fresh = cache_of(40, unrotated), [], iter(range(1, 10_000))
    before = addresses(cache)
    for _ in range(data.draw(st.integers(1, 8))):
        room = cache.capacity - cache.length
        added = [next(fresh) for _ in range(data.draw(st.integers(0, room)))]
        write(cache, added)
        held += added
        marks = sorted(data.draw(st.sets(st.integers(0, len(held)), max_size=6)))
        kept = [range(a, b) for a, b in pairwise(marks)]
        spans = data.draw(st.permutations(kept[:: data.draw(st.sampled_from((1, 2)))]))
        first = cache.gather(spans)
        wanted = [held[i] for span in spans for i in span]
        assert first <= len(wanted)
        assert wanted[:first] == held[:first]
        held = wanted
        assert cache.length == len(held)
        for layer in range(LAYERS):
            keys = cache.keys if cache.unrotated is None else cache.unrotated
            if cache.unrotated is not None:
                assert names_in(keys[layer], cache.length) == [n + layer for n in held]
            assert names_in(cache.values[layer], cache.length) == [-n - layer for n in held]
    assert addresses(cache) == before


def test_relayed_keys_are_rotations_of_the_unrotated_ones_and_the_rest_is_left_alone():
    cache = cache_of(30)
    write(cache, list(range(1, 21)))
    assert cache.gather([range(5), range(9, 20), range(6, 8)]) == 5
    untouched = cache.keys[:, :5].clone()
    cos, sin = tables(18)
    cache.relay(5, cos[5:], sin[5:])
    assert cache.unrotated is not None
    for layer in range(LAYERS):
        again = rotate(cache.unrotated[layer, :18], cos, sin)
        torch.testing.assert_close(cache.keys[layer, :18], again, atol=0, rtol=0)
    assert torch.equal(cache.keys[:, :5], untouched)


def test_hundreds_of_evictions_leave_bf16_keys_as_if_they_were_rotated_once():
    torch.manual_seed(0)
    cache = cache_of(64, dtype=torch.bfloat16)
    write(cache, list(range(1, 33)))
    cache.unrotated[:, :32].normal_()
    sink = cache.unrotated[:, :8].clone()
    for second in range(600):
        cache.gather([range(8), range(12, 32)])
        write(cache, [1, 2, 3, 4])
        start = second % 7  # what stays is laid somewhere else each time
        cache.relay(0, *tables(32, start))
    assert torch.equal(cache.unrotated[:, :8], sink)
    for layer in range(LAYERS):
        once = rotate(cache.unrotated[layer, :32], *tables(32, start))
        assert torch.equal(cache.keys[layer, :32], once)


def test_native_keys_keep_the_rotation_they_came_with():
    cache = cache_of(20, unrotated=False)
    write(cache, list(range(1, 11)))
    rotated = cache.keys[:, :10].clone()
    cache.gather([range(2), range(5, 10)])
    cache.relay(0, *tables(7))
    assert torch.equal(cache.keys[:, :7], rotated[:, [0, 1, 5, 6, 7, 8, 9]])
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
    mine.fill(theirs.filled)
    assert mine.length == 3
    for ours, other in zip(mine.planes, theirs.planes, strict=True):
        if ours.dim() == 4:
            assert torch.equal(ours[:, :3], other[:, :3])
    write(mine, [8])
    assert (mine.length, theirs.length) == (4, 3)
    assert theirs.values[:, 3].eq(0).all()
    assert addresses(mine) == before


def test_bytes_count_every_plane():
    cache = cache_of(10, dtype=torch.bfloat16)
    plane = LAYERS * 10 * HEADS * SIZE * 2
    assert cache.bytes == 3 * plane + plane // LAYERS


def test_a_memory_for_which_there_is_no_room_is_refused_in_one_line():
    with pytest.raises(MemoryFull, match=r'cpu has no room for a memory of 10{15} tokens'):
        cache_of(10**15)
