# SPDX-License-Identifier: Apache-2.0
"""Read one topic of a bag, whole or damaged.

Damage is not hidden, and it costs no more than it must: every message that can be read comes
first, then SourceError tells in one line what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import apsw
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError

from svlm_core.bags.salvage import Topics, TornMcap, TornSqlite, ends_within_a_page
from svlm_core.bags.types import IMAGES, SECOND, typestore
from svlm_core.errors import SourceError
from svlm_core.natural import natural

SUFFIXES = ('.mcap', '.db3')


@dataclass(frozen=True)
class Topic:
    """A topic of a bag; `count` messages of it, None where damage keeps that unknown."""

    name: str
    type: str
    count: int | None


@dataclass(frozen=True, eq=False)
class Message:
    """A message, and when the recorder received it (ns); `content` None: it cannot be read."""

    received: int
    content: Any | None


class Storage(Protocol):
    """A file or folder of a bag that is open."""

    topics: Topics

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Receive time (ns) and data in order. Raises SourceError behind the last good one."""

    def close(self) -> None: ...


class Bag(AbstractContextManager['Bag']):
    """A bag to read from; see `open_bag`. `files` are those that hold its data.

    `notes` are oddities that cost no message.
    """

    def __init__(self, path: Path, files: tuple[Path, ...]) -> None:
        self.path, self.files = path, files
        self.notes: list[str] = []
        self._damage: list[str] = []
        self._storages: list[Storage] = []
        self._open = ExitStack()
        try:
            self._add(_Whole(path, files))
        except SourceError:
            self._salvage()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics, by name."""
        found: dict[str, Topic] = {}
        for name, kind, count in (row for storage in self._storages for row in storage.topics):
            before = found.get(name, Topic(name, kind, 0)).count
            total = None if count is None or before is None else before + count
            found[name] = Topic(name, kind, total)
        return tuple(found[name] for name in sorted(found))

    def topic(self, name: str) -> Topic | None:
        """The topic of that name, if the bag has it."""
        return next((topic for topic in self.topics if topic.name == name), None)

    def image_topic(self, name: str | None = None) -> Topic:
        """The image topic of that name; without one, the only image topic with messages.

        Raises SourceError when there is none, or several and no name.
        """
        images = [topic for topic in self.topics if topic.type in IMAGES]
        listed = ', '.join(topic.name for topic in images)
        if not images:
            others = ', '.join(f'{topic.name} ({topic.type})' for topic in self.topics)
            raise SourceError(f'{self.path} holds no image topic; it holds {others or "nothing"}')
        if name is not None:
            chosen = [topic for topic in images if topic.name == name]
            if not chosen:
                raise SourceError(f'{self.path} holds no image topic {name}: choose from {listed}')
        else:
            chosen = [topic for topic in images if topic.count != 0] or images
        if len(chosen) > 1:
            raise SourceError(
                f'{self.path} holds several image topics: name one with --topic: {listed}'
            )
        if chosen[0].count == 0:
            raise SourceError(f'{self.path} holds no messages on {chosen[0].name}')
        return chosen[0]

    def messages(self, topic: Topic) -> Iterator[Message]:
        """The messages of a topic in order. Raises SourceError behind the last good one."""
        damage = list(self._damage)
        count, unreadable, first, last = 0, 0, 0, 0
        for received, data in self._data(topic.name, damage):
            content = _content(data, topic.type)
            first, last = (received, received) if not count else (first, received)
            count, unreadable = count + 1, unreadable + (content is None)
            yield Message(received, content)
        if unreadable:
            damage.append(f'{unreadable} of {count} messages are cut short')
        if damage:
            raise SourceError(
                f'{self.path}: {"; ".join(damage)}: {count - unreadable} messages of '
                f'{topic.name} can be read, up to {(last - first) / SECOND:.1f} s after the first'
            )

    def _data(self, topic: str, damage: list[str]) -> Iterator[tuple[int, bytes]]:
        """All that can be read; what is wrong is added to `damage`."""
        last = -1
        for storage in self._storages:
            try:
                for last, data in storage.messages(topic):
                    yield last, data
            except SourceError as error:
                damage.append(str(error))
                yield from self._rest(topic, last)

    def _rest(self, topic: str, last: int) -> Iterator[tuple[int, bytes]]:
        """What salvage finds behind the message received at `last`, where rosbags gave up."""
        for file in self.files:
            with suppress(SourceError), closing(_torn(file)) as torn:
                yield from (row for row in torn.messages(topic) if row[0] > last)

    def close(self) -> None:
        """Let go of all files."""
        self._open.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, storage: Storage) -> None:
        self._open.callback(storage.close)
        self._storages.append(storage)

    def _salvage(self) -> None:
        """Open file by file what cannot be opened as one; SourceError when nothing can."""
        for file in self.files:
            try:
                self._add(_Whole(file, (file,)))
                continue
            except SourceError as error:
                reason = str(error)
            try:
                self._add(_torn(file))
                self._damage.append(reason)
            except SourceError as error:
                self._damage.append(str(error))
        if not self._storages:
            raise SourceError(f'{self.path} cannot be read: {"; ".join(self._damage)}')
        if not self._damage:
            self.notes.append(f'{self.path}: metadata.yaml is missing or damaged; not needed')


def open_bag(path: Path) -> Bag:
    """The bag at `path`: a folder, or one .mcap or .db3 file.

    Raises SourceError with one line when there is none, or nothing of it can be read.
    """
    try:
        files = _files(path)
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    if not files:
        raise SourceError(
            f'{path} is no bag of ROS 2: give a folder with .mcap or .db3 files, or one of these'
        )
    return Bag(path, files)


def _files(path: Path) -> tuple[Path, ...]:
    if path.suffix == '.bag' and path.is_file():
        raise SourceError(f'{path} is a bag of ROS 1: convert it with rosbags-convert')
    if path.is_dir():
        found = (file for file in path.iterdir() if file.is_file())
        return tuple(sorted((file for file in found if _stores(file)), key=natural))
    if not path.exists():
        raise SourceError(f'{path}: no such bag')
    return (path,) if path.suffix in SUFFIXES else ()


def _stores(file: Path) -> bool:
    return file.name.removesuffix('.zstd').endswith(SUFFIXES)


def _content(data: bytes, kind: str) -> Any | None:
    try:
        return typestore().deserialize_cdr(data, kind)
    except SerdeError:
        return None


class _Whole:
    """A bag or a file of one that is as it should be, read by rosbags."""

    def __init__(self, path: Path, files: tuple[Path, ...]) -> None:
        self._path = path
        try:
            if any(ends_within_a_page(file) for file in files):
                raise ReaderError('it ends within a page')
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # on damage its parsers raise what they stumble over
            raise _failure(path, error) from error
        self.topics: Topics = tuple(
            (name, topic.msgtype or '', topic.msgcount)
            for name, topic in self._reader.topics.items()
        )

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        connections = [c for c in self._reader.connections if c.topic == topic]
        if not connections:
            return  # rosbags would take an empty list for all
        try:
            for _, received, data in self._reader.messages(connections):
                yield received, data
        except Exception as error:  # as above; whoever reads on must see the good messages first
            raise _failure(self._path, error) from error

    def close(self) -> None:
        self._reader.close()


def _torn(file: Path) -> TornMcap | TornSqlite:
    return TornMcap(file) if file.suffix == '.mcap' else TornSqlite(file)


def _failure(path: Path, error: Exception) -> SourceError:
    told = isinstance(error, ReaderError | apsw.Error | OSError)
    words = ' '.join(str(error).split()).removeprefix(f'Cannot open database {path}: ')
    reason = words.rstrip('.') if told else 'its records make no sense'
    return SourceError(f'{path.name} is cut off or damaged ({reason})')
