# SPDX-License-Identifier: Apache-2.0
"""What a protocol is: which frames are shown, what is asked, and how an answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from svlm_core.evaluation.vqa.question import Question

if TYPE_CHECKING:
    from svlm_core.evaluation.vqa.answers import Answered

Name = Literal['paper', 'official']


@dataclass(frozen=True)
class Ask:
    """What the model is told: `before` and `text` stand before and behind the frames.

    The answer goes on from `begun`. With `choices` it is the one of them whose token is likeliest
    to come next; else it is at most `tokens` tokens, the likeliest each time.
    """

    text: str
    before: str = ''
    begun: str = ''
    choices: tuple[str, ...] = ()
    tokens: int = 16
    system: str = ''  # in place of the usual line


@dataclass(frozen=True)
class Frames:
    """How many frames of a stretch are shown at once, and which.

    `fps` of them a second, at most `most`; None: `most` of them, however long it is. They are
    spread from the first frame to the last, or each stands in the middle of its share.
    """

    most: int
    fps: float | None = None
    middles: bool = False

    def __str__(self) -> str:
        rate = f'{self.fps:g} fps, at most {self.most}' if self.fps else f'{self.most}'
        spread = 'middles of shares' if self.middles else 'first to last'
        return f'{rate}, {spread}'


@dataclass(frozen=True)
class Pixels:
    """Vision tokens of a pair of frames: between `low` and `high`, in all at most `total`.

    As Qwen2.5-VL's own tools have it, `low` goes before `total`.
    """

    low: int = 128
    high: int = 768
    total: int = 24576

    def most(self, frames: int) -> int:
        """Most vision tokens of a pair, of so many frames."""
        share = int(self.total / max(frames, 1) * 2)
        return min(self.high, max(share, int(self.low * 1.05)))

    def within(self, most: int) -> Pixels:
        """The same for a model that takes at most so many; fewer than `low` enlarge nothing."""
        return Pixels(self.low if self.low <= most else 1, min(self.high, most), self.total)

    def __str__(self) -> str:
        return f'{self.low} to {self.high} tokens a pair, {self.total} in all'


@dataclass(frozen=True)
class Reading:
    """What a rule reads in a response: `said` is empty where it finds no answer.

    `right` None leaves the question out of the count.
    """

    said: str
    right: bool | None


AskRule = Callable[[Question, Sequence[str]], Ask]  # the question, and lines of its subtitles
ScoreRule = Callable[[Question, str | None], Reading]  # None: it could not be asked


def from_its_start(question: Question, until: float | None) -> float:
    """All that a question has is shown."""
    return question.start


@dataclass(frozen=True)
class Rules:
    """One protocol of a benchmark.

    `begins` says from which second on frames are shown where they are shown at once, given the
    last one (None: the end). With `since_asked` nobody sees what was before the user asked.
    """

    frames: Frames
    ask: AskRule
    score: ScoreRule
    pixels: Pixels = Pixels()
    begins: Callable[[Question, float | None], float] = from_its_start
    since_asked: bool = False

    def first(self, question: Question) -> float:
        """The second of the video from which on a question may be answered."""
        asked = question.asked if self.since_asked else None
        return question.start if asked is None else max(question.start, asked)


class Load(Protocol):
    """Reads the official files in a folder. Raises SourceError for what is not as published."""

    def __call__(self, folder: Path, subtitles: bool) -> list[Question]: ...


# From the folder of the official files and the answers by question: what the authors' own scripts
# read, by the name of its file. Questions that nobody was asked are not in it.
Results = Callable[[Path, 'Mapping[str, Answered]'], Mapping[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its files, its protocols, and how its table is made up.

    `groups` name the tasks in them, and their value is the mean of these; the total is the mean
    of the groups, or of all questions where there are none. `breakdown` are tags that the table
    has lines for.
    """

    name: str
    load: Load
    rules: Mapping[str, Rules]
    files: Callable[[Path], list[Path]]
    results: Results
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    breakdown: tuple[str, ...] = ()
    subtitles: bool = False  # it has them
