# SPDX-License-Identifier: Apache-2.0
"""An exam: a model tells the synthetic world, and every second of it is marked.

There are two kinds. With gold history each reply is replaced by the true one before the stream
goes on, so every second is judged on its own. Running free, the model lives with what it said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from svlm_core.synthetic.captions import SILENCE, Meaning, meaning
from svlm_core.synthetic.story import Story

if TYPE_CHECKING:
    from svlm_core.stream import Stream


class Spent(Protocol):
    """What a second cost, whoever told it; fields as in `Mark`."""

    @property
    def second(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def encoded(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def spent(self) -> float: ...


@dataclass(frozen=True)
class Mark:
    """How a second of a world was told: what is true, what was said, and what it cost.

    With gold history `said` has the first choice for each word, given the true ones before it.
    """

    second: int
    skill: str
    truth: Meaning
    said: str
    held: int  # tokens in memory afterwards, and brought back into it
    encoded: int  # tokens that went through the model for it
    tokens: int = 0  # of the reply
    spent: float = field(default=0.0, compare=False)  # seconds of computing

    @property
    def meant(self) -> Meaning | None:
        """What was said, as far as it is a sentence of the world."""
        return meaning(self.said)

    @property
    def right(self) -> bool:
        """Whether what was said means what is true."""
        return self.meant == self.truth


def with_gold_history(
    stream: Stream, story: Story, seconds: Iterable[int], task: str
) -> Iterator[Mark]:
    """Mark `seconds` of a world, each told with the true captions before it in memory.

    `stream` is at the first of them; `task` is the query by which the truth is told. Raises as
    `Stream.force` does.
    """
    words = stream.prompt.tokenizer
    ends = {words.turn_end, words.terminator}
    for index in seconds:
        told = story.second(index).told(task)
        scores = stream.force(story.frames(index), float(index), told)  # (n, vocabulary)
        first = scores.argmax(-1).tolist()
        end = next((n for n, token in enumerate(first) if token in ends), len(first))
        yield _mark(stream, story, index, task, words.decode(first[:end]).strip())


def running_free(
    stream: Stream, story: Story, seconds: Iterable[int], task: str
) -> Iterator[Mark]:
    """Mark `seconds` of a world as the model tells them by itself."""
    for index in seconds:
        caption = stream.step(story.frames(index), float(index))
        yield _mark(stream, story, index, task, caption.text)


def _mark(stream: Stream, story: Story, index: int, task: str, said: str) -> Mark:
    now = story.second(index)
    told = bool(now.told(task))
    truth = now.meaning if told else SILENCE
    return Mark(
        second=index,
        skill=now.skill if told else SILENCE.sentence,
        truth=truth,
        said=said,
        **effort_of(stream),
    )


def effort_of(stream: Stream) -> dict[str, Any]:
    """What the newest round of a stream cost: fields of `Spent`, but for its second."""
    last = stream.last
    assert last is not None
    return {
        'held': stream.held + stream.recalled,
        'encoded': stream.held - stream.reused,
        'tokens': len(last.ids),
        'spent': sum(last.seconds.values()),
    }
