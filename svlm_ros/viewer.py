# SPDX-License-Identifier: Apache-2.0
"""The node `caption_viewer`: prints every finished caption of a captioner, one line a second.

Subscribes to `captioner/caption` and `captioner/status`. Colours on a terminal, plain text
elsewhere; a model without training is announced, because its captions mean nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text
from svlm.msg import Caption, Status

from svlm_core.notice import untrained
from svlm_ros.outputs import LATCHED
from svlm_ros.process import Program, run


def clock(seconds: int) -> str:
    """Seconds as [h:]mm:ss."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f'{hours}:' if hours else '') + f'{minutes:02}:{rest:02}'


def caption_line(caption: Caption) -> Text:
    """One finished caption as a line: time span, text, latency and what became of the frames."""
    said = (caption.text, 'bold') if caption.text else ('(silence)', 'dim')
    frames = [f'{caption.latency:.2f} s; {caption.frames_used} frames']
    if caption.frames_repeated:
        frames.append(f'{caption.frames_repeated} repeated')
    if caption.frames_dropped:  # most often because the camera is faster than the model samples
        frames.append(f'{caption.frames_dropped} not shown')
    span = f'{clock(caption.sequence)}-{clock(caption.sequence + 1)}  '
    line = Text.assemble((span, 'cyan'), said, (f'  [{", ".join(frames)}]', 'dim'))
    return line.append('  LATE', 'yellow') if caption.late else line


class CaptionViewer(Program):
    """Prints to `console` until it is told to end."""

    def __init__(self, console: Console | None = None, **options: Any) -> None:
        super().__init__('caption_viewer', **options)
        self._console = console or Console(highlight=False)
        self._warning = ''

    def start(self) -> None:
        """Begin to listen."""
        self.create_subscription(Caption, 'captioner/caption', self._on_caption, 10)
        self.create_subscription(Status, 'captioner/status', self._on_status, LATCHED)

    def _on_caption(self, caption: Caption) -> None:
        if caption.done:
            self._print(caption_line(caption))

    def _on_status(self, status: Status) -> None:
        # Before a model is loaded there is nothing to say about it.
        warning = untrained(status.model, status.trained) if status.model else ''
        if warning and warning != self._warning:
            self._print(Text(warning, 'red'))
        self._warning = warning

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)  # a line stays a line where it is read by a tool


def main(arguments: list[str] | None = None) -> int:
    """Run the node; the exit status of its process."""
    return run('caption_viewer', CaptionViewer, arguments)


if __name__ == '__main__':
    sys.exit(main())
