# SPDX-License-Identifier: Apache-2.0
"""What can still be read of a storage file that was cut off or damaged.

A recorder that is killed leaves an .mcap without its index, often within a message, and a .db3
whose last pages are missing. Both are read from the front until nothing more makes sense.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import apsw
import lz4.frame

from svlm_core.errors import SourceError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    import backports.zstd as zstd

MAGIC = b'\x89MCAP0\r\n'
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
MAX_RECORD = 1 << 32  # bytes; a longer one is not a record but noise

Topics = tuple[tuple[str, str, int | None], ...]  # name, type, messages (None: unknown)


class TornMcap:
    """An .mcap file without a usable index. Raises SourceError when it is none at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open('rb')
        except OSError as error:
            raise SourceError(f'{path.name}: {error.strerror}') from error
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise SourceError(f'{path.name}: it is no MCAP file, or its beginning is damaged')
        scan = _Scan()
        for _ in scan.messages(self._file):
            continue
        self.topics: Topics = tuple(
            (topic, scan.schemas.get(schema, ''), None) for topic, schema in scan.channels.values()
        )

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Receive time (ns) and data of each whole message, in the order of the file."""
        self._file.seek(len(MAGIC))
        scan = _Scan()
        for channel, received, data in scan.messages(self._file):
            if scan.channels.get(channel, ('', 0))[0] == topic:
                yield received, data

    def close(self) -> None:
        self._file.close()


class _Scan:
    """One pass over the records of an MCAP file; knows the channels seen so far."""

    def __init__(self) -> None:
        self.schemas: dict[int, str] = {}
        self.channels: dict[int, tuple[str, int]] = {}  # topic, schema

    def messages(self, file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
        """Channel, receive time (ns) and data of whole messages, up to the damage."""
        for operation, content in _records(file):
            try:
                if operation == SCHEMA:
                    (key,) = struct.unpack_from('<H', content)
                    self.schemas[key] = _text(content, 2)
                elif operation == CHANNEL:
                    key, schema = struct.unpack_from('<HH', content)
                    self.channels[key] = _text(content, 4), schema
                elif operation == MESSAGE:
                    channel, _, received, _ = struct.unpack_from('<HIQQ', content)
                    yield channel, received, content[22:]
                elif operation == CHUNK:
                    yield from self.messages(BytesIO(_chunk(content)))
                elif operation == DATA_END:
                    return
            except (struct.error, UnicodeDecodeError, KeyError):
                return  # from here on the file is noise


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each record; of a chunk that is cut off, what there is of it."""
    while len(head := file.read(9)) == 9:
        operation, size = struct.unpack('<BQ', head)
        if size > MAX_RECORD:
            return
        content = file.read(size)
        if len(content) == size or operation == CHUNK:
            yield operation, content


def _text(content: bytes, offset: int) -> str:
    (size,) = struct.unpack_from('<I', content, offset)
    return content[offset + 4 : offset + 4 + size].decode()


def _chunk(content: bytes) -> bytes:
    """The records of a chunk, or those at its beginning."""
    compression = _text(content, 28)
    data = content[28 + 4 + len(compression) + 8 :]
    try:
        return _DECOMPRESSORS[compression]().decompress(data)
    except (zstd.ZstdError, RuntimeError):  # the latter is lz4's
        return b''


@dataclass(frozen=True)
class _Stored:
    """Decompressor of what was never compressed."""

    def decompress(self, data: bytes) -> bytes:
        return data


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    '': _Stored,
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4.frame.LZ4FrameDecompressor,
}


class TornSqlite:
    """A .db3 file with damaged pages. Raises SourceError when its topics cannot be read."""

    def __init__(self, path: Path) -> None:
        try:
            # Immutable: the recorder's journal is gone or must not be replayed into the file.
            self._database = apsw.Connection(
                f'{path.resolve().as_uri()}?immutable=1',
                flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
                vfs=_WHOLE_PAGES.name,
            )
            # With it, SQLite reads a file that is shorter than its first page says.
            self._database.execute('PRAGMA writable_schema = ON')
            rows = list(self._database.execute('SELECT id, name, type FROM topics'))
        except (apsw.Error, OSError) as error:
            raise SourceError(f'{path.name}: {error}') from error
        self._ids = {str(name): number for number, name, _ in rows}
        self.topics: Topics = tuple((str(name), str(kind), None) for _, name, kind in rows)

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Receive time (ns) and data in the order of recording, up to the first broken page."""
        query = 'SELECT timestamp, data FROM messages WHERE topic_id = ? ORDER BY id'
        try:
            yield from self._database.execute(query, (self._ids.get(topic),))
        except apsw.Error:
            return  # why it is damaged was told when it was opened

    def close(self) -> None:
        self._database.close()


def ends_within_a_page(path: Path) -> bool:
    """Whether an SQLite file is cut off where SQLite itself would not see it."""
    return path.suffix == '.db3' and path.stat().st_size % _page_size(path) != 0


def _page_size(path: Path) -> int:
    with path.open('rb') as file:
        size = int.from_bytes(file.read(18)[16:18], 'big')
    return {0: 1, 1: 65_536}.get(size, size)  # 0: it is no SQLite file


class _WholePages(apsw.VFS):
    """Files as SQLite sees them, less a last page that is there in part: it would read zeros."""

    name = 'svlm-whole-pages'

    def __init__(self) -> None:
        super().__init__(self.name, '')

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 (SQLite's name)
        return _WholePagesFile('', name, flags)


class _WholePagesFile(apsw.VFSFile):
    def __init__(self, parent: str, name: Any, flags: list[int]) -> None:
        super().__init__(parent, name, flags)
        self._page = _page_size(Path(name.filename()))

    def xFileSize(self) -> int:  # noqa: N802 (SQLite's name)
        size = super().xFileSize()
        return size - size % self._page


_WHOLE_PAGES = _WholePages()
