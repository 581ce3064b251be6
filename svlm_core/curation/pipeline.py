# SPDX-License-Identifier: Apache-2.0
"""How a stage goes over the videos: what it needs, what it has done, and where to go on.

Every video has a product of every stage, a JSON file that appears when it is complete. A stage
does a video again only when its settings, or what the stage before has made of it, are different.
Products hold neither times of day nor places, so a run that was killed and resumed leaves the
same bytes as one that was not. Another version of the code does nothing again; which one made a
product is in the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svlm_core.curation.accounts import CODE, account_file, code, keep
from svlm_core.curation.manifest import CurationError, Entry, Manifest, Shard, digest, shards
from svlm_core.errors import SourceError
from svlm_core.timeline import as_line, make_folder, write_whole

FAILED = 'failed'  # counts the videos that a stage could make nothing of, each with its reason
VIDEOS = ('.mp4', '.mkv', '.webm', '.mov', '.avi', '.ts', '.m4v', '.flv', '.mpg', '.mpeg')


@dataclass(frozen=True)
class Product:
    """What a stage makes of a video; one that is `left_out` goes no further, and this says why."""

    content: Any
    counts: Mapping[str, float] = field(default_factory=dict)
    left_out: str = ''


def as_json(content: Any) -> str:
    """The text of a product."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + '\n'


def as_lines(rows: Any) -> str:
    """The text of a product that is a list, a line for each of it."""
    return ''.join(map(as_line, rows))


@dataclass(frozen=True)
class Stage:
    """A step of curation.

    `make` gets the name of a video and the product of the stage `after` (None for the first).
    `settings` are all that its product depends on besides these, `also` is further input by the
    name of a video. `text` is how a product is written, to a file with this `ending`. One that
    `computes` takes a GPU where there is one.
    """

    name: str
    after: str
    settings: Any
    make: Callable[[str, Any], Product]
    also: Callable[[str], str] = lambda name: ''
    text: Callable[[Any], str] = as_json
    ending: str = '.json'
    computes: bool = False


@dataclass(frozen=True)
class Tally:
    """How far a stage is: videos, those done just now, those left out, and what it `counted`."""

    stage: str
    videos: int
    done: int
    left_out: dict[str, str]
    counted: dict[str, Mapping[str, float]]  # of each video

    @property
    def counts(self) -> dict[str, float]:
        """What it counted in all videos together."""
        total = Counter[str]()
        for counts in self.counted.values():
            total.update(counts)
        return dict(total)

    @property
    def failed(self) -> int:
        """How many of those left out could not be read: they are tried again by the next run."""
        return int(self.counts.get(FAILED, 0))


