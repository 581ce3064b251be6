# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a cluster, where there is no Ray: all that workers hand over is JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from svlm_core.curation.pipeline import Product, Stage


class Clerk:
    """Does itself what workers of a cluster do, in another order."""

    def __init__(self, address: str) -> None:
        assert address == 'clerk'

    def __enter__(self) -> Clerk:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def settings(self, load: Callable[[], Stage], computes: bool) -> Any:
        assert not computes
        return json.loads(json.dumps(load().settings))

    def maker(self, load: Callable[[], Stage]) -> Callable[..., Iterator[tuple[str, Product]]]:
        def made(stage, place, waiting):
            worker = load()
            assert json.loads(json.dumps(worker.settings)) == stage.settings
            for name in reversed([*waiting]):  # workers end in any order
                yield name, Product(**json.loads(json.dumps(asdict(worker.make(name, None)))))

        return made
