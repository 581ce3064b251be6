# SPDX-License-Identifier: Apache-2.0
"""How a number came about: what every row of a result says of itself, and what a folder holds.

Whoever measures something makes one Identity, begins a folder with it, and puts it into its rows.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svlm_core.card import differences
from svlm_core.config import StreamSettings
from svlm_core.errors import OutputError, SettingsError, SourceError
from svlm_core.timeline import write_whole

if TYPE_CHECKING:  # torch takes seconds to import
    from svlm_core.engine import StreamingVLM

PACKAGES = ('svlm', 'av', 'numpy', 'tokenizers', 'torch', 'transformers')
RUN = 'run.json'


@dataclass(frozen=True)
class Identity:
    """All that a number depends on.

    `mode` is how the model saw (streaming, offline, ...), `policy` how its memory was kept (none:
    not at all), `frames`, `pixels` and `positions` what it saw, in words. `settings` are those of
    the stream, and others of the measurement; `judge` is who judged, if anybody did; `revision`
    is that of the code, none outside of a checkout.
    """

    mode: str
    policy: str | None
    frames: str
    pixels: str
    positions: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    judge: str | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    revision: str | None = field(default_factory=lambda: revision())

    def row(self) -> dict[str, Any]:
        """As fields of a row."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """A short name for it: two that differ in anything have two."""
        return digest(self.row())


def digest(content: Mapping[str, Any]) -> str:
    """A short name for an account of a run."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def of_stream(settings: StreamSettings, mode: str, **rest: Any) -> Identity:
    """The identity of who watches second by second; `rest` are the fields that settings leave."""
    return Identity(
        mode=mode,
        policy=settings.policy,
        frames=f'{settings.fps:g} fps, all',
        pixels=f'{settings.min_vision_tokens} to {settings.max_vision_tokens} tokens a pair',
        positions=settings.rope,
        settings=differences(settings),
        **rest,
    )


def model_identity(engine: StreamingVLM) -> dict[str, Any]:
    """What a model is: its name, a hash over all of its weights, and where and how it runs."""
    info = engine.info
    return {
        'name': info.model,
        'sha256': weights_hash(engine.model.folder),
        'parameters': info.parameters,
        'device': device_name(info.device),
        'dtype': info.dtype,
        'attention': info.attention,
    }


def weights_hash(folder: Path) -> str:
    """A hash over the config and all weights of a checkpoint. Raises SourceError."""
    return file_hash([folder / 'config.json', *sorted(folder.glob('*.safetensors'))])


def device_name(device: str) -> str:
    """A device by the name of its maker: two kinds of GPU do not compute the same bits."""
    if not device.startswith('cuda'):
        return device
    import torch

    return torch.cuda.get_device_name(device)


def file_hash(paths: Iterable[Path]) -> str:
    """One SHA-256 over files, in order, names aside. Raises SourceError."""
    total = hashlib.sha256()
    for path in paths:
        try:
            with path.open('rb') as file:
                total.update(hashlib.file_digest(file, 'sha256').digest())
        except OSError as error:
            raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    return total.hexdigest()


def versions(*more: str) -> dict[str, str]:
    """The versions of Python, of the packages that numbers depend on, and of some more."""
    found = {name: _version(name) for name in (*PACKAGES, *more)}
    return {'python': platform.python_version(), **found}


@cache  # looking one up takes milliseconds, and every row has them
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return 'none'


def revision() -> str | None:
    """The commit of this code; None if not in git.

    Where it was edited since, `+` and a short hash of the changes follow: two edits are two codes.
    """
    here = Path(__file__).resolve()
    if _git(here, 'ls-files', '--error-unmatch', here.name) is None:
        return None  # git may be about another project, in which this one is installed
    commit = _git(here, 'rev-parse', 'HEAD')
    changes = _git(here, 'diff', '--binary', 'HEAD', '--', ':/')
    if not (commit and changes):
        return commit
    return f'{commit}+{hashlib.sha256(changes.encode()).hexdigest()[:8]}'


def _git(file: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ['git', '-C', str(file.parent), *words],
            capture_output=True,
            encoding='utf-8',
            errors='replace',  # changed files may be of any encoding
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def begin_folder(folder: Path, content: Mapping[str, Any], grows: bool = False) -> None:
    """Begin a folder for a run, or see that the run in it is the same one, to be gone on with.

    One that `grows` may have more in it than the folder tells of, which is added, and less.
    Raises SettingsError for a folder that holds a run with other settings, or something else;
    OutputError where it cannot be written.
    """
    path, wanted = folder / RUN, json.loads(json.dumps(content))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A run that was killed at once has left a part of the file; another shard may write one.
        others = set(folder.iterdir()) - set(folder.glob(f'.{RUN}.*.part'))
    except OSError as error:
        raise OutputError(f'{folder} cannot be made: {error.strerror}') from error
    if path.is_file():  # after the others were counted: another shard may just have begun
        held = _held(path)
        if grows:
            held, wanted = {**wanted, **held}, {**held, **wanted}
        _same(path, held, wanted)
        if grows:
            _write(path, wanted)
        return
    if others:
        raise SettingsError(f'{folder} holds something else: choose another --output')
    _write(path, wanted)


def account(path: Path) -> Any:
    """What a JSON file of a run tells; None where there is none. Raises SourceError."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f'{path} cannot be read: {error}') from error


def _write(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def _held(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise OutputError(f'{path} cannot be read: {error}') from error


def _same(path: Path, held: Any, wanted: Any) -> None:
    if different := list(_differences(held, wanted, '')):
        raise SettingsError(
            f'{path.parent} holds a run with other settings ({"; ".join(different[:3])}): choose '
            'another --output'
        )


def _differences(held: Any, wanted: Any, name: str) -> Iterable[str]:
    if isinstance(held, dict) and isinstance(wanted, dict):
        for key in sorted(held.keys() | wanted.keys()):
            inner = f'{name}.{key}' if name else key
            yield from _differences(held.get(key), wanted.get(key), inner)
    elif held != wanted:
        yield f'{name}: {json.dumps(held)[:60]} there, {json.dumps(wanted)[:60]} now'
