# SPDX-License-Identifier: Apache-2.0
"""The record of one second of stream: a row of JSON Lines, with the fields of Caption.msg."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from svlm_core.errors import OutputError

if TYPE_CHECKING:  # records are read and written where no engine is
    from svlm_core.caption import Caption
    from svlm_core.video.sampling import Round

Kind = Literal['caption', 'answer', 'alert', 'silence']

_NUMBER = (int, float)
_TYPES: dict[str, tuple[type, ...]] = {
    'float': _NUMBER,
    'float | None': (*_NUMBER, type(None)),
    'int': (int,),
    'bool': (bool,),
    'str': (str,),
    'Kind': (str,),
}


@dataclass(frozen=True)
class Record:
    """What was said about one second of one camera, and how it came about.

    Times are seconds in the clock of the source: for a file, its own timeline. Frames are counted
    as in the message: `frames_used` were shown to the model, the `frames_repeated` among them
    stand in for frames that did not come, `frames_dropped` came and were not shown.
    """

    stamp: float  # of the newest frame used
    frame_id: str
    camera: str
    window_start: float
    sequence: int  # number of the second since the stream began, from 0
    kind: Kind
    text: str  # everything said in this second so far
    delta: str  # what this record adds to the text of the one before it
    done: bool
    late: bool  # the reply took longer than the second it describes
    frames_used: int
    frames_repeated: int
    frames_dropped: int
    tokens: int  # generated for this second, the end mark included
    latency: float | None  # from stamp to publication; None where the source has no live clock

    def to_json(self) -> str:
        """One line of JSON without a line break. Raises OutputError for nan and infinity."""
        try:
            return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise OutputError(f'record {self.sequence} holds a number that is not one') from error

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of a line. Raises OutputError naming the field that is wrong."""
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise OutputError(f'not a caption record: {error}') from error
        if not isinstance(row, dict):
            raise OutputError('not a caption record: the line holds no JSON object')
        kinds = {spec.name: str(spec.type) for spec in fields(cls)}
        for problem, names in (('unknown', row.keys() - kinds), ('missing', kinds.keys() - row)):
            if names:
                raise OutputError(f'caption record: {problem} field {", ".join(sorted(names))}')
        for name, kind in kinds.items():
            _check(name, row[name], kind)
        return cls(**row)


def kind_of(text: str) -> Kind:
    """The kind of running commentary that a text is: a second without words is silence."""
    return 'caption' if text else 'silence'


def file_record(caption: Caption, round: Round, sequence: int, camera: str) -> Record:
    """The record of a caption of a file or folder: nothing is late there, and no clock runs."""
    return Record(
        stamp=round.stamp,
        frame_id='',
        camera=camera,
        window_start=round.start,
        sequence=sequence,
        kind=kind_of(caption.text),
        text=caption.text,
        delta=caption.text,
        done=True,
        late=False,
        frames_used=round.used,
        frames_repeated=round.repeated,
        frames_dropped=round.dropped,
        tokens=len(caption.ids),
        latency=None,
    )


def _check(name: str, value: Any, kind: str) -> None:
    wrong = not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != 'bool')
    if wrong or (kind == 'Kind' and value not in get_args(Kind)):
        raise OutputError(f'caption record: field {name} cannot be {value!r}')
