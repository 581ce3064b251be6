# SPDX-License-Identifier: Apache-2.0
"""Write a bag that appears only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rosbags.rosbag2 import StoragePlugin, Writer

from svlm_core.bags.types import typestore
from svlm_core.errors import OutputError

StorageName = Literal['mcap', 'db3']
PLUGINS = {'mcap': StoragePlugin.MCAP, 'db3': StoragePlugin.SQLITE3}


class BagWriter:
    """A new bag in `folder` with `topics`, name to type; a context manager.

    The folder appears with `finish`; without it nothing is left. The same messages give the same
    bytes. Methods raise OutputError, also where the folder exists.
    """

    def __init__(
        self, folder: Path, topics: Mapping[str, str], storage: StorageName = 'mcap'
    ) -> None:
        self._folder = folder
        self._part = folder.with_name(f'.{folder.name}.part')
        if folder.exists():
            raise OutputError(f'{folder} exists: remove it or name another folder')
        try:
            if self._part.exists():  # of a process that was killed
                shutil.rmtree(self._part)
            # The bag has its name already: the files in it carry the name as well.
            self._writer: Writer | None = Writer(
                self._part / folder.name, version=9, storage_plugin=PLUGINS[storage]
            )
            self._writer.open()
            self._topics = {
                name: (self._writer.add_connection(name, kind, typestore=typestore()), kind)
                for name, kind in topics.items()
            }
        except OSError as error:
            raise self._failure(error) from error

    def write(self, topic: str, content: Any, received: int) -> None:
        """Add a message of a topic; `received` (ns) is when a recorder would have got it."""
        assert self._writer is not None
        connection, kind = self._topics[topic]
        try:
            data = typestore().serialize_cdr(content, kind)
            self._writer.write(connection, received, data)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> Path:
        """Bring the bag to the disk and give it its name; give back the folder."""
        assert self._writer is not None
        written = self._part / self._folder.name
        try:
            self._writer.close()
            self._writer = None
            for file in (*written.iterdir(), written):
                _sync(file)
            written.rename(self._folder)
            self._part.rmdir()
            _sync(self._folder.parent)
        except OSError as error:
            raise self._failure(error) from error
        return self._folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
        shutil.rmtree(self._part, ignore_errors=True)

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f'{self._folder} cannot be written: {error.strerror or error}')


def _sync(path: Path) -> None:
    """Bring a file or the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
