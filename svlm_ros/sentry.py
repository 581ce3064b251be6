# SPDX-License-Identifier: Apache-2.0
"""The alerts of a camera: what is said, or answered, against the rules of parameter `alerts`.

A hit goes out on `~/alert` as a svlm/msg/Caption of kind ALERT, with the stamp of the second it is
about and the name of the rule before the words. A rule that is a question is asked of a copy of
the memory behind a caption, one at a time, and yields to whoever asks through the action.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from threading import Lock

from rclpy.node import Node
from svlm.msg import Caption

from svlm_core.errors import SvlmError
from svlm_core.mailbox import SECOND
from svlm_ros.alerts import Alerts, Rule, parse
from svlm_ros.inputs import LOG_PERIOD
from svlm_ros.messages import age, nanoseconds
from svlm_ros.questions import Questions


class Sentry:
    """Watches the captions of one camera. Raises SettingsError for entries that are no rules."""

    def __init__(
        self, node: Node, prefix: str, questions: Questions, entries: Sequence[str], period: float
    ) -> None:
        self._node, self._questions = node, questions
        rules = parse(entries)
        self.asks = any(rule.pattern is None for rule in rules)  # of the model
        self._alerts = Alerts(rules, period)
        self._lock = Lock()  # captions come in one thread, answers in another
        self._asking = False
        self._publisher = node.create_publisher(Caption, f'{prefix}/alert', 10)

    def change(self, entries: Sequence[str], period: float) -> None:
        """Follow other rules from now on."""
        with self._lock:
            self._alerts.change(parse(entries), period)

    def heard(self, caption: Caption) -> None:
        """Look at a finished caption (inference thread)."""
        now = nanoseconds(caption.header.stamp) / SECOND
        with self._lock:
            met = self._alerts.heard(caption.text, now)
            due = [] if self._asking else self._alerts.due(now)
        for rule in met:
            self._publish(rule, caption, caption.text)
        if due and (executor := self._node.executor) is not None:
            self._asking = True
            executor.create_task(self._ask, due[0], caption)

    async def _ask(self, rule: Rule, caption: Caption) -> None:
        try:
            answer = await self._questions.ask(rule.question, lambda _: None, lambda: False)
            with self._lock:
                met = self._alerts.answered(
                    rule, answer.text, nanoseconds(caption.header.stamp) / SECOND
                )
            if met:
                self._publish(rule, caption, answer.text)
        except CancelledError:
            self._node.get_logger().debug(f'alert {rule.name}: deactivated before the answer')
        except Exception as error:  # whatever broke, the cameras go on
            told = str(error) if isinstance(error, SvlmError) else repr(error)
            self._node.get_logger().warning(
                f'alert {rule.name} was not asked: {told}', throttle_duration_sec=LOG_PERIOD
            )
        finally:
            self._asking = False

    def _publish(self, rule: Rule, caption: Caption, words: str) -> None:
        text = f'{rule.name}: {words}'
        now = self._node.get_clock().now().nanoseconds
        self._publisher.publish(
            Caption(
                header=caption.header,
                camera=caption.camera,
                window_start=caption.window_start,
                sequence=caption.sequence,
                kind=Caption.ALERT,
                text=text,
                delta=text,
                done=True,
                late=caption.late,
                frames_used=caption.frames_used,
                frames_repeated=caption.frames_repeated,
                frames_dropped=caption.frames_dropped,
                tokens=caption.tokens,
                latency=age(nanoseconds(caption.header.stamp), now),
            )
        )
        self._node.get_logger().warning(f'alert of {caption.camera}: {text}')
