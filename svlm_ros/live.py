# SPDX-License-Identifier: Apache-2.0
"""Parameters that change while the node runs: a request holds as a whole, or not at all.

A request is judged by building the settings anew with it, so the same rules hold as at start. The
settings in force are one frozen object that any thread may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from svlm_core.config import Sampling, StreamSettings
from svlm_core.errors import SettingsError
from svlm_ros.parameters import NodeSettings, pick, table

RESERVED = ('max_new_tokens', 'max_vision_tokens')  # memory was allocated for these at start


@dataclass(frozen=True)
class InForce:
    """All settings of a node as they are at one moment."""

    node: NodeSettings
    stream: StreamSettings


class Live:
    """Holds the settings of a node, `now`, and lets those that are live be changed.

    `changed` is told the names of the parameters that changed, in the thread that set them, once
    `now` has them. Made once, from what `parameters.declare` returned.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        stream: StreamSettings,
        changed: Callable[[frozenset[str]], None],
    ) -> None:
        self.now = InForce(settings, stream)
        self._opened = stream
        self._changed = changed
        self._rows = {row.name: row for row in table(settings.preset) if row.live}
        self._lock = Lock()  # between a setting being read and its successor being put there
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._apply)

    def _judge(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        try:
            self._after(parameters)
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        with self._lock:
            before = self.now
            after = self.now = self._after(parameters)
        names = frozenset(p.name for p in parameters if self._differs(p.name, before, after))
        if names:
            self._changed(names)

    def _after(self, parameters: Iterable[Parameter]) -> InForce:
        """What would be in force. Raises SettingsError where it cannot be."""
        known = [(self._rows[p.name], p.value) for p in parameters if p.name in self._rows]
        values = {row.field: row.setting(value) for row, value in known}
        self._check_reserved(values)
        node, stream = self.now.node, self.now.stream
        sampling = replace(stream.sampling, **pick(Sampling, values))
        return InForce(
            replace(node, **pick(NodeSettings, values)),
            replace(stream, sampling=sampling, **pick(StreamSettings, values)),
        )

    def _check_reserved(self, values: dict[str, Any]) -> None:
        for name in RESERVED:
            most = getattr(self._opened, name)
            if values.get(name, most) > most:
                raise SettingsError(
                    f'{name}={values[name]} is more than the {most} that memory was reserved for '
                    'at start: start the node with more'
                )
        least = self._opened.min_vision_tokens
        if values.get('max_vision_tokens', least) < least:
            raise SettingsError(
                f'max_vision_tokens={values["max_vision_tokens"]} is less than '
                f'min_vision_tokens={least}'
            )

    def _differs(self, name: str, before: InForce, after: InForce) -> bool:
        row = self._rows.get(name)
        return row is not None and _value(before, row.field) != _value(after, row.field)


def _value(held: InForce, field: str) -> Any:
    groups = (held.node, held.stream, held.stream.sampling)
    return next(getattr(group, field) for group in groups if hasattr(group, field))
