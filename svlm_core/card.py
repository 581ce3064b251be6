# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says of itself in `svlm.json`: its name, and the stream it learnt to watch.

A checkpoint without the file is a trained one of somebody else's. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from svlm_core import hub
from svlm_core.config import StreamSettings, laid_over, preset
from svlm_core.errors import CheckpointError, SettingsError

EMBEDDED = Path(__file__).parent / 'assets' / 'svlm-tiny'
FILE = 'svlm.json'


@dataclass(frozen=True)
class Card:
    """What is known of a checkpoint.

    `limits` is a sentence on what it does not know, to be told to its user. `stream` holds the
    settings it was trained with that differ from preset `robot`, sampling inside.
    """

    name: str | None = None
    trained: bool = True
    limits: str = ''
    stream: Mapping[str, Any] = field(default_factory=dict)


def read_card(folder: Path) -> Card:
    """The card in a checkpoint folder. Raises CheckpointError for a file that is none."""
    return _card(folder / FILE)


def suited(name: str, model: Path | str | None, **changes: Any) -> StreamSettings:
    """The settings of a preset for a model (None: the embedded one), with `changes` over them.

    Preset `robot` takes over what the card of the model says; a name on the Hub is asked for it.
    Raises as `preset` and `read_card` do.
    """
    if name != 'robot':
        return preset(name, **changes)
    card = _card(_file(EMBEDDED if model is None else model))
    try:
        own = laid_over(preset(name), card.stream)
    except SettingsError as error:
        raise CheckpointError(f'{FILE} of {model or EMBEDDED.name}: stream: {error}') from error
    return laid_over(own, changes)


def differences(settings: StreamSettings) -> dict[str, Any]:
    """How settings differ from preset `robot`, as a card has it in `stream`."""

    def changed(new: Any, old: Any) -> dict[str, Any]:
        values = {f.name: (getattr(new, f.name), getattr(old, f.name)) for f in fields(new)}
        return {name: value for name, (value, usual) in values.items() if value != usual}

    usual = preset('robot')
    found = changed(settings, usual)
    if 'sampling' in found:
        found['sampling'] = changed(settings.sampling, usual.sampling)
    return found


def _file(model: Path | str) -> Path:
    """Where the card of a model is, or would be."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder / FILE
    try:
        return hub.single(str(model), FILE)
    except (OSError, ValueError):  # it has none, or no such model: loading it will tell
        return folder / FILE


def _card(path: Path) -> Card:
    if not path.is_file():
        return Card()
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be read: {error}') from error
    if not isinstance(content, dict) or not isinstance(content.get('stream', {}), dict):
        raise CheckpointError(f'{path} must hold one JSON object, and so must its stream')
    name = content.get('name')
    return Card(
        name=None if name is None else str(name),
        trained=bool(content.get('trained', True)),
        limits=str(content.get('limits', '')),
        stream=content.get('stream', {}),
    )
