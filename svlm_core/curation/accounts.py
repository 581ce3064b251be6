# SPDX-License-Identifier: Apache-2.0
"""What the digests of a manifest stand for, to be read: settings of stages, and versions of code.

A file for each, named by its content, as `settings/clean-1f0e....json`: shards write the same
ones, and folders of shards can be copied into one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from svlm_core.curation.manifest import digest
from svlm_core.evaluation.identity import revision, versions
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
