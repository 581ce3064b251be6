# SPDX-License-Identifier: Apache-2.0
"""Rounds of a file are known ahead, and what goes wrong ahead does not come early."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from svlm_core.commands.sessions import in_pairs
from svlm_core.errors import SourceError


def test_every_round_comes_with_the_next():
    assert list(in_pairs(iter('abc'))) == [('a', 'b'), ('b', 'c'), ('c', None)]
    assert list(in_pairs(iter(''))) == []


def test_a_round_before_a_damage_is_told_before_the_damage():
    def damaged() -> Iterator[str]:
        yield from 'ab'
        raise SourceError('torn')

    pairs = in_pairs(damaged())
    assert [next(pairs), next(pairs)] == [('a', 'b'), ('b', None)]
    with pytest.raises(SourceError, match='torn'):
        next(pairs)
