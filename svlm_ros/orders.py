# SPDX-License-Identifier: Apache-2.0
"""What may be wanted of a camera's stream, each an order to the inference thread.

Every order but `pause` is carried out between two rounds and answers with a future: its result,
the error with which the stream refuses it, or its cancellation where the node was deactivated
first.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from svlm_ros.channel import Channel
from svlm_ros.worker import Worker


class Orders:
    """Orders for one channel."""

    def __init__(self, worker: Worker, channel: Channel) -> None:
        self._worker, self._channel = worker, channel

    def reset(self) -> Future[bool]:
        """Forget everything; time begins anew. True where it cut a reply, at its next token."""
        self._channel.cut()
        return self._worker.submit(self._channel.begin_anew)

    def pause(self, paused: bool) -> None:
        """Write no captions after the current one, or go on with the newest second; at once."""
        self._channel.mailbox.hold(paused)

    def set_query(self, query: str) -> Future[None]:
        """Change the instruction."""
        return self._worker.submit(lambda: self._channel.stream.set_query(query))

    def pin(self, sentence: str) -> Future[tuple[str, ...]]:
        """Pin a sentence, or with an empty one unpin all; those that are pinned now."""

        def order() -> tuple[str, ...]:
            stream = self._channel.stream
            if sentence:
                stream.pin(sentence)
            else:
                stream.unpin()
            return tuple(stream.pins)

        return self._worker.submit(order)

    def adjust(self, **limits: Any) -> Future[None]:
        """Lower or restore what a round may take, or how it draws its tokens."""
        return self._worker.submit(lambda: self._channel.stream.adjust(**limits))

    def save(self, path: Path) -> Future[float]:
        """Save the memory; the seconds of stream that it stands at."""
        return self._worker.submit(lambda: self._channel.save(path))

    def load(self, path: Path) -> Future[float]:
        """Load the memory and go on with it; the seconds of stream that it stands at."""
        self._channel.cut()
        return self._worker.submit(lambda: self._channel.load(path))

    def ask(self, question: str) -> Future[tuple[Any, Iterator[Any]]]:
        """Copy the memory; the copy, and the tokens of its answer, each an order of its own."""

        def order() -> tuple[Any, Iterator[Any]]:
            fork = self._channel.stream.fork()
            return fork, fork.tokens(question)

        return self._worker.submit(order)

    def next(self, tokens: Iterator[Any]) -> Future[Any]:
        """The next token of an answer, None behind the last."""
        return self._worker.submit(lambda: next(tokens, None))

    def keep(self, answer: Any) -> Future[None]:
        """Put a question and its answer into the memory."""
        return self._worker.submit(lambda: self._channel.stream.keep(answer))

    def end(self, tokens: Any) -> Future[None]:
        """Give up an answer."""
        return self._worker.submit(tokens.close)
