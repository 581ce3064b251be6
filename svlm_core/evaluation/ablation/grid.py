# SPDX-License-Identifier: Apache-2.0
"""A grid: which models run under which settings, and the tables that this gives. Read from YAML.

A row of a table is a cell: settings over those of `base`, which lie over preset `robot` as it
suits the model. Besides settings of a stream a cell may name a `model`, by default the first, and
how many evicted rounds are `retrieved`. `.inf` is no limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from svlm_core.card import EMBEDDED, suited
from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError
from svlm_core.evaluation.conditions import Condition
from svlm_core.policies import check_recall
from svlm_core.shapes import Either, Listed, Misfit, Number, OrNone, Table, Text

SHIPPED = Path(__file__).parents[2] / 'assets' / 'grids'
MODEL, RETRIEVED, RUN = 'model', 'retrieved', 'run'
HISTORIES = ('gold', 'free')

_CHANGES = Table({}, {MODEL: Text(filled=True), RETRIEVED: Number(low=1, whole=True)})
_GRID = Table(
    {'tables': Table({})},
    {
        'seed': Number(low=0, whole=True),
        'streams': Number(low=1, whole=True),
        'seconds': Number(low=1, whole=True),
        'histories': Listed(Text(HISTORIES), least=1),
        'moments': Listed(Number(low=0, whole=True)),
        'base': _CHANGES,
        'models': Table({}),
    },
    closed=True,
)
_ROWS = Table(
    {'rows': Either((Listed(_CHANGES, least=1), Table({})))}, {'title': Text()}, closed=True
)
_OVER = Table({'over': Table({})}, {'title': Text()}, closed=True)


@dataclass(frozen=True)
class Cell:
    """One way to run a model: its name, its folder (None: the embedded one), what is changed."""

    model: str
    folder: Path | None
    settings: Mapping[str, Any]
    retrieved: int

    @property
    def condition(self) -> Condition:
        """As exams are sat under it."""
        return Condition(self.settings, retrieved=self.retrieved)

    @property
    def stream(self) -> StreamSettings:
        """All settings: preset `robot` as it suits the model, and what is changed."""
        return suited('robot', self.folder, **self.settings)


@dataclass(frozen=True)
class Line:
    """A row of a table: what stands in its first columns, and the number of its cell."""

    labels: tuple[str, ...]
    cell: int


@dataclass(frozen=True)
class Layout:
    """A table: its name, its title, the heads of its first columns, and its rows."""

    name: str
    title: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """What is tried: `streams` worlds of `seconds` each, under every cell and history.

    Cell 0 is the base, which others are compared with. With history `gold` each reply is replaced
    by the true one, `free` the model lives with what it said. `moments` are seconds that the page
    shows; none: some that lie evenly. Of a video `seconds` are its own, and there is no truth:
    seed, streams and histories are for worlds.
    """

    seed: int
    streams: int
    seconds: int
    histories: tuple[str, ...]
    moments: tuple[int, ...]
    cells: tuple[Cell, ...]
    tables: tuple[Layout, ...]

    @property
    def shown(self) -> dict[int, Cell]:
        """The cells that stand in a table, by their numbers."""
        numbers = {line.cell for layout in self.tables for line in layout.lines}
        return {number: self.cells[number] for number in sorted(numbers)}


def find_grid(name: str) -> Path:
    """The file of a grid: one that is shipped, by its name, or a path."""
    shipped = SHIPPED / f'{name}.yaml'
    return shipped if shipped.is_file() else Path(name)


def shipped() -> list[str]:
    """The names of the grids that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob('*.yaml'))


