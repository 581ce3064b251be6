# SPDX-License-Identifier: Apache-2.0
"""LoRA: small trainable matrices beside frozen weights, and how they become one again."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from svlm_core.training.recipe import Adapter

NAME = 'default'


def add(language: nn.Module, adapter: Adapter, seed: int) -> None:
    """Put adapters into the linear layers of a language model and freeze all else.

    They are float32, whatever the weights are, and begin as no change at all.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.layers),
    )
    inject_adapter_in_model(config, language, adapter_name=NAME)
    for parameter in language.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def merge(language: nn.Module) -> None:
    """Add what the adapters have learnt to the weights, and take the adapters away."""
    found = [(n, m) for n, m in language.named_modules() if isinstance(m, LoraLinear)]
    for name, layer in found:
        plain: Any = layer.get_base_layer()
        plain.weight.data += layer.get_delta_weight(NAME).to(plain.weight.dtype)
        language.set_submodule(name, plain)
