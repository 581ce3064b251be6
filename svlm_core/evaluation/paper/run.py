# SPDX-License-Identifier: Apache-2.0
"""Items one after the other into a folder, each with a JSON of its rows, and a report of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from svlm_core.errors import SettingsError, SourceError
from svlm_core.evaluation.identity import account, begin_folder, revision, versions
from svlm_core.evaluation.paper import exams, speed, wins
from svlm_core.evaluation.paper.captions import make_all, problems_of
from svlm_core.evaluation.paper.inplace import of_model
from svlm_core.evaluation.paper.items import INF, LIVE, Item
from svlm_core.evaluation.paper.published import EXAMS, MOMENTS
from svlm_core.evaluation.paper.report import write_report
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.evaluation.paper.sources import needs
from svlm_core.evaluation.paper.standins import make
from svlm_core.evaluation.paper.wins import Cell
from svlm_core.timeline import write_whole

Said = Callable[[str, int, int], None]  # of which item, how many captions, of how many


def carry_out(items: Sequence[Item], setup: Setup, said: Said) -> list[dict[str, Any]]:
    """Run items into the folder of `setup`, and write the report; what is in their files.

    Items that are complete are not run again. Raises SettingsError where the folder holds a run
    with other settings, and the errors of models, files and disks.
    """
    begin_folder(
        setup.folder,
        {
            'stand-ins': setup.size is not None and asdict(setup.size),
            'seed': setup.seed,
            'judge': {name: setup.judge_name(name) for name in (INF, LIVE)},
            'device': setup.device,
            'versions': versions(),
            'revision': revision(),
        },
    )
    if setup.size is None:
        data = {n: p for n, p in setup.sources.data.items() if n in (INF, LIVE)}
    else:
        data = make(setup.folder / 'worlds', setup.size, setup.seed)
    found = [_item(item, data, setup, said) for item in items]
    write_report(setup, found)
    return found


@dataclass
class Found:
    """What came of an item: its rows, values that are missing, and what went wrong."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lack(self, cells: Iterable[Cell], lacks: Mapping[str, str]) -> None:
        """Note that these values cannot be had, and what they lack."""
        self.missing += [{'label': c.label, 'column': c.column, 'lacks': lacks} for c in cells]


def _item(item: Item, data: wins.Data, setup: Setup, said: Said) -> dict[str, Any]:
    """What is in the file of an item, which is kept where it is complete."""
    path, made_of = setup.folder / f'{item.name}.json', _sources(item, setup)
    held = _held(path)
    if held and not held['missing'] and not held['problems']:
        if held['sources'] != made_of:
            raise SettingsError(f'{path} was made of other sources: choose another --output')
        return held
    found, able = Found(), list[Cell]()
    for cell in [Cell(label, column) for label, of in item.published.items() for column in of]:
        if lacks := setup.lacks(item.rows[cell.label], cell.column):
            found.lack([cell], lacks)
        else:
            able.append(cell)
    _judge(item, able, data, setup, said, found)
    _ask(item, able, setup, found)
    for label in dict.fromkeys(cell.label for cell in able if cell.column in MOMENTS):
        rows, problem = speed.measure(item, label, setup)
        found.rows += rows
        if not rows:
            found.problems.append(f'{label}: not one second was timed: {problem}')
    content = {
        'item': item.name,
        'title': item.title,
        'note': item.note,
        'sources': made_of,
        'missing': found.missing,
        'problems': found.problems,
        'rows': found.rows,
    }
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + '\n')
    return content


def _judge(
    item: Item, able: Sequence[Cell], data: wins.Data, setup: Setup, said: Said, found: Found
) -> None:
    """Add the win rates of an item, after all captions that they need."""
    judged = [cell for cell in able if wins.compared(cell.column)]
    jobs = wins.jobs_of(item, judged, data, setup)
    found.problems += make_all(jobs, setup.processes, lambda n, of: said(item.name, n, of))
    try:
        found.problems += problems_of(jobs)
    except SourceError as error:
        found.problems.append(str(error))
    for column in dict.fromkeys(cell.column for cell in judged):
        of = {cell.label: cell for cell in judged if cell.column == column}
        try:
            rows, lacking = wins.measure(item, [*of], column, data, setup)
        except SourceError as error:
            rows, lacking = [], dict.fromkeys(of, str(error))
        found.rows += rows
        for label, why in lacking.items():
            found.lack([of[label]], {'captions': why})


def _ask(item: Item, able: Sequence[Cell], setup: Setup, found: Found) -> None:
    """Add the accuracies of an item; what could not be asked is a problem."""
    cells = [cell for cell in able if cell.column in EXAMS]
    if setup.size is not None:
        for label in dict.fromkeys(cell.label for cell in cells):
            found.rows += exams.synthetic(item, label, setup, setup.size)
        return
    for cell in cells:
        try:
            rows, problem = exams.benchmark(item, cell.label, cell.column, setup)
        except SourceError as error:
            found.lack([cell], {f'data of {cell.column}': str(error)})
            continue
        found.rows += rows
        found.problems += filter(None, [problem])


def _sources(item: Item, setup: Setup) -> dict[str, str]:
    """Where the models of an item, and everything it is compared with, came from."""
    if setup.size is not None:
        models = dict.fromkeys(who.model for who in item.rows.values())
        return {name: of_model(name, setup) for name in models}
    given = setup.sources
    return {str(need): given.place(need) for need in needs(item, given) if given.has(need)}


def _held(path: Path) -> dict[str, Any]:
    """What the file of an item holds; empty where there is none. Raises SourceError."""
    if not path.is_file():
        return {}
    content = account(path)
    names = {'rows', 'missing', 'problems', 'sources'}
    if not isinstance(content, dict) or not names <= content.keys():
        raise SourceError(f'{path} is no item of the paper: remove it')
    return content
