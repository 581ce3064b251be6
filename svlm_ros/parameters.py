# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as data: read from the dataclasses that the engine itself uses.

Name, default, description and range of a parameter are those of a field of StreamSettings or
Sampling (svlm_core.config), or of NodeSettings below; defaults are those of the chosen preset.
Most are read-only: they are read once, before the model is loaded. Those in LIVE may change while
the node runs (svlm_ros.live). ROS has no empty value, so -1 stands for None in limits that may be
absent, and a list of one empty text for an empty list.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException

from svlm_core.card import suited
from svlm_core.config import PRESETS, Sampling, StreamSettings, check_ranges, limit, preset
from svlm_core.errors import SettingsError
from svlm_core.shedding import Shed
from svlm_ros import alerts

NO_LIMIT = -1
NO_ENTRY = ''
ASK_TOKENS = 256  # a node reserves room for questions; an engine does when it is asked to
Transport = Literal['raw', 'compressed']
MailboxKind = Literal['newest', 'lossless']
Group = TypeVar('Group')
NAMES = {'ask_enabled': 'ask.enabled'}  # of fields whose parameter is called otherwise
LIVE = frozenset(  # fields that may change while the node runs
    'publish_partial publish_silence frame_timeout max_frame_age shed alerts alert_period '
    'warn_frame_age error_frame_age warn_latency error_latency warn_lost error_lost '
    'max_new_tokens max_vision_tokens temperature top_k top_p repetition_penalty'.split()
)
# Not parameters: the first is a group of them, the second is what preset `reference` is about.
_APART = {'sampling', 'published_quirks'}
_CAMERA = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


