# SPDX-License-Identifier: Apache-2.0
"""Every setting of a stream, with its default, its range and its meaning; presets by name.

This is the one source of defaults: the command line, the ROS parameters and the docs read them
from here. Constants of the published system are those of arXiv 2510.09608 and its code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from svlm_core.errors import SettingsError

Policy = Literal['streaming', 'full_attention', 'window', 'recompute']
Rope = Literal['contiguous', 'native', 'plain']
TimeOrigin = Literal['stream', 'wrapped']
Preset = Literal['robot', 'reference']


def limit(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field that carries its description and its closed range."""
    return field(default=default, metadata={'help': help, 'low': low, 'high': high})


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits. Temperature 0 is greedy decoding."""

    temperature: float = limit(0.9, 'softmax temperature; 0 is greedy', low=0, high=10)
    top_k: int = limit(50, 'keep this many best tokens; 0 keeps all', low=0)
    top_p: float = limit(1.0, 'keep the best tokens up to this probability', low=0, high=1)
    repetition_penalty: float = limit(
        1.05, 'divides the score of every token already in memory; 1 is none', low=0.01, high=10
    )
    seed: int = limit(
        42, 'seed of the stream: same seed and frames, same captions', low=0, high=2**63 - 1
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class StreamSettings:
    """What one stream remembers, how it speaks, and how it reads its camera.

    Lengths of time are seconds of stream, lengths of text are tokens; None is no limit.
    Raises SettingsError when a value is out of range or two contradict each other.
    """

    query: str = limit('Describe what the robot sees.', 'the instruction to the model')
    previous_text: str = limit('', 'what was said before the stream began')
    policy: Policy = limit('streaming', 'how the memory is kept within bounds')
    rope: Rope = limit(
        'contiguous',
        'positions re-laid without gaps, or left to grow; plain: re-laid, and frames take a place '
        'for each token, as text does: what LiveCC was trained with',
    )
    vision_window: float | None = limit(
        16, 'seconds of vision kept, the current one included; 0: none enters', low=0
    )
    text_rounds: int | None = limit(16, 'rounds whose reply stays in place', low=1)
    text_sink: int | None = limit(512, 'oldest tokens of previous text, kept for good', low=0)
    text_window: int | None = limit(512, 'newest tokens of previous text kept', low=0)
    text_refresh_interval: float | None = limit(
        8,
        'policy streaming: seconds after which previous text is encoded anew, without the frames '
        'it was said of; none: never, as published',
        low=0.1,
    )
    reset_every: float = limit(100, 'policy window: seconds between hard resets', low=1)
    fps: float = limit(
        2, 'frames per second of stream; the models are trained at 2', low=0.1, high=120
    )
    chunk_seconds: float = limit(1, 'length of a round; the models are trained at 1', low=0.1)
    time_origin: TimeOrigin = limit(
        'stream',
        'what Time= tells the model: wrapped begins again every time_range seconds, because it '
        'has seen no longer streams in training; captions keep the true time',
    )
    time_range: float = limit(
        7200, 'seconds after which wrapped time begins again, on whole rounds', low=1
    )
    max_new_tokens: int = limit(20, 'longest reply of a round', low=1, high=4096)
    max_vision_tokens: int = limit(
        768, 'most vision tokens of one pair of frames', low=1, high=16384
    )
    min_vision_tokens: int = limit(1, 'smaller frames are enlarged to this many', low=1)
    capacity: int | None = limit(
        None, 'tokens the memory can hold; None computes the bound of the policy', low=16
    )
    query_tokens: int = limit(
        128, 'room for query and pinned sentences, set while the stream runs', low=0
    )
    ask_tokens: int = limit(
        0,
        'room for a question and its answer, on a copy of the memory and in it; 0 reserves none',
        low=0,
    )
    published_quirks: bool = limit(
        False, 'do as the published code does, oddities included (preset reference)'
    )
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_ranges(self)
        frames = self.fps * self.chunk_seconds
        if round(frames) < 1 or abs(frames - round(frames)) > 1e-6:
            raise SettingsError(
                f'fps={self.fps:g} with chunk_seconds={self.chunk_seconds:g} gives {frames:g} '
                'frames a round: choose them so that a round has a whole number of frames'
            )
        if self.published_quirks and (self.text_sink is None) != (self.text_window is None):
            raise SettingsError(
                'text_sink and text_window must both be none, or neither: with one alone the '
                'published code deletes its own markers; use preset robot'
            )
        if self.published_quirks and self.time_origin == 'wrapped':
            raise SettingsError('the published code never wraps its time: use preset robot')

    @property
    def frames_per_round(self) -> int:
        """Frames in one round: fps x chunk_seconds."""
        return round(self.fps * self.chunk_seconds)

    @property
    def lays_anew(self) -> bool:
        """Whether positions are laid anew each round; policy recompute lays even native ones."""
        return self.rope != 'native' or self.policy == 'recompute'

    @property
    def vision_rounds(self) -> int | None:
        """Rounds of vision kept, the current one included; a part of a round counts as one."""
        if self.vision_window is None:
            return None
        return math.ceil(self.vision_window / self.chunk_seconds - 1e-6)

    @property
    def refresh_rounds(self) -> int | None:
        """Rounds from one refresh of previous text to the next, with policy streaming."""
        if self.text_refresh_interval is None or self.policy != 'streaming':
            return None
        return max(1, round(self.text_refresh_interval / self.chunk_seconds))

    @property
    def reset_rounds(self) -> int:
        """Rounds from one hard reset to the next, with policy window."""
        return max(1, round(self.reset_every / self.chunk_seconds))


def preset(name: str, **changes: Any) -> StreamSettings:
    """The settings of a preset, with `changes` laid over them.

    Raises SettingsError for an unknown preset, an unknown setting or a bad value.
    """
    if name not in PRESETS:
        raise SettingsError(f'no preset {name!r}: choose one of {", ".join(PRESETS)}')
    return laid_over(PRESETS[name], changes)


def laid_over(settings: StreamSettings, changes: Mapping[str, Any]) -> StreamSettings:
    """Settings with `changes` over them; `sampling` may be a mapping of changes of its own.

    Raises SettingsError for an unknown setting or a bad value.
    """
    try:
        if isinstance(drawn := changes.get('sampling'), Mapping):
            changes = {**changes, 'sampling': replace(settings.sampling, **drawn)}
        return replace(settings, **changes)
    except TypeError as error:
        raise SettingsError(str(error)) from error


def check_ranges(settings: Any) -> None:
    """Hold every field of a dataclass to the type, the choices and the range it declares."""
    kinds = get_type_hints(type(settings))
    for name, spec in settings.__dataclass_fields__.items():
        value, kind = getattr(settings, name), kinds[name]
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                choices = ', '.join(get_args(kind))
                raise SettingsError(f'{name}={value!r} is unknown: choose one of {choices}')
        elif not _is_a(value, _kinds(kind)):
            raise SettingsError(f'{name}={value!r} is no {_names(kind)}')
        elif isinstance(value, int | float):
            low, high = spec.metadata.get('low'), spec.metadata.get('high')
            fits = (low is None or value >= low) and (high is None or value <= high)
            if not (fits and math.isfinite(value)):
                raise SettingsError(f'{name}={value} is out of range: {_range(low, high)}')


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types that a hint allows."""
    return (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)


def _is_a(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value has one of the types; a whole number will do for any number."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def _names(kind: Any) -> str:
    words = {
        int: 'whole number',
        float: 'number',
        str: 'text',
        bool: 'yes or no',
        NoneType: 'None',
        tuple: 'list',
    }
    return ' or '.join(words.get(k) or k.__name__ for k in _kinds(kind))


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f'it must be at least {low}'
    return f'it must lie between {low} and {high}'


PRESETS: dict[str, StreamSettings] = {
    'robot': StreamSettings(),
    'reference': StreamSettings(
        query='Commentate on this match',
        min_vision_tokens=100,
        text_refresh_interval=None,
        published_quirks=True,
    ),
}
