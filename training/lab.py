# SPDX-License-Identifier: Apache-2.0
"""Train the variants that the claims about training compare: one command, cached, resumable.

    python training/lab.py --output runs/lab

Afterwards `svlm claims --variants runs/lab` tries those claims too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from svlm_core.commands.console import errors, progress
from svlm_core.errors import SettingsError, SvlmError
from svlm_core.training.lab import open_lab, recipes, train_all
from svlm_core.training.recipe import read_recipe

BASE = Path(__file__).with_name('lab.yaml')
CLIPS = Path('runs/svlm-tiny/clips/model')  # it sees and reads, and has never seen a stream


def main() -> None:
    """Train what is not there yet; one line where it cannot be."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument(
        '--trunk', type=Path, default=CLIPS, help='checkpoint to branch from; default: %(default)s'
    )
    parser.add_argument('--output', type=Path, default=Path('runs/lab'), help='folder')
    parser.add_argument('--steps', type=int, help='of each variant; default as in lab.yaml')
    parser.add_argument('--seeds', type=int, default=3, help='trainings of each variant')
    parser.add_argument('--processes', type=int, default=2, help='variants at a time, a core each')
    given = parser.parse_args()
    try:
        if min(given.seeds, given.processes) < 1 or (given.steps is not None and given.steps < 2):
            raise SettingsError('give at least --seeds 1 --processes 1 --steps 2')
        base = read_recipe(BASE)
        open_lab(given.output, given.trunk, base, given.seeds)
        planned = recipes(base, given.output, given.seeds, given.steps)
        finished = 0
        with progress(errors(), len(planned)) as moved:

            def done(folder: Path) -> None:
                nonlocal finished
                finished += 1
                moved(finished, f'{finished} of {len(planned)} models')
                print(f'{finished} of {len(planned)}: {folder}', flush=True)

            train_all(planned, given.processes, done)
    except SvlmError as error:
        sys.exit(f'svlm training: {error}')
    except KeyboardInterrupt:
        sys.exit('\nsvlm training: interrupted; the same command goes on')


if __name__ == '__main__':
    main()
