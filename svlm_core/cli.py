# SPDX-License-Identifier: Apache-2.0
"""The command `svlm`: one entry per subcommand, and one line for every error a user can meet."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from svlm_core.commands.caption import Caption
from svlm_core.commands.doctor import Doctor
from svlm_core.commands.parity import Parity
from svlm_core.commands.record_demo_bag import RecordDemoBag
from svlm_core.commands.replay import Replay
from svlm_core.errors import SvlmError

COMMANDS: dict[str, Callable[..., Any]] = {
    'caption': Caption,
    'replay': Replay,
    'record-demo-bag': RecordDemoBag,
    'parity': Parity,
    'doctor': Doctor,
}

ABOUT = """Watch a camera for hours and say, second by second, what it shows.

svlm is StreamingVLM (arXiv 2510.09608) as software: constant latency and constant memory, on
your own machine. Start with `svlm doctor`, then `svlm caption VIDEO`. On a robot use
`ros2 launch svlm captioner.launch.py`."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status (1 after an error that was told in one line)."""
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog='svlm',
            description=ABOUT,
            args=args,
            sort_subcommands=False,
        )
        return command.run()
    except SvlmError as error:
        print(f'svlm: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == '__main__':
    sys.exit(main())
