# SPDX-License-Identifier: Apache-2.0
"""What the digests of a manifest stand for, to be read: settings of stages, and versions of code.

A file for each, named by its content, as `settings/clean-1f0e....json`: shards write the same
ones, and folders of shards can be copied into one. Steps that take all videos at once have no line
in the manifest but a record of their own, as `export.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from svlm_core.curation.manifest import digest
from svlm_core.evaluation.identity import file_hash, revision, versions
from svlm_core.timeline import make_folder, write_whole

FOLDER = 'settings'
CODE = 'code'
SPEECH = ('faster-whisper', 'ctranslate2')  # packages that words depend on


def code() -> dict[str, Any]:
    """What makes products here: versions of packages, and the commit of this code."""
    return {'versions': versions(*SPEECH), 'revision': revision()}


def keep(output: Path, name: str, content: Any) -> str:
    """Leave an account among the products of a curation; its digest. Raises OutputError."""
    path = account_file(output, name, digest(content))
    if not path.is_file():
        make_folder(path.parent)
        write_whole(path, json.dumps(content, ensure_ascii=False, indent=1) + '\n')
    return digest(content)


def account_file(output: Path, name: str, of: str) -> Path:
    """Where the account with a digest is: of a stage by its name, or of CODE."""
    return output / FOLDER / f'{name}-{of}.json'


def forget(output: Path, step: str) -> None:
    """Remove the record of a step: the files that it speaks of are about to be replaced."""
    (output / f'{step}.json').unlink(missing_ok=True)


def record(
    output: Path, step: str, settings: Any, source: Any, files: Iterable[Path], counts: Any
) -> None:
    """Record what a step has made of all videos: digests as in the manifest, and of every file.

    `source` is what it was made of. Raises OutputError.
    """
    content = {
        'settings': keep(output, step, settings),
        'code': keep(output, CODE, code()),
        'input': digest(source),
        'files': {path.name: file_hash([path]) for path in files},
        'counts': counts,
    }
    text = json.dumps(content, ensure_ascii=False, indent=1) + '\n'
    write_whole(output / f'{step}.json', text)
