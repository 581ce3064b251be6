# SPDX-License-Identifier: Apache-2.0
"""A recipe: which model learns what from which data, and how. Read from a YAML file.

Every field has a default, a range and a meaning here; a file says only what differs. Lengths of
time are seconds of stream, samples are chunks of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from svlm_core.config import StreamSettings, check_ranges, limit, preset
from svlm_core.errors import SettingsError

World = Literal['whole', 'gallery', 'lookout']

LINEAR = ('q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj')


@dataclass(frozen=True)
class Fresh:
    """Weights drawn from a seed, in the shape of the source but for what `config` changes."""

    seed: int = limit(0, 'seed of the weights', low=0)
    deviation: float = limit(0.05, 'standard deviation of every matrix', low=0, high=1)
    config: dict = field(default_factory=dict, metadata={'help': 'fields of config.json'})
    find: bool = limit(False, 'let heads of the first layers begin by finding what stood where')

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Adapter:
    """LoRA (arXiv 2106.09685) on linear layers of the language model; all else is frozen."""

    rank: int = limit(16, 'rank of the change of each matrix', low=1)
    alpha: int = limit(32, 'its scale, in ranks', low=1)
    dropout: float = limit(0.0, 'share of inputs left out', low=0, high=1)
    layers: tuple[str, ...] = limit(LINEAR, 'names of the layers that get one')

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Learner:
    """The model that learns: where it comes from, and which part of it may change."""

    source: str | None = limit(None, 'folder or hub id of a checkpoint; None is the embedded one')
    fresh: Fresh | None = limit(None, 'forget the weights and draw new ones')
    freeze_vision: bool = limit(False, 'leave the whole vision tower as it is')
    adapter: Adapter | None = limit(None, 'learn small changes beside frozen weights')

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Stories:
    """Chunks of the synthetic world, from the seeds that are there to train on."""

    samples: int = limit(64000, 'chunks in one epoch', low=1)
    seed: int = limit(0, 'number of the first world', low=0)
    window: int = limit(24, 'seconds of a chunk (W)', low=1)
    overlap: int = limit(12, 'seconds it shares with the one before (O)', low=0)
    length: int = limit(1800, 'seconds of the longest stream that chunks are taken from', low=1)
    history: bool = limit(True, 'begin with what was said before')
    only_shown: bool = limit(False, 'learn only what can be told from what the chunk itself shows')
    world: World = limit('whole', 'what is taught: all, shapes alone, or looking back at lights')
    run: int = limit(4, 'neighbouring chunks taken in a row; they share their frames', low=1)
    tasks: float = limit(
        0.2, 'share of worlds told under another query than the first', low=0, high=1
    )
    noise: float = limit(
        0.0,
        'share of seconds told wrong: small talk, or what was to be said 2 to 5 s before',
        low=0,
        high=1,
    )
    early_eviction: float = limit(
        0.0, 'share of chunks in which frames leave after 1 to 16 s, drawn anew', low=0, high=1
    )
    questions: float = limit(
        0.0,
        'share of the chunks whose frames all stay that end with a question about what they show',
        low=0,
        high=1,
    )
    size: int = limit(112, 'height and width of the frames, in pixels', low=28)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.overlap >= self.window:
            raise SettingsError(f'overlap={self.overlap} must be less than window={self.window}')


@dataclass(frozen=True)
class Recitals:
    """Words of the synthetic world alone, told and told again: to learn to read."""

    samples: int = limit(64000, 'recitals in one epoch', low=1)
    seed: int = limit(0, 'seed of what is told', low=0)
    size: int = limit(112, 'height and width of the dark frames, in pixels', low=28)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Annotations:
    """Rows of a JSON Lines file as LiveCC and Inf-Stream-Train have them."""

    file: str = limit('', 'the JSON Lines file')
    videos: str | None = limit(None, 'where its videos lie; None: beside the file')

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.file:
            raise SettingsError('file is missing: name the JSON Lines file')


@dataclass(frozen=True)
class Data:
    """One source of samples: exactly one of the fields."""

    stories: Stories | None = limit(None, 'the synthetic world')
    recitals: Recitals | None = limit(None, 'words of the synthetic world, without pictures')
    annotations: Annotations | None = limit(None, 'videos with words')

    def __post_init__(self) -> None:
        check_ranges(self)
        if sum(source is not None for source in vars(self).values()) != 1:
            raise SettingsError('a source of data is either stories, recitals or annotations')


@dataclass(frozen=True)
class Stage:
    """One pass of training: its data, and the optimiser's settings (AdamW, cosine to zero)."""

    name: str = limit('sft', 'name of its folder')
    data: tuple[Data, ...] = limit((), 'sources, one behind the other; twice is double weight')
    epochs: int = limit(1, 'times that every sample is seen', low=1)
    batch: int = limit(16, 'samples a step, over all processes', low=1)
    pack: int = limit(16, 'samples side by side in one forward', low=1)
    learning_rate: float = limit(1e-5, 'its highest value', low=0, high=1)
    warmup: float = limit(0.03, 'share of the steps over which it rises', low=0, high=1)
    beta2: float = limit(0.999, 'decay of the second moment', low=0, high=1)
    weight_decay: float = limit(0.0, 'of matrices', low=0, high=1)
    clip: float = limit(1.0, 'longest gradient; 0 is any', low=0)
    bf16: bool = limit(False, 'compute in bfloat16, keep weights in float32')
    checkpointing: bool = limit(False, 'compute layers again rather than keep their states')
    save_every: int = limit(200, 'steps between checkpoints', low=1)
    keep: int = limit(2, 'newest checkpoints kept', low=1)
    log_every: int = limit(10, 'steps between lines of the log', low=1)
    workers: int = limit(1, 'processes that prepare data, per training process', low=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.data:
            raise SettingsError(f'stage {self.name} has no data')
        if self.batch % self.pack:
            raise SettingsError(f'batch={self.batch} must be a multiple of pack={self.pack}')
        if not self.name or Path(self.name).name != self.name or self.name.startswith('.'):
            raise SettingsError(f'name={self.name!r} cannot be the name of a folder')


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out: the same recipe on the same machine, the same weights."""

    name: str = limit('svlm', 'name of the model that comes out')
    limits: str = limit('', 'a sentence for its users on what it does not know')
    stages: tuple[Stage, ...] = limit((), 'one after the other')
    model: Learner = field(default_factory=Learner, metadata={'help': 'what learns'})
    stream: StreamSettings = field(
        default_factory=StreamSettings, metadata={'help': 'the stream it is to watch'}
    )
    video_tokens: int = limit(24576, 'most vision tokens of a sample', low=1)
    seed: int = limit(0, 'order of the data, and dropout', low=0, high=2**31)

    def __post_init__(self) -> None:
        check_ranges(self)
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise SettingsError('a recipe needs stages, each with a name of its own')


def read_recipe(path: Path | str) -> Recipe:
    """The recipe in a YAML file.

    Raises SettingsError, naming file and field, for anything that is unknown or out of range.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise SettingsError(f'{path} cannot be read: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise SettingsError(f'{path} is no YAML: {reason}') from error
    return _build(Recipe, content, str(path))


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data with every default written out, to be kept beside its results."""
    return asdict(recipe)


def _build(kind: type, content: Any, where: str) -> Any:
    """A dataclass from a mapping, field by field."""
    if not isinstance(content, Mapping):
        raise SettingsError(f'{where} must be a list of settings with their values')
    if kind is StreamSettings:
        return _named(where, lambda: _stream(content))
    known = {spec.name: spec for spec in fields(kind)}
    if unknown := sorted(map(str, content.keys() - known)):
        raise SettingsError(f'{where}: {", ".join(unknown)} is unknown: known are {list(known)}')
    hints = get_type_hints(kind)
    values = {
        name: _value(hints[name], value, f'{where}: {name}') for name, value in content.items()
    }
    for name, spec in known.items():
        if spec.default is MISSING and spec.default_factory is MISSING and name not in values:
            raise SettingsError(f'{where} lacks {name}')
    return _named(where, lambda: kind(**values))


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of a field, made what its hint says."""
    if value is None and NoneType in get_args(hint):
        return None
    inner = next((h for h in get_args(hint) if h is not NoneType), hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise SettingsError(f'{where} must be a list')
        return tuple(_value(inner, v, f'{where}[{n}]') for n, v in enumerate(value))
    if isinstance(inner, type) and hasattr(inner, '__dataclass_fields__'):
        return _build(inner, value, where)
    if inner is float and isinstance(value, str):  # YAML takes 1e-5 for a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _stream(content: Mapping[str, Any]) -> StreamSettings:
    """A preset and what differs from it."""
    changes = {str(name): value for name, value in content.items() if name != 'preset'}
    return preset(str(content.get('preset', 'robot')), **changes)


def _named(where: str, make: Any) -> Any:
    """What `make` makes; its complaint names the place."""
    try:
        return make()
    except SettingsError as error:
        raise SettingsError(f'{where}: {error}') from error