def read_grid(path: Path, model: Path | None = None, seconds: int | None = None) -> Grid:
    """The grid in a YAML file.

    A `model` is that of a grid that names none; else the embedded one is. A video has `seconds`,
    whatever the grid says of worlds. Raises SettingsError, naming file and field, for anything
    that is unknown or out of range, and for models that are no folders.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        _GRID.check(content)
        return _build(content, model, seconds)
    except OSError as error:
        raise SettingsError(
            f'{path} cannot be read: {error.strerror}; grids that come with svlm are '
            f'{", ".join(shipped())}'
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f'{path} is no YAML: {" ".join(str(error).split())}') from error
    except (Misfit, SettingsError) as error:
        raise SettingsError(f'{path}: {error}') from error


def _build(content: Mapping[str, Any], model: Path | None, seconds: int | None) -> Grid:
    if model is not None and 'models' in content:
        raise SettingsError('models: the grid names its own, leave --model out')
    default = {EMBEDDED.name: None} if model is None else {model.resolve().name: str(model)}
    base, models = content.get('base', {}), content.get('models', default)
    for name, folder in models.items():
        OrNone(Text(filled=True)).check(folder, f'models.{name}')
        if folder is not None and not Path(folder).is_dir():
            raise SettingsError(f'models.{name}: {folder} is no folder of a checkpoint')
    maker = _Maker(base, {str(n): f and Path(f) for n, f in models.items()})
    maker.cell({}, 'base')
    tables = tuple(maker.table(str(n), of) for n, of in content['tables'].items())
    if not tables:
        raise SettingsError('tables: there is none')
    grid = Grid(
        seed=content.get('seed', 0),
        streams=content.get('streams', 4),
        seconds=content.get('seconds', 240) if seconds is None else seconds,
        histories=tuple(dict.fromkeys(content.get('histories', HISTORIES))),
        moments=tuple(content.get('moments', ())),
        cells=tuple(maker.cells),
        tables=tables,
    )
    if late := [moment for moment in grid.moments if moment >= grid.seconds]:
        raise SettingsError(f'moments: {late[0]} is past the {grid.seconds} seconds of a stream')
    return grid


class _Maker:
    """Makes cells and tables; cells that are the same are one."""

    def __init__(self, base: Mapping[str, Any], models: Mapping[str, Path | None]) -> None:
        self._base, self._models = base, models
        self.cells: list[Cell] = []

    def cell(self, changes: Mapping[str, Any], where: str) -> int:
        """The number of the cell of these changes. Raises SettingsError where they are wrong."""
        _CHANGES.check(changes, where)
        values = {**self._base, **changes}
        model = values.pop(MODEL, next(iter(self._models), ''))
        if model not in self._models:
            raise SettingsError(f'{where}: no model {model!r} is among {list(self._models)}')
        retrieved = values.pop(RETRIEVED, 0)
        settings = {name: _limit(value) for name, value in values.items()}
        made = Cell(model, self._models[model], settings, retrieved)
        try:
            chosen = made.stream
            if retrieved:
                check_recall(chosen)
        except SettingsError as error:
            raise SettingsError(f'{where}: {error}') from error
        if made not in self.cells:
            self.cells.append(made)
        return self.cells.index(made)

    def table(self, name: str, content: Any) -> Layout:
        """A table of the grid. Raises SettingsError and Misfit where it is wrong."""
        where = f'tables.{name}'
        Table({}).check(content, where)
        (_OVER if 'over' in content else _ROWS).check(content, where)
        rows = content.get('rows')
        if isinstance(rows, Mapping):
            heads: tuple[str, ...] = (RUN,)
            lines = [
                Line((str(label),), self.cell(changes, f'{where}.rows.{label}'))
                for label, changes in rows.items()
            ]
        else:
            each = rows or list(_combined(content['over'], f'{where}.over'))
            heads = tuple(dict.fromkeys(str(key) for changes in each for key in changes))
            lines = [
                Line(
                    tuple(_told(changes.get(head, self._base.get(head, ''))) for head in heads),
                    self.cell(changes, f'{where}[{number}]'),
                )
                for number, changes in enumerate(each)
            ]
        return Layout(name, content.get('title', ''), heads, tuple(lines))


def _combined(axes: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Every combination of the values of all axes; the last axis changes first."""
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise SettingsError(f'{where}.{name} must be a list of values')
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _limit(value: Any) -> Any:
    """A setting as `StreamSettings` has it."""
    return None if value == math.inf else value


def _told(value: Any) -> str:
    """A setting as a table has it."""
    return '∞' if value is None or value == math.inf else str(value)
