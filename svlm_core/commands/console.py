# SPDX-License-Identifier: Apache-2.0
"""What a command shows on a terminal while a stream runs, and how it is ended from there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from svlm_core.errors import OutputError
from svlm_core.timeline import clock

MARKS = {True: ('ok ', 'green'), None: ('-- ', 'yellow'), False: ('BAD', 'red')}


class Screen(Console):
    """A console whose `print` raises OutputError when stdout takes no more."""

    def print(self, *objects: Any, **options: Any) -> None:
        with stdout_checked():
            super().print(*objects, **options)


def screen() -> Screen:
    """Where captions go: stdout, as they are, without guesses about emoji and numbers."""
    return Screen(highlight=False, soft_wrap=True, emoji=False)


def errors() -> Console:
    """Where it is shown how far work is whose results go to stdout: stderr."""
    return Console(stderr=True, highlight=False)


@contextmanager
def stdout_checked() -> Iterator[None]:
    """Tell a failure of stdout, such as a full disk, as OutputError. Write nothing else within."""
    try:
        yield
    except OSError as error:
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f'standard output cannot be written: {error.strerror}') from error


def tell(line: str) -> None:
    """Say something that is not a caption: it goes to stderr, so that captions can be piped."""
    print(line, file=sys.stderr, flush=True)


def caption_line(start: float, end: float, text: str) -> Text:
    """A caption with its time span; control characters stay out of the terminal."""
    words = ''.join(letter if letter.isprintable() else ' ' for letter in text)
    return Text.assemble((f'{clock(start)} - {clock(end)}', 'dim'), f'  {words}')


def marked(ok: bool | None, what: str, found: str) -> Text:
    """A line of a report: what is well, what is at fault, and what could not be tried (None)."""
    return Text.assemble(MARKS[ok], f' {what:<16} {found}')


@contextmanager
def progress(screen: Console, total: float | None) -> Iterator[Callable[[float, str], None]]:
    """A live bar below the captions, on a terminal only; yields what moves it."""
    columns = (BarColumn(), TextColumn('{task.percentage:3.0f} %  {task.description}'))
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task('', total=total)
        yield lambda done, line: bar.update(task, completed=done, description=line)


@contextmanager
def signals() -> Iterator[list[int]]:
    """Catch SIGINT and SIGTERM: the first is put on the list, a second one interrupts at once."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        # print() may not be entered again from a signal.
        os.write(2, b'ending after this second; once more to end at once\n')

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
