# SPDX-License-Identifier: Apache-2.0
"""The subtitles that stand below given frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from svlm_core.errors import SettingsError, SourceError

Line = tuple[float, float, str]  # seconds from, to, and what is said


@lru_cache(maxsize=4)
def read_subtitles(path: Path) -> tuple[Line, ...]:
    """The lines of an SRT file. Raises SourceError, and SettingsError without the reader."""
    try:
        import pysubs2
    except ImportError as error:
        raise SettingsError("subtitles need pysubs2: pip install 'svlm[eval]'") from error
    try:
        found = pysubs2.load(str(path), encoding='utf-8')
    except (OSError, UnicodeDecodeError, pysubs2.Pysubs2Error) as error:
        raise SourceError(f'{path} cannot be read as subtitles: {error}') from error
    lines = ((e.start / 1000, e.end / 1000, e.plaintext.replace('\n', ' ').strip()) for e in found)
    return tuple(line for line in lines if line[2])


def below(lines: Sequence[Line], seconds: Sequence[float]) -> list[str]:
    """The line below each frame that has one, frame by frame: a long line comes again."""
    shown = (next((text for a, b, text in lines if a < s < b), '') for s in seconds)
    return [text for text in shown if text]
