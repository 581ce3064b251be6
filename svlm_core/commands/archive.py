# SPDX-License-Identifier: Apache-2.0
"""Captions of an archive: every video of a folder by the same model, as a stage of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svlm_core.commands.console import errors, progress
from svlm_core.commands.engine_flags import EngineFlags, load_engine, open_stream
from svlm_core.commands.sessions import FileSession
from svlm_core.curation.cluster import Cluster
from svlm_core.curation.manifest import Shard
from svlm_core.curation.pipeline import (
    Product,
    Stage,
    Tally,
    Workplace,
    as_lines,
    fingerprint,
    here,
    run_stage,
)
from svlm_core.errors import FrameError, MemoryFull, SourceError
from svlm_core.video.sources import open_source

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.config import StreamSettings
    from svlm_core.engine import StreamingVLM

STAGE = 'caption'


@dataclass(frozen=True)
class Archive:
    """A folder of videos, and who captions them."""

    videos: Path
    flags: EngineFlags

    def stage(self) -> Stage:
        """The stage, with the engine loaded."""
        from svlm_core.evaluation.identity import model_identity, of_stream

        flags, settings = self.flags, self.flags.settings()
        engine = load_engine(flags.model, flags.device, flags.dtype)
        identity = of_stream(
            settings,
            mode='streaming',
            model=model_identity(engine),
            data={'name': 'an archive', 'sha256': 'of each video, in manifest.jsonl'},
            seed=settings.sampling.seed,
        )
        return self._stage(identity.row(), partial(caption, self.videos, engine, settings))

    def on(self, cluster: Cluster) -> Stage:
        """The stage as workers of a cluster have it; the engine is not loaded here."""
        row = cluster.settings(self.stage, self.flags.computes)
        return self._stage(row, lambda name, before: self.stage().make(name, before))

    def _stage(self, row: Any, make: Callable[[str, Any], Product]) -> Stage:
        return Stage(
            name=STAGE,
            after='',
            settings=row,
            make=make,
            also=lambda name: fingerprint(self.videos / name),
            text=as_lines,
            ending='.jsonl',
            computes=self.flags.computes,
        )


def caption_all(archive: Archive, output: Path, shard: str, ray: str) -> int:
    """Caption all videos of an archive, or of a shard of it, in this process or on a cluster.

    Goes on where it was stopped; gives the exit status. Raises SvlmError.
    """
    from svlm_core.evaluation.identity import begin_folder

    place = Workplace(archive.videos, output, Shard.parse(shard))
    names = place.names()
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(ray)) if ray else None
        stage = archive.on(cluster) if cluster else archive.stage()
        begin_folder(output / STAGE, stage.settings)
        moved = stack.enter_context(progress(errors(), len(names)))
        maker = cluster.maker(archive.stage) if cluster else here
        tally = run_stage(stage, place, moved, maker)
    print('\n'.join(_told(tally)), flush=True)
    return int(bool(tally.left_out))


def _told(tally: Tally) -> Iterator[str]:
    """What there is to say of an archive."""
    counts = ', '.join(f'{count:g} {name}' for name, count in tally.counts.items())
    yield f'{tally.videos} videos, {tally.done} now: {counts}'
    yield from (f'not whole: {why}' for why in tally.left_out.values())


def caption(
    videos: Path, engine: StreamingVLM, settings: StreamSettings, name: str, _: Any = None
) -> Product:
    """The records of a video; those of a damaged one as far as it goes, and what is wrong."""
    rows, video, reason = list[dict[str, Any]](), videos / name, ''
    try:
        with open_source(video) as source:
            session = FileSession(name, source, 0.0, None)
            stream = open_stream(engine, settings, session.length)
            for _start, record in session.records(stream, lambda: False):
                rows.append(asdict(record))
            session.verify(len(rows) * settings.chunk_seconds)
    except (SourceError, FrameError, MemoryFull) as error:
        reason = str(error).replace(str(video), name)
    spoken = sum(row['kind'] == 'caption' for row in rows)
    counts = {'seconds': len(rows) * settings.chunk_seconds, 'captions': spoken}
    return Product(rows, counts, reason)
