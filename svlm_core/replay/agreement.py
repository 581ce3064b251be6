# SPDX-License-Identifier: Apache-2.0
"""How far two commentaries on the same seconds agree: in words, in whole texts, in silence."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

Texts = Mapping[int, str]  # number of the round -> what was said in it, '' for silence


@dataclass(frozen=True)
class Agreement:
    """Rates from 0 to 1; None where there is nothing to divide by.

    `rounds` are those that both commentaries cover. `exact` is the share of them with the same
    words in the same order (silence in both included), `silence` the share where both speak or
    both are silent. A word is matched by the same word at most `tolerance` rounds away, each word
    once. `per_round` is the F1 of every round, None where both are silent.
    """

    rounds: int
    tolerance: int
    words: int
    reference_words: int
    precision: float | None
    recall: float | None
    f1: float | None
    exact: float | None
    silence: float | None
    per_round: dict[int, float | None]


def agreement(said: Texts, reference: Texts, tolerance: int = 1) -> Agreement:
    """Compare what was said with a reference, on the rounds that both cover."""
    common = sorted(said.keys() & reference.keys())
    ours = {number: words(said[number]) for number in common}
    theirs = {number: words(reference[number]) for number in common}
    matched_ours, matched_theirs = match(ours, theirs, tolerance)
    total, wanted = _size(ours), _size(theirs)
    matched = sum(matched_ours.values())
    exact = sum(ours[number] == theirs[number] for number in common)
    silence = sum(bool(ours[number]) == bool(theirs[number]) for number in common)
    return Agreement(
        rounds=len(common),
        tolerance=tolerance,
        words=total,
        reference_words=wanted,
        precision=_share(matched, total),
        recall=_share(matched, wanted),
        f1=_share(2 * matched, total + wanted),
        exact=_share(exact, len(common)),
        silence=_share(silence, len(common)),
        per_round={
            number: _share(
                matched_ours[number] + matched_theirs[number],
                len(ours[number]) + len(theirs[number]),
            )
            for number in common
        },
    )


def words(text: str) -> list[str]:
    """The words of a text, in any script, without case and punctuation."""
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def match(
    ours: Mapping[int, list[str]], theirs: Mapping[int, list[str]], tolerance: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Words of each round that find a partner, on both sides; as many pairs as there can be."""
    found_ours: dict[int, int] = defaultdict(int)
    found_theirs: dict[int, int] = defaultdict(int)
    left, right = _places(ours), _places(theirs)
    for word in left.keys() & right.keys():
        a, b = left[word], right[word]
        i = j = 0
        while i < len(a) and j < len(b):  # in order of time, the nearest first is the best
            if abs(a[i] - b[j]) <= tolerance:
                found_ours[a[i]] += 1
                found_theirs[b[j]] += 1
                i, j = i + 1, j + 1
            elif a[i] < b[j]:
                i += 1
            else:
                j += 1
    return found_ours, found_theirs


def _places(texts: Mapping[int, list[str]]) -> dict[str, list[int]]:
    """The rounds in which each word is said, in order, once for each time."""
    places: dict[str, list[int]] = defaultdict(list)
    for number in sorted(texts):
        for word in texts[number]:
            places[word].append(number)
    return places


def _size(texts: Mapping[int, list[str]]) -> int:
    return sum(map(len, texts.values()))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
