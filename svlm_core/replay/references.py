# SPDX-License-Identifier: Apache-2.0
"""Commentary to compare a replay with: a caption topic of the bag, or a JSONL, VTT or SRT file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from svlm_core.errors import OutputError, SourceError
from svlm_core.records import Kind, Record
from svlm_core.timeline import lines_of

if TYPE_CHECKING:
    from svlm_core.bags.reader import Bag

_CLOCK = r'(?:(\d+):)?(\d{1,2}):(\d\d)[.,](\d{1,3})'
_TIMES = re.compile(rf'^\s*{_CLOCK}\s+-->\s+{_CLOCK}')
COMMENTARY: dict[int, Kind] = {0: 'caption', 3: 'silence'}  # in a message and in a record
EARLY = 1e-3  # seconds; clocks in files are rounded


@dataclass(frozen=True)
class Cue:
    """What was said from `start` to `end`, in seconds of the reference's own clock."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Reference:
    """A commentary, on the clock of the bag, on one that is 0 at its beginning, or on either.

    `complete`: it says when it was silent, so it covers only the rounds that it names.
    """

    name: str
    cues: tuple[Cue, ...]
    clocks: tuple[Literal['bag', 'stream'], ...]
    complete: bool

    def texts(self, origin: float, seconds: float, rounds: set[int]) -> dict[int, str]:
        """What it says in each of `rounds` of `seconds` each; `origin`: stream 0 on the bag clock.

        A cue of several rounds is spread over them, word by word.
        """
        begins = {'bag': origin, 'stream': 0.0}
        laid = [self._laid(begins[clock], seconds, rounds) for clock in self.clocks]
        return max(laid, key=len)

    def _laid(self, begin: float, seconds: float, rounds: set[int]) -> dict[int, str]:
        said: dict[int, list[str]] = {} if self.complete else {number: [] for number in rounds}
        for cue in self.cues:
            first = int((cue.start - begin + EARLY) // seconds)
            last = max(first, int((cue.end - begin - EARLY) // seconds))
            parts, count = cue.text.split(), last - first + 1
            for step in range(count):
                share = parts[step * len(parts) // count : (step + 1) * len(parts) // count]
                said.setdefault(first + step, []).extend(share)
        return {number: ' '.join(parts) for number, parts in said.items() if number in rounds}


def read_reference(name: str, bag: Bag) -> Reference:
    """The file, or else the topic of `bag`, of that name. Raises SourceError for neither."""
    path = Path(name)
    if not path.is_file():
        return _topic(name, bag)
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'reference {path} cannot be read: {error}') from error
    if path.suffix == '.jsonl':
        return _jsonl(path, text)
    if path.suffix in ('.vtt', '.srt'):
        cues = tuple(_cues(text, escaped=path.suffix == '.vtt'))
        if not cues:
            raise SourceError(f'reference {path} holds no captions')
        return Reference(name, cues, clocks=('stream',), complete=False)
    raise SourceError(f'reference {path}: give a .jsonl, .vtt or .srt file, or a topic of the bag')


def _topic(name: str, bag: Bag) -> Reference:
    from svlm_core.bags.types import CAPTION, SECOND, nanoseconds

    topic = bag.topic(name)
    if topic is None or topic.type != CAPTION:
        held = ', '.join(topic.name for topic in bag.topics if topic.type == CAPTION) or 'none'
        raise SourceError(
            f'reference {name} is neither a file nor a topic of type {CAPTION} in the bag; '
            f'it holds {held}'
        )
    last: dict[int, Cue] = {}
    with suppress(SourceError):  # damage of the bag is told when its images are read
        for message in bag.messages(topic):
            caption = message.content
            if caption is None or not caption.done or caption.kind not in COMMENTARY:
                continue
            start = nanoseconds(caption.window_start) / SECOND
            last[caption.sequence] = Cue(start, start, caption.text)
    return Reference(name, tuple(last.values()), clocks=('bag',), complete=True)


def _jsonl(path: Path, text: str) -> Reference:
    cues = []
    for number, line in enumerate(lines_of(text), 1):
        try:
            record = Record.from_json(line)
        except OutputError as error:
            raise SourceError(f'reference {path}, line {number}: {error}') from error
        if record.done and record.kind in COMMENTARY.values():
            cues.append(Cue(record.window_start, record.window_start, record.text))
    if not cues:
        raise SourceError(f'reference {path} holds no captions')
    # `svlm replay` writes the clock of the bag, `svlm caption` that of a video.
    return Reference(str(path), tuple(cues), clocks=('bag', 'stream'), complete=True)


def _cues(text: str, *, escaped: bool) -> Iterator[Cue]:
    """The cues of a WebVTT (`escaped`) or SubRip file."""
    for block in re.split(r'\n\s*\n', text.replace('\r\n', '\n')):
        lines = block.strip().split('\n')
        for index, line in enumerate(lines):
            if times := _TIMES.match(line):
                said = re.sub(r'<[^>]*>', '', ' '.join(lines[index + 1 :]))
                values = times.groups()
                yield Cue(
                    _seconds(values[:4]), _seconds(values[4:]), unescape(said) if escaped else said
                )
                break


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or '0' for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, '0')) / 1e3
