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
    Column,
    Contestant,
    Item,
)
from svlm_core.evaluation.paper.published import GPT, MOMENTS, PARTS
from svlm_core.training.lab import read_lab

Kind = Literal['weights', 'data', 'captions', 'endpoints']

_HUB = 'huggingface-cli download'
_RECIPE = 'training/qwen2.5-vl-7b.yaml'
_WHOLE = f'python training/train.py {_RECIPE} --output runs/7b'
LAB = 'python training/lab.py --trunk DIR --output runs/lab'


def _trained(name: str, change: str) -> str:
    return f'python training/train.py COPY.yaml --output runs/{name}  # {_RECIPE} with {change}'


GETS: dict[Kind, dict[str, str]] = {
    'weights': {
        'streamingvlm': f'{_HUB} mit-han-lab/StreamingVLM --local-dir StreamingVLM',
        'qwen': f'{_HUB} Qwen/Qwen2.5-VL-7B-Instruct --local-dir Qwen2.5-VL-7B-Instruct',
        'livecc': f'{_HUB} chenjoya/LiveCC-7B-Instruct --local-dir LiveCC-7B-Instruct',
        'unlimited': _trained('unlimited', 'text_sink: null, text_window: null'),
        'sft-live-whisperx': _trained('live', 'the file train_livecc alone, without annealing'),
        'sft-inf-streams': f'{_WHOLE}  # runs/7b/sft/model',
        'annealed': f'{_WHOLE}  # runs/7b/annealing/model',
        'not-overlapped': _trained('apart', 'rows of svlm curate chunk --overlap 0'),
        'overlapped': f'{_WHOLE}  # runs/7b/annealing/model',
        **{
            f'sink-{tokens}': _trained(f'sink-{tokens}', f'text_sink: {tokens}')
            for tokens in (64, 128, 256, 512, 1024)
        },
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
        'gpt-4o-mini': '--base-url URL --commentator gpt-4o-mini makes them here; or svlm streams '
        'ask inf-streams --data DIR --output DIR --base-url URL --model gpt-4o-mini',
        **dict.fromkeys(
            ('livecc-chunks', 'livecc-endless'),
            '--weights livecc=DIR makes them here; or answers of the code of LiveCC '
            '(docs/table-1.md)',
        ),
        **dict.fromkeys(
            ('llava', 'gpt-4o', 'gemini', 'livecc-events'),
            'git clone https://github.com/showlab/livecc  # evaluation/livesports3kcc',
        ),
    },
    'endpoints': {'gpt-4o-mini': 'svlm paper --base-url URL --commentator gpt-4o-mini'},
}

# Models of the laboratory that stand for those of the paper.
VARIANTS = {
    'qwen': 'trunk',
    'sft-live-whisperx': 'no-previous-text',
    'sft-inf-streams': 'noisy',
    'annealed': 'annealed',
    'not-overlapped': 'not-overlapped',
    'overlapped': 'overlapped',
}
# Rows of these are about a training that svlm-tiny did not have: they wait for the laboratory.
TRAINED = ('sft-live-whisperx', 'sft-inf-streams', 'not-overlapped')
# svlm-tiny had the training of these: overlapped chunks and, scaled, their limits; no annealing.
ALIKE = ('streamingvlm', 'overlapped', 'sink-512')


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
    """What there is: folders and files by name, and models behind an endpoint by what they are
    called there. In `lab` are models of the laboratory."""

    weights: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    captions: Mapping[str, Path] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    lab: Path = Path('runs/lab')

    def has(self, need: Need) -> bool:
        return need.name in getattr(self, need.kind)

    def place(self, need: Need) -> str:
        """Where it is."""
        return str(getattr(self, need.kind)[need.name])


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
    return [ours, Need('data', of.benchmark), _theirs(of, sources)]


def _theirs(of: Column, sources: Sources) -> Need:
    """The captions of a column; where they are not given, what makes them, if that is there."""
    captions = Need('captions', of.captions)
    if of.maker is None or sources.has(captions):
        return captions
    maker = Need('endpoints' if of.maker.setting == 'windows' else 'weights', of.maker.model)
    return maker if sources.has(maker) else captions


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
