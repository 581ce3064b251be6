# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as data: read from the dataclasses that the engine itself uses.

Name, default, description and range of a parameter are those of a field of StreamSettings or
Sampling (svlm_core.config), or of NodeSettings below; defaults are those of the chosen preset.
All are read-only: they are read once, before the model is loaded. ROS has no empty value, so -1
stands for None in limits that may be absent.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException

from svlm_core.config import PRESETS, Sampling, StreamSettings, check_ranges, limit, preset
from svlm_core.errors import SettingsError

NO_LIMIT = -1
Transport = Literal['raw', 'compressed']
Group = TypeVar('Group')
# Not parameters: the first is a group of them, the second is what preset `reference` is about.
_APART = {'sampling', 'published_quirks'}


@dataclass(frozen=True)
class NodeSettings:
    """What the node needs to know beside the settings of its stream."""

    model: str = limit('', 'folder or hub name of a checkpoint; empty: the model svlm ships with')
    device: str = limit('auto', 'where the model runs: auto, cpu, cuda, cuda:1, ...')
    dtype: str = limit('auto', 'type of weights and memory: auto, float32, bfloat16, float16')
    preset: str = limit('robot', f'where other defaults come from: {", ".join(PRESETS)}')
    camera: str = limit('', 'name of the camera in captions; empty: its topic')
    autostart: bool = limit(
        True, 'configure and activate at once; false: wait for a lifecycle manager'
    )
    transport: Transport = limit('raw', 'how pictures come: on image, or on image/compressed')
    publish_partial: bool = limit(True, 'publish captions token by token while they are written')
    publish_silence: bool = limit(True, 'send a caption also for seconds without words')
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


@dataclass(frozen=True)
class Parameter:
    """One row of the table: everything there is to say about a parameter."""

    name: str
    kind: type  # str, bool, int or float
    default: Any  # as ROS sees it: -1 where the setting is None
    help: str
    low: float | None
    high: float | None
    optional: bool  # -1 is taken for None

    def descriptor(self) -> ParameterDescriptor:
        """How ROS describes it, to `ros2 param describe` and to itself."""
        # A float may be written without a point (fps:=2): its type is checked in `setting`.
        found = ParameterDescriptor(
            description=self.help, read_only=True, dynamic_typing=self.kind is float
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
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind is float and not number:
            raise SettingsError(f'parameter {self.name}={value!r} must be a number')
        if self.optional and value == NO_LIMIT:
            return None
        return self.kind(value)


def table(name: str = 'robot') -> tuple[Parameter, ...]:
    """Every parameter of the node, with the defaults of preset `name`.

    Raises SettingsError for an unknown preset.
    """
    settings = preset(name)
    groups = (NodeSettings(preset=name), settings, settings.sampling)
    return tuple(row for group in groups for row in _rows(group))


def declare(node: Any) -> tuple[NodeSettings, StreamSettings]:
    """Declare every parameter on a node and read them all.

    Raises SettingsError, in one line, for a value of the wrong type or out of range.
    """
    name = next(_declare(node, row) for row in table() if row.name == 'preset')
    values = {row.name: _declare(node, row) for row in table(name) if row.name != 'preset'}
    values['preset'] = name
    sampling = Sampling(**_pick(Sampling, values))
    return (
        NodeSettings(**_pick(NodeSettings, values)),
        preset(name, sampling=sampling, **_pick(StreamSettings, values)),
    )


def read(node: Any, group: type[Group]) -> Group:
    """Declare the fields of one dataclass as parameters of a node, and read them into it.

    Raises SettingsError as `declare` does.
    """
    return group(**{row.name: _declare(node, row) for row in _rows(group())})


def _declare(node: Any, row: Parameter) -> Any:
    try:
        parameter = node.declare_parameter(row.name, row.default, row.descriptor())
    except ParameterException as error:
        raise SettingsError(' '.join(str(error).split())) from error
    return row.setting(parameter.value)


def _pick(group: type, values: dict[str, Any]) -> dict[str, Any]:
    fields = group.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in values.items() if name in fields}


def _rows(group: Any) -> list[Parameter]:
    hints = get_type_hints(type(group))
    return [
        _row(name, hints[name], getattr(group, name), field.metadata)
        for name, field in group.__dataclass_fields__.items()
        if name not in _APART
    ]


def _row(name: str, hint: Any, value: Any, metadata: Any) -> Parameter:
    optional = type(None) in get_args(hint)
    text = metadata['help']
    if get_origin(hint) is Literal:
        text, kind = f'{text}: {", ".join(get_args(hint))}', str
    else:
        kind = next(k for k in (*get_args(hint), hint) if k is not type(None))
    if optional:
        text = f'{text}; {NO_LIMIT} is None'
    default = kind(NO_LIMIT if value is None else value)
    return Parameter(name, kind, default, text, metadata['low'], metadata['high'], optional)
