# SPDX-License-Identifier: Apache-2.0
"""One question about a video, the same for every benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal['choice', 'count', 'yes_no', 'output']  # what an answer looks like

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


@dataclass(frozen=True)
class Question:
    """What is asked of a video, when, and what is right.

    It may be answered from seconds `start` to `end` of the video (None: to its end). `answer` is
    a letter of the `options`, a number, Yes or No, or words to say; None where it is a secret.
    `tags` are all other fields of the official file. Some questions have more to them: `asked`,
    the second from which on the user waits for the answer; `due`, the second at which words are
    to be said; `history`, questions before it with their answers; `subtitles`, a file of them. A
    folder of images is shown at `image_fps`.
    """

    id: str
    task: str
    video: Path
    text: str
    answer: str | None
    options: tuple[str, ...] = ()
    kind: Kind = 'choice'
    start: float = 0.0
    end: float | None = None
    asked: float | None = None
    due: float | None = None
    history: str = ''
    subtitles: Path | None = None
    image_fps: float = 3.0
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def letters(self) -> str:
        """The letters of its options."""
        return LETTERS[: len(self.options)]

    def lettered(self, form: str = '{}. {}') -> list[str]:
        """Its options behind their letters."""
        return [form.format(*pair) for pair in zip(self.letters, self.options, strict=True)]


def unlettered(options: Sequence[str]) -> tuple[str, ...]:
    """Options without the letters that some files put before them."""
    if not options[0].startswith('A.'):
        return tuple(options)
    return tuple(re.sub(r'^[A-Z]\.\s*', '', option) for option in options)
