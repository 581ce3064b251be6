# SPDX-License-Identifier: Apache-2.0
"""Train a model by a recipe.

    python training/train.py training/tiny.yaml --output runs/tiny

Stopped at any moment, it goes on with --resume as if it had not been.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from svlm_core.errors import SvlmError
from svlm_core.training.recipe import read_recipe


def main() -> None:
    """Read the recipe and carry it out; one line where it cannot be."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('recipe', type=Path, help='YAML file; see docs/training.md')
    parser.add_argument('--output', type=Path, help='folder of the run; default runs/<recipe>')
    parser.add_argument('--resume', action='store_true', help='go on with what is there')
    parser.add_argument(
        '--dry-run', action='store_true', help='print tokens and memory, train nothing'
    )
    arguments = parser.parse_args()
    output = arguments.output or Path('runs') / arguments.recipe.stem
    try:
        recipe = read_recipe(arguments.recipe)
        # These import PyTorch and transformers: a mistake in the recipe is told before.
        if arguments.dry_run:
            from svlm_core.training.dry_run import show

            show(recipe)
        else:
            from svlm_core.training.run import train

            train(recipe, output, resume=arguments.resume)
    except SvlmError as error:
        sys.exit(f'svlm training: {error}')
    except KeyboardInterrupt:
        sys.exit('\nsvlm training: interrupted; go on with --resume')


if __name__ == '__main__':
    main()
