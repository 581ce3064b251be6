# SPDX-License-Identifier: Apache-2.0
"""What a replay writes while it runs: captions as WebVTT, as JSON Lines, and as a bag.

Subtitles count from the first frame; records and messages keep the clock of the bag.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from svlm_core.bags.types import CAPTION, SECOND, STRING, header, message, time
from svlm_core.bags.writer import BagWriter
from svlm_core.errors import OutputError
from svlm_core.records import Kind, Record
from svlm_core.replay.feed import Round
from svlm_core.timeline import make_folder
from svlm_core.video.writers import JsonlWriter, VttWriter

VTT, JSONL, BAG, REPORT, PAGE = (
    'captions.vtt',
    'captions.jsonl',
    'captions',
    'report.json',
    'report.html',
)
TOPICS = {'/captioner/caption': CAPTION, '/captioner/text': STRING}  # as of the live node
KINDS = {kind: number for number, kind in enumerate(get_args(Kind))}  # as in Caption.msg


def prepare(folder: Path, *, overwrite: bool) -> None:
    """Make sure that `folder` can take a run. Raises OutputError; changes nothing that exists."""
    held = [name for name in (VTT, JSONL, BAG, REPORT, PAGE) if (folder / name).exists()]
    if held and not overwrite:
        raise OutputError(
            f'{folder} holds another run ({", ".join(held)}): name another folder, '
            'or give --overwrite to replace it'
        )
    if (folder / 'metadata.yaml').exists():
        raise OutputError(f'{folder} is a bag: name another folder for the captions')
    make_folder(folder)


class Outputs:
    """The files of a run in `folder`; those of a run before are removed at opening.

    A context manager. The bag appears with `finish`, the others grow line by line. Methods raise
    OutputError.
    """

    def __init__(self, folder: Path, seconds: float, note: str) -> None:
        _clear(folder)
        self._written = 0
        self._bag = BagWriter(folder / BAG, TOPICS)
        self._files = ExitStack()
        self._files.enter_context(self._bag)
        with ExitStack() as opened:
            self._vtt = opened.enter_context(VttWriter(folder / VTT, seconds, note))
            self._jsonl = opened.enter_context(JsonlWriter(folder / JSONL))
            self._files.push(opened.pop_all())

    def write(self, taken: Round, record: Record, now: int) -> None:
        """Add the caption of a round, finished at `now` on the recorder's clock (ns)."""
        self._vtt.write(replace(record, window_start=taken.start))
        self._jsonl.write(record)
        self._bag.write('/captioner/caption', caption_message(taken, record), now)
        self._written += 1
        if record.text:
            self._bag.write('/captioner/text', message(STRING, data=record.text), now)

    def finish(self) -> None:
        """Close the bag and give it its name; a bag without messages is left out."""
        if self._written:
            self._bag.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)


def caption_message(taken: Round, record: Record) -> Any:
    """The record as a svlm/msg/Caption, with the exact stamps of its round."""
    newest = taken.frames[-1]
    return message(
        CAPTION,
        header=header(newest.stamp, record.frame_id),
        camera=record.camera,
        window_start=time(taken.origin + round(taken.start * SECOND)),
        sequence=record.sequence,
        kind=KINDS[record.kind],
        text=record.text,
        delta=record.delta,
        done=record.done,
        late=record.late,
        frames_used=record.frames_used,
        frames_repeated=record.frames_repeated,
        frames_dropped=record.frames_dropped,
        tokens=record.tokens,
        latency=record.latency or 0.0,
    )


def _clear(folder: Path) -> None:
    """Remove the files of a run before, and of them alone."""
    try:
        for name in (VTT, JSONL, REPORT, PAGE):
            (folder / name).unlink(missing_ok=True)
        if (folder / BAG).exists():
            shutil.rmtree(folder / BAG)
    except OSError as error:
        raise OutputError(f'{folder} cannot be cleared: {error.strerror}') from error
