# SPDX-License-Identifier: Apache-2.0
"""The engine: one model on one device, from which any number of streams open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from svlm_core.card import EMBEDDED, Card, read_card, suited
from svlm_core.config import StreamSettings
from svlm_core.model.checkpoint import Model, load, resolve
from svlm_core.model.packed import pack, packed_layers
from svlm_core.model.quantised import quantised_layers
from svlm_core.model.weights import blank, weights_of
from svlm_core.prompt import ChatTokenizer
from svlm_core.stream import Stream


@dataclass(frozen=True)
class EngineInfo:
    """What runs where: for the status of a node, the head of a report, a person's eye."""

    model: str
    trained: bool
    device: str
    dtype: str
    attention: str
    parameters: int
    limits: str = ''  # what the model does not know, in its own words
    kernels: str = ''  # which layers are multiplied by a kernel of their own; none: ''

    @classmethod
    def of(cls, model: Model, card: Card) -> EngineInfo:
        """What a loaded model is; its `card` says its name."""
        return cls(
            model=card.name or str(model.folder),
            trained=card.trained,
            device=str(model.device),
            dtype=_types(model),
            attention=model.language.backend,
            limits=card.limits,
            parameters=_parameters(model),
            kernels=_kernels(model),
        )


def _types(model: Model) -> str:
    computed = str(model.dtype).removeprefix('torch.')
    bits = model.config.bits
    return computed if bits is None else f'int{bits} weights in {computed}'


def _kernels(model: Model) -> str:
    layers, packed = quantised_layers(model.language), packed_layers(model)
    fast = sum(layer.fast for layer in layers)
    few = f'fast kernels in {fast} of {len(layers)} layers' if layers else ''
    own = f'{len(packed)} packed layer{"s" * (len(packed) != 1)}' if packed else ''
    return ', '.join(filter(None, [few, own]))


def _parameters(model: Model) -> int:
    plain = blank(replace(model.config, bits=None), model.language.backend)
    return sum(weight.numel() for weight in weights_of(*plain).values())


class StreamingVLM:
    """A checkpoint ready to watch streams. All its streams share the weights."""

    def __init__(self, model: Model, tokenizer: ChatTokenizer, info: EngineInfo) -> None:
        self.info = info
        self.tokenizer = tokenizer
        self._model = model

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        device: str = 'auto',
        dtype: str = 'auto',
        attention: str = 'auto',
    ) -> StreamingVLM:
        """Load a checkpoint folder, a hub id that you name, or the embedded model (None).

        Raises CheckpointError or TokenizerError with one line that says what is wrong with it.
        """
        folder = EMBEDDED if source is None else resolve(source)
        tokenizer = ChatTokenizer(folder)
        model = load(folder, device, dtype, attention)
        pack(model)
        card = read_card(folder)
        named = replace(card, name=card.name or str(source or folder.name))
        return cls(model, tokenizer, EngineInfo.of(model, named))

    def open(
        self,
        settings: StreamSettings | None = None,
        *,
        endless: bool = False,
        retrieved: int = 0,
    ) -> Stream:
        """A new stream; its memory is allocated here, once.

        Default: preset `robot`, with what the model has been trained with. Replies of an
        `endless` stream never end by themselves, so that every round costs the same; up to
        `retrieved` evicted rounds are brought back in each layer, as ReKV does (see `recall`).

        Raises SettingsError when the settings give the memory no bound and no capacity.
        """
        settings = settings or suited('robot', self._model.folder)
        return Stream(self._model, self.tokenizer, settings, endless, retrieved)

    @property
    def model(self) -> Model:
        """The weights, and what they are made for."""
        return self._model