@dataclass(frozen=True)
class NodeSettings:
    """What the node needs to know beside the settings of its stream."""

    model: str = limit('', 'folder or hub name of a checkpoint; empty: the model svlm ships with')
    device: str = limit('auto', 'where the model runs: auto, cpu, cuda, cuda:1, ...')
    dtype: str = limit('auto', 'type of weights and memory: auto, float32, bfloat16, float16')
    preset: str = limit('robot', f'where other defaults come from: {", ".join(PRESETS)}')
    camera: str = limit('', 'name of the camera in captions; empty: its topic')
    cameras: tuple[str, ...] = limit(
        (), 'names of several cameras, each on NAME/image with a stream of its own'
    )
    autostart: bool = limit(
        True, 'configure and activate at once; false: wait for a lifecycle manager'
    )
    ask_enabled: bool = limit(
        True, 'reserve a second memory, on which questions are answered; false: none can be asked'
    )
    memory_folder: str = limit(
        '~/.ros/svlm', 'folder that ~/save_memory writes to and ~/load_memory reads from'
    )
    transport: Transport = limit('raw', 'how pictures come: on image, or on image/compressed')
    publish_partial: bool = limit(True, 'publish captions token by token while they are written')
    publish_silence: bool = limit(True, 'send a caption also for seconds without words')
    max_frame_age: float = limit(
        2.0,
        'seconds that the last frame stands in for missing ones; beyond it a second is skipped',
        low=0,
        high=86400,
    )
    mailbox: MailboxKind = limit(
        'newest', 'what waits for the model: the newest second alone, or every one, for bags'
    )
    lossless_rounds: int = limit(
        60, 'mailbox lossless: the most rounds that wait for the model', low=1, high=100000
    )
    shed: Shed = limit(
        'skip', 'what is left out while the model cannot keep up: seconds, words or detail'
    )
    alerts: tuple[str, ...] = limit(
        (), 'what ~/alert tells of: entries NAME: QUESTION or REGULAR EXPRESSION'
    )
    alert_period: float = limit(
        10.0, 'least seconds of stream between two alerts of one name', low=0, high=86400
    )
    frame_timeout: float = limit(
        5.0, 'seconds without a frame before the node says so', low=0.1, high=86400
    )
    warn_frame_age: float = limit(2.0, 'diagnostics: seconds without a frame that warn', low=0)
    error_frame_age: float = limit(10.0, 'diagnostics: seconds without a frame: error', low=0)
    warn_latency: float = limit(2.0, 'diagnostics: seconds to a caption (p99) that warn', low=0)
    error_latency: float = limit(10.0, 'diagnostics: seconds to a caption (p99): error', low=0)
    warn_lost: float = limit(
        0.05, 'diagnostics: share of frames lost before the node that warns', low=0, high=1
    )
    error_lost: float = limit(
        0.5, 'diagnostics: share of frames lost before the node: error', low=0, high=1
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        alerts.parse(self.alerts)
        if self.camera and self.cameras:
            raise SettingsError(
                'camera and cameras are both given: name one camera with camera, or several with '
                'cameras'
            )
        for name in self.cameras:
            if not _CAMERA.fullmatch(name):
                raise SettingsError(
                    f'cameras: {name!r} cannot be part of a topic: give letters, digits and _'
                )
        if len(set(self.cameras)) < len(self.cameras):
            raise SettingsError(f'cameras: a name is there twice in {", ".join(self.cameras)}')


@dataclass(frozen=True)
class Parameter:
    """One row of the table: everything there is to say about a parameter."""

    name: str
    field: str  # of the dataclass that it sets
    kind: type  # str, bool, int, float, or tuple for a list of texts
    default: Any  # as ROS sees it: -1 where the setting is None, [''] where it is empty
    help: str
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    optional: bool  # -1 is taken for None
    live: bool

    def descriptor(self) -> ParameterDescriptor:
        """How ROS describes it, to `ros2 param describe` and to itself."""
        found = ParameterDescriptor(
            description=self._description(),
            read_only=not self.live,
            # A float may be written without a point (fps:=2), and an empty list has no type: both
            # are checked in `setting`.
            dynamic_typing=self.kind in (float, tuple),
        )
        low = NO_LIMIT if self.optional else self.low
        if self.kind is int:
            high = 2**63 - 1 if self.high is None else int(self.high)
            least = -(2**63) if low is None else int(low)
            found.integer_range = [IntegerRange(from_value=least, to_value=high, step=0)]
        if self.kind is float:
            most = sys.float_info.max
            found.floating_point_range = [
                FloatingPointRange(
                    from_value=-most if low is None else float(low),
                    to_value=most if self.high is None else float(self.high),
                )
            ]
        return found

    def setting(self, value: Any) -> Any:
        """The value as the dataclasses want it. Raises SettingsError for the wrong type."""
        if value is None:
            raise SettingsError(f'parameter {self.name} has no value')
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind is float and not number:
            raise SettingsError(f'parameter {self.name}={value!r} must be a number')
        if self.kind is tuple:
            return self._entries(value)
        if self.optional and value == NO_LIMIT:
            return None
        return self.kind(value)

    def _entries(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(e, str) for e in value):
            raise SettingsError(f'parameter {self.name}={value!r} must be a list of texts')
        return tuple(entry for entry in value if entry != NO_ENTRY)

    def _description(self) -> str:
        notes = ': ' + ', '.join(self.choices) if self.choices else ''
        if self.optional:
            notes = f'; {NO_LIMIT} is None'
        if self.kind is tuple:
            notes = "; [''] is none"
        return self.help + notes


def table(name: str = 'robot', stream: StreamSettings | None = None) -> tuple[Parameter, ...]:
    """Every parameter of the node, with the defaults of preset `name`, or as in `stream`.

    Raises SettingsError for an unknown preset.
    """
    settings = replace(stream or preset(name), ask_tokens=ASK_TOKENS)
    groups = (NodeSettings(preset=name), settings, settings.sampling)
    return tuple(row for group in groups for row in _rows(group))


def declare(node: Any) -> tuple[NodeSettings, StreamSettings]:
    """Declare every parameter on a node and read them all.

    Raises SettingsError, in one line, for a value of the wrong type or out of range.
    """
    first = {r.name: _declare(node, r) for r in table() if r.name in ('preset', 'model')}
    own = suited(first['preset'], first['model'] or None)
    rows = (row for row in table(first['preset'], own) if row.name not in first)
    values = first | {row.field: _declare(node, row) for row in rows}
    settings = NodeSettings(**pick(NodeSettings, values))
    drawn = pick(Sampling, values)
    stream = preset(settings.preset, sampling=drawn, **pick(StreamSettings, values))
    return settings, stream if settings.ask_enabled else replace(stream, ask_tokens=0)


def read(node: Any, group: type[Group]) -> Group:
    """Declare the fields of one dataclass as parameters of a node, and read them into it.

    Raises SettingsError as `declare` does.
    """
    return group(**{row.field: _declare(node, row) for row in _rows(group())})


def pick(group: type, values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values`, by field, that are fields of a dataclass."""
    fields = group.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in values.items() if name in fields}


def _declare(node: Any, row: Parameter) -> Any:
    given = node._parameter_overrides.get(row.name)
    # `[]` reaches a node as a parameter without a value.
    empty = row.kind is tuple and given is not None and not given.value
    value = [NO_ENTRY] if empty else row.default
    try:
        parameter = node.declare_parameter(row.name, value, row.descriptor(), empty)
    except ParameterException as error:
        raise SettingsError(' '.join(str(error).split())) from error
    return row.setting(parameter.value)


def _rows(group: Any) -> list[Parameter]:
    hints = get_type_hints(type(group))
    return [
        _row(name, hints[name], getattr(group, name), field.metadata)
        for name, field in group.__dataclass_fields__.items()
        if name not in _APART
    ]


def _row(field: str, hint: Any, value: Any, metadata: Any) -> Parameter:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if get_origin(hint) is tuple:
        kind: type = tuple
        default: Any = list(value) or [NO_ENTRY]
    else:
        kind = str if choices else next(k for k in (*get_args(hint), hint) if k is not NoneType)
        default = kind(NO_LIMIT if value is None else value)
    return Parameter(
        name=NAMES.get(field, field),
        field=field,
        kind=kind,
        default=default,
        help=metadata['help'],
        choices=choices,
        low=metadata['low'],
        high=metadata['high'],
        optional=NoneType in get_args(hint),
        live=field in LIVE,
    )
