# SPDX-License-Identifier: Apache-2.0
"""One camera's stream as the inference thread drives it: rounds in, captions told to a listener.

Knows no ROS and no thread. An error in a round is told and survived: it costs the round, and the
memory of the stream stays. A full memory, a second failure in a row, or time that jumped resets
the stream; a reset that fails is beyond repair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from svlm_core.errors import FrameError, MemoryFull, OutputError
from svlm_core.images import Picture
from svlm_core.mailbox import Mailbox, Round
from svlm_core.pictures import read_round


@dataclass(frozen=True)
class Progress:
    """What has been said about a round so far; `done` marks the last of a round, cut or whole.

    `picture` (H, W, 3) is the newest frame. `shown` frames went into the model, of which
    `repeated` stand in for missing ones; `late` is true once the round has taken longer than it
    lasts or a newer one is already complete. `spent` is the time of computing so far, in seconds,
    `stages` that of each stage, once it is done.
    """

    round: Round
    text: str
    delta: str
    done: bool
    late: bool
    shown: int
    repeated: int
    tokens: int
    picture: Picture
    spent: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


class Listener(Protocol):
    """Who is told. Called from the inference thread."""

    def said(self, progress: Progress) -> None:
        """Part of a caption, or with `done` all of it."""

    def failed(self, error: Exception, *, fatal: bool) -> None:
        """A round was lost to `error`; `fatal`: nothing can be captioned any more."""

    def forgot(self) -> None:
        """The memory of the stream was emptied."""


class Channel:
    """One stream of the engine on the rounds of one mailbox. Used by the inference thread alone,
    except for `cut`.
    """

    def __init__(
        self,
        stream: Any,
        mailbox: Mailbox,
        convert: Callable[[Any], Picture],
        listener: Listener,
        *,
        partial: Callable[[], bool],
    ) -> None:
        self.stream = stream
        self.mailbox = mailbox
        self._convert = convert
        self._listener = listener
        self._partial = partial
        self._era = 0  # of the rounds that the memory is about
        self._failures = 0  # in a row
        self._cut = Event()
        self._was_cut = False

    def cut(self) -> None:
        """Have the reply that is being written end at its next token (any thread)."""
        self._cut.set()

    def caption(self, taken: Round, stopped: Event) -> bool:
        """Caption a round, or tell why not; False where the stream is beyond repair.

        Once `stopped` is set, it ends at the next token and tells nothing.
        """
        if taken.era != self._era:  # what was seen before is another time
            self._era, self._failures = taken.era, 0
            if not self._reset():
                return False
        try:
            self._say(taken, stopped)
            self._failures = 0
        except FrameError as error:
            self._listener.failed(error, fatal=False)
        except Exception as error:  # whatever broke, the next second deserves a try
            self._listener.failed(error, fatal=False)
            self._failures += 1
            if isinstance(error, MemoryFull) or self._failures > 1:
                return self._reset()
        return True

    def begin_anew(self) -> bool:
        """Forget everything; time begins anew. True where a reply was cut for it."""
        self._cut.clear()
        cut, self._was_cut = self._was_cut, False
        self.stream.reset()
        self._era = self.mailbox.restart()
        self._listener.forgot()
        return cut

    def save(self, path: Path) -> float:
        """Save the memory of the stream; the seconds of stream that it stands at."""
        from svlm_core.snapshot import save  # loads torch

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f'{path.parent} cannot be made: {error.strerror}') from error
        save(self.stream, path)
        return float(self.stream.seconds)

    def load(self, path: Path) -> float:
        """Take a saved memory over; its time goes on with the next frame."""
        from svlm_core.snapshot import load

        self._cut.clear()
        self._was_cut = False
        load(self.stream, path)
        self._era = self.mailbox.restart(self.stream.seconds)
        return float(self.stream.seconds)

    def _reset(self) -> bool:
        try:
            self.stream.reset()
        except Exception as error:  # told, and the node ends with it
            self._listener.failed(error, fatal=True)
            return False
        self._listener.forgot()
        return True

    def _say(self, taken: Round, stopped: Event) -> None:
        began = time.monotonic()
        frames, substituted = self._read(taken)
        progress = Progress(
            round=taken,
            text='',
            delta='',
            done=False,
            late=False,
            shown=len(frames),
            # A frame may be both repeated and substituted.
            repeated=min(taken.repeated + substituted, len(frames)),
            tokens=0,
            picture=frames[-1],
        )
        reply: Iterator[Any] = self.stream.tokens(frames, taken.start)
        for token in reply:
            if stopped.is_set():
                return
            progress = replace(progress, tokens=progress.tokens + 1)
            if self._cut.is_set():
                self._was_cut = True
                reply.close()  # type: ignore[attr-defined]
                self._tell(replace(progress, done=True), token.text, began)
                return
            if token.delta and self._partial():
                progress = self._tell(progress, token.text, began)
        last = self.stream.last
        self._tell(replace(progress, done=True, stages=last.seconds), last.text, began)

    def _tell(self, progress: Progress, text: str, began: float) -> Progress:
        spent = time.monotonic() - began
        progress = replace(
            progress,
            text=text,
            delta=text.removeprefix(progress.text),
            late=spent > self.stream.settings.chunk_seconds or self.mailbox.waiting,
            spent=spent,
        )
        self._listener.said(progress)
        return progress

    def _read(self, taken: Round) -> tuple[Picture, int]:
        """The frames of a round and how many had to be substituted, as `read_round`; tells why."""
        problems: list[FrameError] = []

        def spoiled(error: FrameError) -> None:
            self.mailbox.spoil()
            problems.append(error)

        shown = read_round(taken, self._convert, spoiled)
        if problems:
            self._listener.failed(problems[-1], fatal=False)
        return shown
