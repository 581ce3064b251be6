# SPDX-License-Identifier: Apache-2.0
"""Replies on the disk, by what was asked: nothing is paid for twice, and a run can go on."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from svlm_core.errors import OutputError, SourceError
from svlm_core.timeline import write_whole


class Cache:
    """A folder with a file for each question, written whole; threads and processes may share it.

    Raises OutputError when it cannot be written, SourceError for an entry that is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._writing = threading.Lock()

    def get(self, question: Any) -> dict[str, Any] | None:
        """The reply to a question that was asked before."""
        path = self._path(question)
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SourceError(f'{path} is damaged: remove it, and it is asked again') from error
        return content['reply']

    def put(self, question: Any, reply: dict[str, Any]) -> None:
        """Remember a reply, and what was asked for it."""
        path = self._path(question)
        content = {'question': _brief(question), 'reply': reply}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing:
                write_whole(path, text)
        except OSError as error:
            raise OutputError(f'{path} cannot be written: {error.strerror}') from error

    def _path(self, question: Any) -> Path:
        canonical = json.dumps(_brief(question), sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(canonical.encode()).hexdigest()
        return self.folder / name[:2] / f'{name}.json'


def _brief(question: Any) -> Any:
    """A question with the digests of its pictures, which would fill the disk."""
    if isinstance(question, str) and question.startswith('data:'):
        return f'sha256 {hashlib.sha256(question.encode()).hexdigest()}'
    if isinstance(question, list):
        return [_brief(part) for part in question]
    if isinstance(question, dict):
        return {name: _brief(part) for name, part in question.items()}
    return question
