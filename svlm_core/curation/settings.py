# SPDX-License-Identifier: Apache-2.0
"""The settings of every stage of curation; the defaults are those of arXiv 2510.09608."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from svlm_core.errors import SettingsError


@dataclass(frozen=True)
class Probing:
    """Which videos are of use."""

    min_seconds: float = 24.0  # shorter videos are left out
    tolerance: float = 0.02  # share by which announced and real lengths, or sound, may differ

    def __post_init__(self) -> None:
        _hold(self.min_seconds >= 0, '--min-seconds of at least 0')
        _hold(0 <= self.tolerance <= 1, '--tolerance from 0 to 1')


@dataclass(frozen=True)
class Transcribing:
    """Where words come from: give --transcripts or --speech-model."""

    transcripts: Path | None = None  # JSON of whisperX or LiveCC: a folder, or a file of lines
    speech_model: str = ''  # of faster-whisper: a folder, or a name that it may download
    language: str = ''  # spoken language, as en; empty: the speech model finds out
    device: str = 'auto'  # where the speech model runs: auto, cpu, cuda
    compute_type: str = 'default'  # precision of the speech model: default, float16, int8, ...
    batch: int = 1  # pieces of sound that the speech model hears at a time

    def __post_init__(self) -> None:
        _hold(self.batch >= 1, '--batch of at least 1')


@dataclass(frozen=True)
class Aligning:
    """What is taken for a fault, and how many of them a video may have."""

    max_drift: float = 3.0  # seconds by which a word may lie outside of its segment
    max_gap: float = 3.0  # seconds without words that are counted as a gap and end a sentence
    min_sure: float = 0.0  # words that recognition is less sure of are left out
    max_faults: float = 0.2  # share of words at fault above which a video is left out

    def __post_init__(self) -> None:
        _hold(0 <= self.min_sure <= 1, '--min-sure from 0 to 1')
        _hold(0 <= self.max_faults <= 1, '--max-faults from 0 to 1')
        _hold(self.max_drift >= 0 < self.max_gap, '--max-drift of at least 0, --max-gap above 0')


@dataclass(frozen=True)
class Cleaning:
    """How much a model reads at a time."""

    segment: float = 120.0  # seconds of transcript that the model sees at once

    def __post_init__(self) -> None:
        _hold(self.segment > 0, '--segment above 0')


@dataclass(frozen=True)
class Chunking:
    """How videos are cut."""

    window: int = 24  # seconds of a chunk
    overlap: int = 12  # seconds that it shares with the next
    min_words: int = 48  # chunks with fewer words are left out

    def __post_init__(self) -> None:
        _hold(1 <= self.window <= 240, '--window from 1 to 240')
        _hold(0 <= self.overlap < self.window, '--overlap of at least 0 and less than --window')
        _hold(self.min_words >= 0, '--min-words of at least 0')


@dataclass(frozen=True)
class Annealing:
    """Which clips are good enough for the last stage of training."""

    shortest: int = 16  # seconds of a clip, at least
    longest: int = 64  # seconds of a clip, at most
    max_silence: float = 3.0  # seconds without words that a clip may have inside
    words_per_second: float = 2.0  # words that a clip has at least, per second
    min_live: float = 0.8  # a clip is kept when more than this share of it is live commentary

    def __post_init__(self) -> None:
        _hold(1 <= self.shortest <= self.longest <= 240, '--shortest up to --longest, at most 240')
        _hold(self.max_silence > 0, '--max-silence above 0')
        _hold(self.words_per_second >= 0, '--words-per-second of at least 0')
        _hold(0 <= self.min_live <= 1, '--min-live from 0 to 1')


@dataclass(frozen=True)
class Exporting:
    """How rows are written."""

    index_inside: bool = False  # the index of lines is the last line (LiveCC), not a file beside
    query: str = ''  # what every row asks
    valid: float = 0.0  # share of the videos that go to valid.jsonl

    def __post_init__(self) -> None:
        _hold(0 <= self.valid < 1, '--valid from 0 to less than 1')


@dataclass(frozen=True)
class Building:
    """What is judged of a video."""

    segment: int = 100  # seconds of a window that is judged
    min_words: int = 200  # windows with fewer words are left out
    stage: Literal['clean', 'align'] = 'clean'  # whose words: cleaned by a model, or as recognised

    def __post_init__(self) -> None:
        _hold(self.segment >= 1, '--segment of at least 1')
        _hold(self.min_words >= 1, '--min-words of at least 1')


def _hold(fits: bool, told: str) -> None:
    if not fits:
        raise SettingsError(f'give {told}')