@dataclass(frozen=True)
class Workplace:
    """Where videos are and where products go; `shard` is the part of the videos to work on."""

    videos: Path
    output: Path
    shard: Shard = field(default_factory=Shard)

    def names(self) -> list[str]:
        """The videos of the shard, as relative paths.

        Raises SourceError where there are none, and for a name that no file of ours could hold.
        """
        if not self.videos.is_dir():
            raise SourceError(f'{self.videos} is no folder of videos')
        every = sorted(
            path.relative_to(self.videos).as_posix()
            for path in self.videos.rglob('*')
            if is_video(path)
        )
        if not every:
            raise SourceError(f'{self.videos} holds no videos ({" ".join(VIDEOS)})')
        for name in every:
            if (told := name.encode('utf-8', 'replace').decode()) != name:
                raise SourceError(f'{self.videos}: the name of {told} is not in UTF-8: rename it')
        return [name for name in every if self.shard.holds(name)]

    def product(self, stage: str, name: str, ending: str = '.json') -> Path:
        """Where a stage leaves what it makes of a video."""
        return self.output / stage / f'{name}{ending}'

    def manifest(self) -> Manifest:
        """What has been done so far. Raises CurationError where shards wait to be merged."""
        make_folder(self.output)
        if self.shard.count == 1 and (waiting := shards(self.output)):
            raise CurationError(
                f'{waiting[0]} is the manifest of a shard: run `svlm curate merge {self.output}` '
                'when all shards are done'
            )
        return Manifest(self.output, self.shard)

    def codes(self) -> list[Path]:
        """The accounts of all versions of the code that made what is here; one, if all is well."""
        manifest = self.manifest()
        found = {entry.code for name in self.names() for entry in manifest[name].values()}
        return [account_file(self.output, CODE, one) for one in sorted(found)]

    def products(
        self, manifest: Manifest, stage: str, names: Sequence[str]
    ) -> Iterator[tuple[str, Any]]:
        """Name and product of every video that has come through a stage, in order.

        Raises CurationError for a video that has not been through it as things stand.
        """
        for name in names:
            entry = self.entry(manifest, stage, name)
            if entry is not None:
                yield name, self.load(stage, name, entry)

    def outputs(self, manifest: Manifest, stage: str, names: Sequence[str]) -> dict[str, str]:
        """The digests of all products of a stage, by name; empty for a video that was left out.

        Raises CurationError for a video that has not been through it as things stand.
        """
        entries = {name: self.entry(manifest, stage, name) for name in names}
        return {name: entry.output if entry else '' for name, entry in entries.items()}

    def entry(self, manifest: Manifest, stage: str, name: str) -> Entry | None:
        """What a stage has made of a video; None where it, or one before it, left it out.

        Raises CurationError for a video that has not been through it as things stand.
        """
        stages, fresh = manifest[name], ''
        for step in (*BEFORE[stage], stage):
            entry = stages.get(step)
            if entry is None or not entry.input.startswith(fresh):
                state = 'has not been through' if entry is None else 'has changed since'
                raise CurationError(f'{name} {state} {step}: run `svlm curate {step}`')
            if entry.left_out:
                return None
            fresh = entry.output
        return entry

    def load(self, stage: str, name: str, entry: Entry) -> Any:
        """The product that an entry speaks of. Raises CurationError where it is another one."""
        path = self.product(stage, name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CurationError(f'{path} cannot be read: {error.strerror}') from error
        if _digest(data) != entry.output:
            raise CurationError(f'{path} was changed: remove it, and run `svlm curate {stage}`')
        return json.loads(data)


# What a video has been through before it comes to a stage.
BEFORE: dict[str, tuple[str, ...]] = {
    'probe': (),
    'transcribe': ('probe',),
    'align': ('probe', 'transcribe'),
    'clean': ('probe', 'transcribe', 'align'),
    'chunk': ('probe', 'transcribe', 'align', 'clean'),
    'anneal': ('probe', 'transcribe', 'align', 'clean'),
}


# What is to be made: by name, what the stage before has made of the video.
Waiting = Mapping[str, Entry | None]
Maker = Callable[[Stage, Workplace, Waiting], Iterator[tuple[str, Product]]]


def here(stage: Stage, place: Workplace, waiting: Waiting) -> Iterator[tuple[str, Product]]:
    """Make one product after the other in this process."""
    for name, before in waiting.items():
        yield name, make(stage, place, name, before)


def make(stage: Stage, place: Workplace, name: str, before: Entry | None) -> Product:
    """What a stage makes of a video; one of which something cannot be read is left out as failed.

    Raises CurationError, and what the stage raises besides SourceError.
    """
    product = place.load(stage.after, name, before) if before else None
    try:
        return stage.make(name, product)
    except SourceError as error:
        reason = str(error).replace(f'{place.videos}/', '')  # the same on every machine
        return Product([], {FAILED: 1}, reason)


def run_stage(
    stage: Stage,
    place: Workplace,
    moved: Callable[[int, str], None] = lambda done, name: None,
    maker: Maker = here,
) -> Tally:
    """Take every video of the shard through a stage; `moved` is told how many are done.

    `maker` makes what is missing, or failed, in any order. Raises CurationError for a video that
    has not been through the stage before, and what the stage raises. What was done by then stays
    done.
    """
    manifest, names = place.manifest(), place.names()
    settings, waiting, sources = digest(stage.settings), dict[str, Entry | None](), {}
    for name in names:
        before = place.entry(manifest, stage.after, name) if stage.after else None
        if stage.after and before is None:
            continue
        # The output of the stage before comes first: `entry` compares it.
        sources[name] = f'{before.output if before else ""}{_also(stage, name)}'
        entry = manifest[name].get(stage.name)
        path = place.product(stage.name, name, stage.ending)
        if not (_same(entry, settings, sources[name]) and _is_on_disk(path, entry)):
            waiting[name] = before
    made_by = ''
    if waiting:
        keep(place.output, stage.name, stage.settings)
        made_by = keep(place.output, CODE, code())
    done = len(names) - len(waiting)
    moved(done, next(iter(waiting), ''))
    for number, (name, product) in enumerate(maker(stage, place, waiting), 1):
        output = _write(place.product(stage.name, name, stage.ending), stage.text(product.content))
        counts = dict(product.counts)
        entry = Entry(settings, made_by, sources[name], output, product.left_out, counts)
        manifest.record(name, stage.name, entry)
        moved(done + number, name)
    entries = {name: manifest[name][stage.name] for name in sources}
    left_out = {name: entry.left_out for name, entry in entries.items() if entry.left_out}
    counted: dict[str, Mapping[str, float]] = {name: of.counts for name, of in entries.items()}
    return Tally(stage.name, len(names), len(waiting), left_out, counted)


def is_video(path: Path) -> bool:
    """Whether a path is a file that is called like a video."""
    return path.suffix.lower() in VIDEOS and path.is_file()


def fingerprint(path: Path) -> str:
    """A short name for the content of a large file: its size, its beginning and its end."""
    edge = 1 << 20
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            head = file.read(edge)
            file.seek(max(0, size - edge))
            tail = file.read(edge)
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    return hashlib.sha256(b'%d ' % size + head + tail).hexdigest()[:24]


def _also(stage: Stage, name: str) -> str:
    """The further input of a video; where it cannot be read, `make` will say why."""
    try:
        return stage.also(name)
    except SourceError:
        return 'unreadable'


def _same(entry: Entry | None, settings: str, source: str) -> bool:
    """Whether a video has been through a stage as things stand."""
    if entry is None or FAILED in entry.counts:
        return False
    return (entry.settings, entry.input) == (settings, source)


def _is_on_disk(path: Path, entry: Entry | None) -> bool:
    return entry is not None and path.is_file() and _digest(path.read_bytes()) == entry.output


def _write(path: Path, text: str) -> str:
    make_folder(path.parent)
    write_whole(path, text)
    return _digest(text.encode('utf-8'))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
