# SPDX-License-Identifier: Apache-2.0
"""The command `svlm`: one entry per subcommand, and one line for every error a user can meet."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Annotated, Any

from svlm_core.errors import SvlmError

INTERRUPTED = 128 + signal.SIGINT  # exit status

try:
    from importlib.metadata import version

    import tyro
    from tyro.conf import subcommand

    from svlm_core.commands.ablate import Ablate
    from svlm_core.commands.bench import Bench
    from svlm_core.commands.caption import Caption
    from svlm_core.commands.claims import Claims
    from svlm_core.commands.console import stdout_checked
    from svlm_core.commands.curate import Curate
    from svlm_core.commands.doctor import Doctor
    from svlm_core.commands.judge import Judge
    from svlm_core.commands.paper import Paper
    from svlm_core.commands.parity import Parity
    from svlm_core.commands.quantize import Quantize
    from svlm_core.commands.record_demo_bag import RecordDemoBag
    from svlm_core.commands.replay import Replay
    from svlm_core.commands.selftest import Selftest
    from svlm_core.commands.streams import Streams
    from svlm_core.commands.vqa import Vqa
    from svlm_core.video.cameras import READER
except KeyboardInterrupt:  # imports take a moment, in which Ctrl-C is to end as quietly as later
    sys.exit(INTERRUPTED)

COMMANDS: dict[str, Callable[..., Any]] = {
    'caption': Caption,
    'replay': Replay,
    'record-demo-bag': RecordDemoBag,
    'selftest': Selftest,
    'claims': Claims,
    'ablate': Ablate,
    'paper': Paper,
    'curate': Curate,
    'judge': Judge,
    'streams': Streams,
    'vqa': Vqa,
    'bench': Bench,
    'quantize': Quantize,
    'parity': Parity,
    'doctor': Doctor,
}

ABOUT = """Watch a camera for hours and say, second by second, what it shows.

svlm is StreamingVLM (arXiv 2510.09608) as software: constant latency and constant memory, on
your own machine. Start with `svlm doctor`, then `svlm caption VIDEO`. On a robot use
`ros2 launch svlm captioner.launch.py`.

  svlm COMMAND --help    all about one command
  svlm --version         print the version and exit"""


def run() -> None:
    """The program: what `main` does, and its exit status.

    A camera that is dead is waited for in native code, by a thread that nothing can stop. It must
    not meet the interpreter while that is taken apart: such a process ends at once.
    """
    status = main()
    if any(thread.name == READER for thread in threading.enumerate()):
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status (1 after an error that was told in one line)."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        with stdout_checked():  # help may be all there is to print
            try:
                command = _command(words)
            finally:
                sys.stdout.flush()
        status = command.run()
        with stdout_checked():
            sys.stdout.flush()
        return status
    except SvlmError as error:
        print(f'svlm: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _command(words: list[str]) -> Any:
    """The command that the words ask for; exits for help, version, and words without sense."""
    if words == ['--version']:
        print(f'svlm {version("svlm")}', flush=True)
        sys.exit()
    if words and words[0] in COMMANDS:
        name = words[0]
        return tyro.cli(COMMANDS[name], prog=f'svlm {name}', args=words[1:])
    # A list of commands has one line for each: all of its description would bury the others.
    listed: Any = reduce(
        or_,
        (
            Annotated[command, subcommand(name, description=_headline(command))]
            for name, command in COMMANDS.items()
        ),
    )
    return tyro.cli(listed, prog='svlm', description=ABOUT, args=words)


def _headline(command: Callable[..., Any]) -> str:
    return (command.__doc__ or '').strip().partition('\n')[0]


if __name__ == '__main__':
    run()
