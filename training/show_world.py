# SPDX-License-Identifier: Apache-2.0
"""Show some seconds of the synthetic world, each beside its caption, on one HTML page.

python training/show_world.py --seed 3 --seconds 40 --output sheet.html
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from svlm_core.errors import SvlmError
from svlm_core.records import Record, kind_of
from svlm_core.synthetic import Second, Story
from svlm_core.timeline import clock, picture, write_timeline


def main() -> None:
    """Write the page and say where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--seed', type=int, default=0, help='which world')
    parser.add_argument('--start', type=int, default=0, help='the first second')
    parser.add_argument('--seconds', type=int, default=40, help='how many')
    parser.add_argument('--size', type=int, default=112, help='pixels, height and width')
    parser.add_argument('--output', type=Path, default=Path('world.html'), help='file to write')
    arguments = parser.parse_args()
    story = Story(arguments.seed, arguments.size, arguments.size)
    shown = range(arguments.start, arguments.start + arguments.seconds)
    seconds = [story.second(index) for index in shown]
    pictures = {
        now.index: [
            picture(now.index + half / 2, frame)
            for half, frame in enumerate(story.frames(now.index))
        ]
        for now in seconds
    }
    skills = Counter(now.skill for now in seconds)
    try:
        write_timeline(
            arguments.output,
            [record(now) for now in seconds],
            pictures,
            title=f'The synthetic world of seed {arguments.seed}',
            facts={skill: str(count) for skill, count in sorted(skills.items())},
        )
    except SvlmError as error:
        sys.exit(str(error))
    print(f'{arguments.output}: {len(seconds)} seconds of world {arguments.seed}')


def record(now: Second) -> Record:
    """A second as the timeline shows it: the caption, and what it rests on."""
    rests = '' if now.source is None else f', from {clock(now.source)}'
    text = f'{now.caption}\n{now.skill}{rests}' if now.caption else ''
    return Record(
        stamp=now.index + 0.5,
        frame_id='',
        camera='',
        window_start=float(now.index),
        sequence=now.index,
        kind=kind_of(text),
        text=text,
        delta=text,
        done=True,
        late=False,
        frames_used=2,
        frames_repeated=0,
        frames_dropped=0,
        tokens=0,
        latency=None,
    )


if __name__ == '__main__':
    main()
