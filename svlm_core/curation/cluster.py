# SPDX-License-Identifier: Apache-2.0
"""The stages of curation on many machines: Ray Data hands out videos, this process writes.

Workers make products with the same functions as one machine does, and give them back; manifest
and products are written here alone, so what was stopped goes on as ever. All machines see videos
and output under the same paths.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from svlm_core.curation.accounts import code
from svlm_core.curation.manifest import CurationError, Entry, digest
from svlm_core.curation.pipeline import Maker, Product, Stage, Waiting, Workplace, make
from svlm_core.errors import SettingsError, SvlmError

Load = Callable[[], Stage]
ANSWER = 10  # seconds that a cluster has to answer


class Cluster:
    """A Ray cluster: `local` is made here and ends with the block, others are only visited.

    Raises SettingsError where Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str) -> None:
        # A local Ray would report to its makers, and to the screen what is of no use there.
        os.environ |= {'RAY_USAGE_STATS_ENABLED': '0', 'RAY_BACKEND_LOG_LEVEL': 'fatal'}
        try:
            import ray.data
        except ImportError as error:
            raise SettingsError("--ray needs Ray: pip install 'svlm[cluster]'") from error
        self._ray = ray
        try:
            _answers(address)
            local = {'include_dashboard': False} if address == 'local' else {}
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
        except Exception as error:  # Ray raises it bare where a node does not come up
            reason = str(error).strip().partition('\n')[0]
            raise SettingsError(f'--ray {address}: there is no cluster: {reason}') from error
        logging.getLogger('ray.data').setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ray.shutdown()

    def settings(self, load: Load, computes: bool) -> Any:
        """The settings of a stage as a worker finds them, which may have another device."""
        folder = Path.cwd()

        def found() -> str:
            os.chdir(folder)
            return _told(lambda: load().settings)

        asked = self._ray.remote(num_gpus=self._gpus(computes))(found)
        return self._got(lambda: _heard(self._ray.get(asked.remote())))

    def maker(self, load: Load) -> Maker:
        """Makes products on the workers, each of which begins with `load()`."""

        def made(
            stage: Stage, place: Workplace, waiting: Waiting
        ) -> Iterator[tuple[str, Product]]:
            items = [
                {'name': name, 'before': json.dumps(before and asdict(before))}
                for name, before in waiting.items()
            ]
            if not items:
                return
            videos = self._ray.data.from_items(items, override_num_blocks=len(items))
            products = videos.map(
                _worker(load, place, digest([stage.settings, code()])),
                compute=self._ray.data.ActorPoolStrategy(min_size=1),
                num_cpus=1,
                num_gpus=self._gpus(stage.computes),
            )
            rows = iter(products.iter_rows())
            while (row := self._got(lambda: next(rows, None))) is not None:
                yield row['name'], Product(**_heard(row['product']))

        return made

    def _gpus(self, computes: bool) -> int:
        return int(computes and self._ray.cluster_resources().get('GPU', 0) >= 1)

    def _got(self, get: Callable[[], Any]) -> Any:
        try:
            return get()
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().rpartition('\n')[2]
            raise CurationError(f'the cluster failed: {reason}') from error


def _answers(address: str) -> None:
    """Raise OSError where nobody answers at host:port: Ray itself would wait for minutes."""
    if place := re.fullmatch(r'(?:ray://)?([^/]+):(\d+)', address):
        socket.create_connection((place[1].strip('[]'), int(place[2])), ANSWER).close()


def _worker(load: Load, place: Workplace, wanted: str) -> type:
    """What makes products on a machine of the cluster, from rows and to rows of text."""
    folder = Path.cwd()

    class Worker:
        def __init__(self) -> None:
            os.chdir(folder)
            self._stage: Stage | None = None

        def __call__(self, row: dict[str, str]) -> dict[str, str]:
            return {'name': row['name'], 'product': _told(lambda: self._made(row))}

        def _made(self, row: Mapping[str, str]) -> dict[str, Any]:
            if self._stage is None:
                self._stage = load()
                self._found = digest([self._stage.settings, code()])
            if self._found != wanted:
                raise CurationError(
                    'a machine of the cluster has other settings: another version or device'
                )
            before = json.loads(row['before'])
            product = make(self._stage, place, row['name'], before and Entry(**before))
            return asdict(product)

    return Worker


def _told(made: Callable[[], Any]) -> str:
    """What was made, or the error that a user is to be told, as text."""
    try:
        return json.dumps({'made': made()}, ensure_ascii=False)
    except SvlmError as error:
        return json.dumps({'error': str(error)})


def _heard(text: str) -> Any:
    """The content of such a text. Raises CurationError where it tells an error."""
    content = json.loads(text)
    if 'error' in content:
        raise CurationError(content['error'])
    return content['made']
