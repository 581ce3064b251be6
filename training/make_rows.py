# SPDX-License-Identifier: Apache-2.0
"""Make training data of a robot's own recordings: a video or a bag, and notes about it.

    python training/make_rows.py patrol_bag --notes patrol.vtt --output data

Notes are a .vtt, .srt or .jsonl file, as svlm writes them and perhaps corrected by hand, or a
caption topic of the bag. A recipe names what comes out:
`data: [{annotations: {file: data/patrol_bag.jsonl}}]`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from svlm_core.bags import require_rosbags
from svlm_core.config import preset
from svlm_core.errors import OutputError, SourceError, SvlmError
from svlm_core.timeline import make_folder
from svlm_core.training.rows import cut, write_rows

if TYPE_CHECKING:
    from svlm_core.bags.reader import Bag


def main() -> None:
    """Write the rows, their index and, of a bag, its video; say how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('source', type=Path, help='video file, or bag of ROS 2')
    parser.add_argument('--notes', required=True, help='.vtt, .srt, .jsonl, or a topic of the bag')
    parser.add_argument('--output', type=Path, default=Path('data'), help='folder to write into')
    parser.add_argument('--topic', help='image topic of the bag, where it has several')
    parser.add_argument('--window', type=int, default=24, help='seconds of a row')
    parser.add_argument('--overlap', type=int, default=12, help='seconds it shares with the next')
    arguments = parser.parse_args()
    if not 0 <= arguments.overlap < arguments.window:
        parser.error('--overlap must be at least 0 and less than --window')
    try:
        print(make(arguments))
    except SvlmError as error:
        sys.exit(f'svlm training: {error}')


def make(arguments: argparse.Namespace) -> str:
    """Carry it out; a line about what was written."""
    require_rosbags()
    from svlm_core.bags.reader import SUFFIXES, open_bag
    from svlm_core.bags.types import SECOND
    from svlm_core.replay.references import read_reference
    from svlm_core.training.footage import film, seconds_of_video

    settings, source, folder = preset('robot'), arguments.source, arguments.output
    name = source.name if source.is_dir() else source.stem
    path, video = folder / f'{name}.jsonl', folder / f'{name}.mp4'
    bag = source.is_dir() or source.suffix in SUFFIXES
    if made := [str(file) for file in (path, video)[: 1 + bag] if file.exists()]:
        raise OutputError(f'{" and ".join(made)} exists: give another --output, or remove it')
    make_folder(folder)
    origin, problem, no_bag = 0.0, '', cast('Bag', None)
    if bag:
        with open_bag(source) as opened:
            notes = read_reference(arguments.notes, opened)
            filmed = film(opened, arguments.topic, settings, video)
        told = video.name
        shown, origin, problem = set(filmed.numbers), filmed.origin / SECOND, filmed.problem
    elif not Path(arguments.notes).is_file():
        raise SourceError(f'{arguments.notes} is no file, and {source} is no bag with topics')
    else:
        notes = read_reference(arguments.notes, no_bag)
        shown, told = set(seconds_of_video(source, settings)), str(source.resolve())
    said = notes.texts(origin, settings.chunk_seconds, shown)
    rows = cut(told, shown, said, window=arguments.window, overlap=arguments.overlap)
    count, spoken = write_rows(path, rows), sum(map(bool, said.values()))
    line = f'{path}: {count} rows of {len(shown)} seconds, {spoken} of them with words'
    return f'{line}\n{problem}' if problem else line


if __name__ == '__main__':
    main()
