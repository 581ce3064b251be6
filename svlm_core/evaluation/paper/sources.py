# SPDX-License-Identifier: Apache-2.0
"""What the items need, what of it is there, and the command that gets the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from svlm_core.errors import SettingsError
from svlm_core.evaluation.paper.items import (
    COLUMNS,
    EXAMS_BY_COLUMN,
    INF,
    LIVE,
    Contestant,
    Item,
)
from svlm_core.evaluation.paper.published import GPT, MOMENTS, PARTS
from svlm_core.training.lab import read_lab

Kind = Literal['weights', 'data', 'captions']

_HUB = 'huggingface-cli download'
_TRAIN = 'python training/train.py --help'
_LAB = 'python training/lab.py --trunk DIR --output runs/lab'
GETS: dict[Kind, dict[str, str]] = {
    'weights': {
        'streamingvlm': f'{_HUB} mit-han-lab/StreamingVLM --local-dir StreamingVLM',
        'qwen': f'{_HUB} Qwen/Qwen2.5-VL-7B-Instruct --local-dir Qwen2.5-VL-7B-Instruct',
        'livecc': f'{_HUB} chenjoya/LiveCC-7B-Instruct --local-dir LiveCC-7B-Instruct',
        'unlimited': _TRAIN,
        'sft-live-whisperx': _TRAIN,
        'sft-inf-streams': _TRAIN,
        'annealed': _TRAIN,
        'not-overlapped': _TRAIN,
        'overlapped': _TRAIN,
        **{f'sink-{tokens}': _TRAIN for tokens in (64, 128, 256, 512, 1024)},
    },
    'data': {
        INF: f'{_HUB} --repo-type dataset mit-han-lab/Inf-Stream-Eval --local-dir DIR',
        LIVE: f'{_HUB} --repo-type dataset stdKonjac/LiveSports-3K --local-dir DIR',
        'mvbench': f'{_HUB} --repo-type dataset OpenGVLab/MVBench --local-dir DIR',
        'videomme': f'{_HUB} --repo-type dataset lmms-lab/Video-MME --local-dir DIR',
        'longvideobench': f'{_HUB} --repo-type dataset longvideobench/LongVideoBench '
        '--local-dir DIR',
        'ovobench': f'{_HUB} --repo-type dataset JoeLeelyf/OVO-Bench --local-dir DIR',
    },
    'captions': {
        'gpt-4o-mini': 'svlm streams ask inf-streams --data DIR --output DIR --base-url URL '
        '--model gpt-4o-mini',
        **dict.fromkeys(
            ('livecc-chunks', 'livecc-endless'),
            'answers of the code of LiveCC on Inf-Streams-Eval (docs/table-1.md)',
        ),
        **dict.fromkeys(
            ('llava', 'gpt-4o', 'gemini', 'livecc-events'),
            'git clone https://github.com/showlab/livecc  # evaluation/livesports3kcc',
        ),
    },
}

# Models of the laboratory that stand for those of the paper.
VARIANTS = {
    'qwen': 'trunk',
    'sft-inf-streams': 'noisy',
    'annealed': 'annealed',
    'not-overlapped': 'not-overlapped',
    'overlapped': 'overlapped',
}
TRAINED = ('sft-live-whisperx', 'sft-inf-streams', 'not-overlapped')  # otherwise than svlm-tiny


@dataclass(frozen=True)
class Need:
    """One thing that an item needs."""

    kind: Kind
    name: str

    @property
    def how(self) -> str:
        """The command that gets it."""
        return GETS[self.kind][self.name]

    def __str__(self) -> str:
        return f'{self.kind} {self.name}'


@dataclass(frozen=True)
class Sources:
    """What there is: folders and files by name. In `lab` are models of the laboratory."""

    weights: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    captions: Mapping[str, Path] = field(default_factory=dict)
    lab: Path = Path('runs/lab')

    def has(self, need: Need) -> bool:
        return need.name in getattr(self, need.kind)


def named(words: Sequence[str], kind: Kind) -> dict[str, Path]:
    """The places in `NAME=PATH` words. Raises SettingsError for what is unknown or not there."""
    found: dict[str, Path] = {}
    for word in words:
        name, mark, place = word.partition('=')
        if not mark or name not in GETS[kind]:
            raise SettingsError(
                f'--{kind} {word}: give NAME=PATH with one of {", ".join(GETS[kind])}'
            )
        if not Path(place).exists():
            raise SettingsError(f'--{kind} {word}: {place} is not there')
        found[name] = Path(place)
    return found


def cell_needs(contestant: Contestant, column: str, sources: Sources) -> list[Need]:
    """What a row needs for a value in a column."""
    model = Need('weights', contestant.model)
    if column in MOMENTS:
        return [model]
    if column in EXAMS_BY_COLUMN:
        return [model, Need('data', EXAMS_BY_COLUMN[column])]
    of = COLUMNS[GPT if column in PARTS else column]
    own = contestant.captions and Need('captions', contestant.captions)
    ours = own if own and of.benchmark == INF and sources.has(own) else model
    return [ours, Need('data', of.benchmark), Need('captions', of.captions)]


def needs(item: Item, sources: Sources) -> list[Need]:
    """All that an item needs, each thing once."""
    every = (
        need
        for label, columns in item.published.items()
        for column in columns
        for need in cell_needs(item.rows[label], column, sources)
    )
    return list(dict.fromkeys(every))


def lacking(wanted: Iterable[Need], sources: Sources) -> list[Need]:
    """What of it is not there."""
    return [need for need in wanted if not sources.has(need)]


def from_lab(model: str, folder: Path) -> Path | None:
    """The first model of the laboratory that stands for one of the paper; None: there is none."""
    lab, variant = read_lab(folder), VARIANTS.get(model)
    if lab is None or variant is None:
        return None
    path = lab.models(folder, variant)[0]
    return path if path.is_dir() else None


def lab_command(model: str) -> str:
    """How to come by a stand-in for a model of another training."""
    return _LAB if model in VARIANTS else 'no variant of the laboratory is trained so'
