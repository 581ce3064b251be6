# SPDX-License-Identifier: Apache-2.0
"""The flags that name a model and set up a stream, for every command that runs one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from svlm_core.card import suited
from svlm_core.config import PRESETS, Policy, Preset, Rope, Sampling, StreamSettings
from svlm_core.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from svlm_core.engine import EngineInfo, StreamingVLM
    from svlm_core.stream import Stream


class Unset(Enum):
    """A flag that was not given leaves its setting to the preset; None means no limit."""

    PRESET = 'preset'


def _read(setting: str, parse: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec:
    """How the flag of a setting is read; the help shows its default if all presets agree on it."""
    defaults = {str(_value(settings, setting)) for settings in PRESETS.values()}
    default = defaults.pop() if len(defaults) == 1 else 'set-by-preset'
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [default or 'empty'],
    )


def _value(settings: StreamSettings, name: str) -> Any:
    return getattr(settings if hasattr(settings, name) else settings.sampling, name)


def _help(setting: str) -> Any:
    """The help of a setting, which stands in config.py and nowhere else."""
    specs = StreamSettings.__dataclass_fields__ | Sampling.__dataclass_fields__
    return arg(help=specs[setting].metadata['help'])


def _or_none(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Accept the word none, for no limit."""
    return lambda word: None if word.lower() == 'none' else parse(word)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(word: str) -> str:
        if word not in choices:
            raise ValueError(f'{word!r} is none of {", ".join(choices)}')
        return word

    return parse


@dataclass(frozen=True)
class EngineFlags:
    """Which model runs where, and how its stream remembers and speaks."""

    model: Annotated[
        str | None,
        arg(
            help='checkpoint folder or Hugging Face id; None: the built-in svlm-tiny',
            metavar='MODEL',
        ),
    ] = None
    device: Annotated[str, arg(help='auto, cpu, cuda, cuda:1, ...', metavar='DEVICE')] = 'auto'
    dtype: Annotated[str, arg(help='auto, float32, bfloat16 or float16', metavar='DTYPE')] = 'auto'
    preset: Annotated[
        Preset,
        arg(help='robot: fit for use; reference: what the published code does, to the token'),
    ] = 'robot'
    query: Annotated[str | Unset, _read('query', str, 'TEXT'), _help('query')] = Unset.PRESET
    previous_text: Annotated[
        str | Unset, _read('previous_text', str, 'TEXT'), _help('previous_text')
    ] = Unset.PRESET
    policy: Annotated[
        Policy | Unset,
        _read('policy', _one_of(get_args(Policy)), f'{{{",".join(get_args(Policy))}}}'),
        _help('policy'),
    ] = Unset.PRESET
    reset_every: Annotated[
        float | Unset, _read('reset_every', float, 'SECONDS'), _help('reset_every')
    ] = Unset.PRESET
    rope: Annotated[
        Rope | Unset,
        _read('rope', _one_of(get_args(Rope)), f'{{{",".join(get_args(Rope))}}}'),
        _help('rope'),
    ] = Unset.PRESET
    sink: Annotated[
        int | Unset | None, _read('text_sink', _or_none(int), 'TOKENS|none'), _help('text_sink')
    ] = Unset.PRESET
    window: Annotated[
        int | Unset | None,
        _read('text_window', _or_none(int), 'TOKENS|none'),
        _help('text_window'),
    ] = Unset.PRESET
    vision_window: Annotated[
        float | Unset | None,
        _read('vision_window', _or_none(float), 'SECONDS|none'),
        _help('vision_window'),
    ] = Unset.PRESET
    text_rounds: Annotated[
        int | Unset | None,
        _read('text_rounds', _or_none(int), 'ROUNDS|none'),
        _help('text_rounds'),
    ] = Unset.PRESET
    capacity: Annotated[
        int | Unset | None, _read('capacity', _or_none(int), 'TOKENS|none'), _help('capacity')
    ] = Unset.PRESET
    fps: Annotated[float | Unset, _read('fps', float, 'RATE'), _help('fps')] = Unset.PRESET
    max_new_tokens: Annotated[
        int | Unset, _read('max_new_tokens', int, 'TOKENS'), _help('max_new_tokens')
    ] = Unset.PRESET
    temperature: Annotated[
        float | Unset, _read('temperature', float, 'NUMBER'), _help('temperature')
    ] = Unset.PRESET
    seed: Annotated[int | Unset, _read('seed', int, 'NUMBER'), _help('seed')] = Unset.PRESET

    @property
    def computes(self) -> bool:
        """Whether the engine may be on a GPU: then a worker of a cluster needs one."""
        return self.device != 'cpu'

    def settings(self) -> StreamSettings:
        """The preset as it suits the model, with the flags that were given laid over it.

        Raises SettingsError, and CheckpointError for a bad card of the model.
        """
        if self.model == '':
            raise SettingsError('--model is empty: leave it out for the built-in model')
        flags = {
            'query': self.query,
            'previous_text': self.previous_text,
            'policy': self.policy,
            'reset_every': self.reset_every,
            'rope': self.rope,
            'text_sink': self.sink,
            'text_window': self.window,
            'vision_window': self.vision_window,
            'text_rounds': self.text_rounds,
            'capacity': self.capacity,
            'fps': self.fps,
            'max_new_tokens': self.max_new_tokens,
        }
        draw = {'temperature': self.temperature, 'seed': self.seed}
        try:
            return suited(self.preset, self.model, sampling=_given(draw), **_given(flags))
        except SettingsError as error:
            raise SettingsError(_as_flags(str(error), (*flags, *draw))) from error


def load_engine(
    model: str | None, device: str, dtype: str, attention: str = 'auto'
) -> StreamingVLM:
    """Load the engine; torch is first imported here."""
    from svlm_core.cores import keep_to_cores
    from svlm_core.engine import StreamingVLM

    keep_to_cores()
    return StreamingVLM.from_pretrained(model, device, dtype, attention)


def open_stream(engine: StreamingVLM, settings: StreamSettings, seconds: float | None) -> Stream:
    """A stream of so many seconds (None: nobody knows); its length bounds what no limit bounds.

    Raises SettingsError when neither the settings nor the length bound the memory.
    """
    from svlm_core.capacity import capacity, sized
    from svlm_core.prompt import Prompt

    prompt = Prompt(engine.tokenizer, settings)
    if seconds is not None:
        return engine.open(sized(prompt, settings, seconds))
    try:
        capacity(prompt, settings)
    except SettingsError:
        raise SettingsError(
            'nothing bounds the memory, and the source does not tell its length: give '
            '--capacity in tokens, or limits with --vision-window, --text-rounds, --sink and '
            '--window, and another policy than full_attention'
        ) from None
    return engine.open(settings)


def introduction(info: EngineInfo) -> str:
    """One line about an engine."""
    size = f'{info.parameters / 1e6:,.1f} M parameters'
    how = f'{info.dtype} on {info.device}', info.kernels, f'attention {info.attention}'
    return f'{info.model}: {size}, {", ".join(filter(None, how))}'


def _as_flags(line: str, settings: Iterable[str]) -> str:
    """A line about settings with the names that they have on the command line."""
    for setting in settings:
        flag = '--' + {'text_sink': 'sink', 'text_window': 'window'}.get(setting, setting)
        flag = flag.replace('_', '-')
        line = re.sub(rf'\b{setting}=', f'{flag} ', line)
        if '_' in setting:  # the others are words of English too
            line = re.sub(rf'\b{setting}\b', flag, line)
    return line


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not Unset.PRESET}
