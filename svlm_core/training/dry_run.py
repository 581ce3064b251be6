# SPDX-License-Identifier: Apache-2.0
"""What a recipe will take, told before anything is trained: tokens, and memory.

Tokens are counted on samples taken evenly from the whole course. Weights, gradients and moments
are counted to the byte. What a forward keeps for the backward pass is worked out layer by layer;
a test holds it against what PyTorch keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from svlm_core.budget import size
from svlm_core.card import EMBEDDED
from svlm_core.model.checkpoint import resolve
from svlm_core.model.config import ModelConfig, parse_config, read_json
from svlm_core.model.weights import blank, weights_of
from svlm_core.prompt import ChatTokenizer
from svlm_core.training.course import Course
from svlm_core.training.folders import laid_over
from svlm_core.training.model import PIECE
from svlm_core.training.recipe import Learner, Recipe, Stage
from svlm_core.training.run import gather
from svlm_core.training.samples import Composer, Sample

SAMPLES = 16  # that are looked at
FLOAT, HALF = 4, 2  # bytes


@dataclass(frozen=True)
class Load:
    """What one sample, or several of them in a pack, bring: counts of tokens and of patches."""

    tokens: int
    seen: int
    asked: int
    patches: int

    @classmethod
    def of(cls, sample: Sample, config: ModelConfig) -> Load:
        """The load of a sample."""
        seen = len(sample.seen)
        return cls(len(sample), seen, len(sample.labels), seen * config.vision.merge_size**2)

    def times(self, count: int) -> Load:
        """That of as many such samples."""
        return Load(*(count * value for value in vars(self).values()))


@dataclass(frozen=True)
class Memory:
    """Bytes that one process needs of its device."""

    weights: int
    gradients: int
    moments: int
    states: int

    @property
    def all(self) -> int:
        """Bytes of all parts."""
        return sum(vars(self).values())


def show(recipe: Recipe, console: Console | None = None) -> None:
    """Print tokens and memory of each stage of a recipe. Raises the errors of its data."""
    console = console or Console()
    source = EMBEDDED if recipe.model.source is None else resolve(recipe.model.source)
    config = _config(recipe, source)
    maker = Composer(ChatTokenizer(source), config, recipe.stream, recipe.video_tokens)
    for stage in recipe.stages:
        course, problems = gather(recipe, stage, maker)
        for line in problems:
            console.print(line, highlight=False)
        loads = [Load.of(sample, config) for sample in _some(course)]
        frozen = recipe.model.freeze_vision or recipe.model.adapter is not None
        alone = partial(states, config, stage, frozen=frozen)
        console.print(_table(stage, course, loads, alone))
        need = memory(config, recipe.model, stage, max(loads, key=lambda load: load.tokens))
        console.print(
            f'one process, {stage.pack} of the longest side by side: weights '
            f'{size(need.weights)}, gradients {size(need.gradients)}, optimiser '
            f'{size(need.moments)}, states about {size(need.states)}: {size(need.all)}; '
            'FSDP2 shares all but the states\n',
            highlight=False,
        )


def memory(config: ModelConfig, learner: Learner, stage: Stage, longest: Load) -> Memory:
    """What a process needs that trains packs of the `longest` sample."""
    language, vision = blank(config, 'sdpa')
    every = sum(weight.numel() for weight in weights_of(language, vision).values())
    learning = sum(weight.numel() for weight in language.parameters())
    frozen = learner.freeze_vision or learner.adapter is not None
    if not frozen:
        learning = every
    each = FLOAT
    if learner.adapter is not None:
        rank, layers = learner.adapter.rank, learner.adapter.layers
        learning = sum(
            rank * sum(weight.shape)
            for name, weight in language.named_parameters()
            if name.endswith(tuple(f'{layer}.weight' for layer in layers))
        )
        each = HALF if stage.bf16 else FLOAT
    pack = longest.times(stage.pack)
    return Memory(
        weights=every * each + (learning * FLOAT if learner.adapter is not None else 0),
        gradients=learning * FLOAT,
        moments=2 * learning * FLOAT,
        states=states(config, stage, pack, frozen),
    )


def states(config: ModelConfig, stage: Stage, pack: Load, frozen: bool) -> int:
    """Bytes that a forward of a pack keeps, and the most that the backward pass adds."""
    text, vision = config.text, config.vision
    each = HALF if stage.bf16 else FLOAT
    rotated = (text.heads + text.kv_heads) * text.head_dim
    plain = (text.kv_heads + 2 * text.heads) * text.head_dim
    layer = pack.tokens * _layer(text.hidden_size, rotated + plain, text.intermediate_size, each)
    block = pack.patches * _layer(
        vision.hidden_size, 5 * vision.hidden_size, vision.intermediate_size, each
    )
    pixels = vision.in_channels * vision.temporal_patch * vision.patch_size**2
    ends = pack.patches * (pixels + 4 * vision.hidden_size) * each
    scores = 3 * min(PIECE, pack.asked) * text.vocab_size * FLOAT
    entry = pack.tokens * text.hidden_size * FLOAT
    inner = pack.patches * vision.hidden_size * FLOAT
    if stage.checkpointing:
        kept = text.layers * entry + (0 if frozen else vision.depth * inner)
        return kept + ends + max(layer, block, scores)
    return text.layers * layer + (block if frozen else vision.depth * block) + ends + scores


def _layer(hidden: int, heads: int, inner: int, each: int) -> int:
    """Bytes of a token in one layer: norms and what they give, heads, and the gated part."""
    return 2 * hidden * FLOAT + (2 * hidden + heads + 4 * inner) * each


def _config(recipe: Recipe, source: Path) -> ModelConfig:
    changes = recipe.model.fresh.config if recipe.model.fresh else {}
    return parse_config(laid_over(read_json(source / 'config.json'), changes))


def _some(course: Course) -> Iterator[Sample]:
    """Samples from all over a course."""
    for index in range(0, len(course), max(1, len(course) // SAMPLES)):
        if isinstance(sample := course[index], Sample):
            yield sample


def _table(
    stage: Stage, course: Course, loads: Sequence[Load], bytes_of: Callable[[Load], int]
) -> Table:
    steps = f'{course.steps} steps of {stage.batch} samples'
    table = Table('', 'tokens', 'vision', 'to learn', 'states', title=f'{stage.name}: {steps}')
    rows = [(load.tokens, load.seen, load.asked, bytes_of(load)) for load in loads]
    ends = [
        (name, [round(summary(column)) for column in zip(*rows, strict=True)])
        for name, summary in (('mean', mean), ('most', max))
    ]
    named = [(f'sample {number}', row) for number, row in enumerate(rows, 1)]
    for name, (*counts, held) in (*named, *ends):
        table.add_row(name, *(f'{count:,}' for count in counts), size(held))
    step = [stage.batch * count for count in ends[0][1][:3]]
    table.add_row('step', *(f'{count:,}' for count in step), '')
    return table
