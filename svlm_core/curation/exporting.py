# SPDX-License-Identifier: Apache-2.0
"""Rows of LiveCC and Inf-Stream-Train, of all videos that came through.

`train.jsonl` and `valid.jsonl` hold overlapping chunks, `annealing.jsonl` the clips of the last
stage of training. An export takes the place of the one before; `export.json` is its record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svlm_core.curation.accounts import forget, record
from svlm_core.curation.chunking import rows
from svlm_core.curation.manifest import CurationError, Manifest, digest
from svlm_core.curation.pipeline import Workplace
from svlm_core.curation.settings import Exporting
from svlm_core.training.rows import write_rows

STEP = 'export'
SETS = ('train', 'valid', 'annealing')
ENDINGS = ('', '_seeks', '_with_seeks')


def export(place: Workplace, settings: Exporting) -> dict[str, int]:
    """Write all sets; how many rows each has. Those without any are not written.

    Clips are exported where all videos have been through annealing. Raises CurationError.
    """
    if place.shard.count > 1:
        raise CurationError('export takes all videos: merge the shards first')
    manifest, names = place.manifest(), place.names()
    valid = [name for name in names if _is_valid(name, settings)]
    train = [name for name in names if not _is_valid(name, settings)]
    sets = {'train': ('chunk', train), 'valid': ('chunk', valid)}
    if any('anneal' in manifest[name] for name in names):
        sets['annealing'] = ('anneal', train)
    # All is seen to be there before anything is replaced.
    sources = {name: place.outputs(manifest, *of) for name, of in sets.items()}
    forget(place.output, STEP)
    counts = {}
    for name in SETS:
        stage, of = sets.get(name, ('', []))
        found = _rows(place, manifest, stage, of, settings.query)
        if count := _write(place.output, name, found, settings):
            counts[name] = count
    if not counts:
        raise CurationError(f'not one of {len(names)} videos has a chunk to export')
    files = [path for name in SETS for path in _files(place.output, name) if path.is_file()]
    record(place.output, STEP, asdict(settings), sources, files, counts)
    return counts


def _rows(
    place: Workplace, manifest: Manifest, stage: str, names: Sequence[str], query: str
) -> Iterator[list[dict[str, Any]]]:
    """The rows of some videos, one by one; all of them would be too many to hold."""
    for name, product in place.products(manifest, stage, names):
        yield from rows(name, product, query)


def _write(
    folder: Path, name: str, found: Iterator[list[dict[str, Any]]], settings: Exporting
) -> int:
    """Write a set under the name that tells where its index is; no file where it is empty."""
    path = folder / (f'{name}_with_seeks.jsonl' if settings.index_inside else f'{name}.jsonl')
    count = write_rows(path, found, index_inside=settings.index_inside)
    beside = [] if settings.index_inside else [folder / f'{name}_seeks.jsonl']
    kept = [path, *beside] if count else []
    for other in _files(folder, name):
        if other not in kept:  # of an export before, whose index was elsewhere
            other.unlink(missing_ok=True)
    return count


def _files(folder: Path, name: str) -> list[Path]:
    """All files that a set may have."""
    return [folder / f'{name}{ending}.jsonl' for ending in ENDINGS]


def _is_valid(name: str, settings: Exporting) -> bool:
    """Whether a video is for validation; its name decides, so it stays where it is."""
    return int(digest(f'valid {name}')[:12], 16) / 16**12 < settings.valid
