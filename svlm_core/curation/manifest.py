# SPDX-License-Identifier: Apache-2.0
"""What has been done to which video: a line of JSON for each, in a file that is always whole.

A shard of the videos has a manifest of its own, `manifest.2-of-4.jsonl`, until it is merged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from svlm_core.errors import OutputError, SettingsError, SvlmError
from svlm_core.shapes import Misfit, Number, Table, Text
from svlm_core.timeline import lines_of, write_lines

NAME = 'manifest.jsonl'


class CurationError(SvlmError):
    """A step of curation cannot be taken, as things stand in its folder."""


@dataclass(frozen=True)
class Entry:
    """What a stage has made of a video.

    `settings`, `code`, `input` and `output` are digests, the first two of what is to be read in
    full beside (`accounts.py`); `left_out` says why the video goes no further, and is empty where
    it does.
    """

    settings: str
    code: str
    input: str
    output: str
    left_out: str
    counts: dict[str, float]


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count` parts; the name of a video decides which it belongs to."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2/4`. Raises SettingsError."""
        found = re.fullmatch(r'(\d+)/(\d+)', text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise SettingsError(f'--shard {text!r}: give i/n with i from 1 to n, as 2/4')
        return cls(number, count)

    def holds(self, name: str) -> bool:
        """Whether a video is of this shard."""
        return int(digest(name)[:12], 16) % self.count == self.number - 1

    def part(self, name: str) -> str:
        """The name of its part of a file: of manifest.jsonl, manifest.2-of-4.jsonl."""
        stem, dot, ending = name.rpartition('.')
        return name if self.count == 1 else f'{stem}.{self.number}-of-{self.count}{dot}{ending}'


_ENTRY = Table(
    {
        'settings': Text(),
        'code': Text(),
        'input': Text(),
        'output': Text(),
        'left_out': Text(),
        'counts': Table({}),
    },
    closed=True,
)
_ROW = Table({'video': Text(filled=True), 'stages': Table({})}, closed=True)


class Manifest:
    """The entries of all stages, by video and stage. Methods raise OutputError.

    A shard begins with what the manifest of all videos has of its own.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        shard = shard or Shard()
        self.path = folder / shard.part(NAME)
        self._entries = {
            name: stages for name, stages in _read(folder / NAME).items() if shard.holds(name)
        }
        if shard.count > 1:
            self._entries.update(_read(self.path))

    def __getitem__(self, name: str) -> dict[str, Entry]:
        """What has been done to a video, by stage."""
        return dict(self._entries.get(name, {}))

    def record(self, name: str, stage: str, entry: Entry) -> None:
        """Add an entry, and bring the file to the disk."""
        self._entries.setdefault(name, {})[stage] = entry
        self.write()

    def write(self) -> None:
        write_lines(self.path, _rows(self._entries))


def merge(folder: Path) -> tuple[int, int]:
    """Make one manifest of those of all shards; how many there were, and of how many videos.

    Raises CurationError when there is none, or when two have done different things to a video.
    """
    found = shards(folder)
    if not found:
        raise CurationError(f'{folder} holds no manifest of a shard')
    merged = Manifest(folder)
    entries, known = merged._entries, dict[tuple[str, str], Path]()
    for part in found:
        for name, stages in _read(part).items():
            for stage, entry in stages.items():
                other = known.setdefault((name, stage), part)
                if other is not part and entries[name][stage] != entry:
                    raise CurationError(
                        f'{other.name} and {part.name} differ in stage {stage} of {name}: remove '
                        'the one that is out of date'
                    )
                entries.setdefault(name, {})[stage] = entry
    merged.write()
    for part in found:
        part.unlink()
    return len(found), len(entries)


def shards(folder: Path) -> list[Path]:
    """The manifests of shards that have not been merged."""
    return parts(folder, NAME)


def parts(folder: Path, name: str) -> list[Path]:
    """The parts of a file that shards have left in a folder."""
    stem, dot, ending = name.rpartition('.')
    return sorted(folder.glob(f'{stem}.*-of-*{dot}{ending}'))


def digest(content: Any) -> str:
    """A short name for some JSON: another content, another name."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]


def _rows(entries: dict[str, dict[str, Entry]]) -> Iterator[dict[str, Any]]:
    for name in sorted(entries):
        stages = {stage: asdict(entry) for stage, entry in sorted(entries[name].items())}
        yield {'video': name, 'stages': stages}


def _read(path: Path) -> dict[str, dict[str, Entry]]:
    """The entries in a file; none where there is no file."""
    try:
        lines = lines_of(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f'{path} cannot be read: {error}') from error
    entries: dict[str, dict[str, Entry]] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            _ROW.check(row)
            for stage, entry in row['stages'].items():
                _ENTRY.check(entry, f'stages.{stage}')
                for name, count in entry['counts'].items():
                    Number().check(count, f'stages.{stage}.counts.{name}')
        except (Misfit, ValueError) as error:
            raise CurationError(f'{path} line {number}: {error}') from error
        entries[row['video']] = {name: Entry(**entry) for name, entry in row['stages'].items()}
    return entries
