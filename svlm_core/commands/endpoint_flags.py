# SPDX-License-Identifier: Apache-2.0
"""The flags that name a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from svlm_core.errors import SettingsError

if TYPE_CHECKING:
    from svlm_core.endpoints.chat import Chat


@dataclass(frozen=True)
class EndpointFlags:
    """A model behind an OpenAI-compatible endpoint; nothing is sent to any other place."""

    base_url: str = ''  # of an OpenAI-compatible server, as http://localhost:8000/v1
    model: str = ''  # name of the model at --base-url
    key_variable: str = ''  # environment variable that holds its key; empty: no key is sent
    timeout: float = 120.0  # seconds to wait for a reply
    tries: int = 8  # times that a request is sent before the command gives up

    def chat(self, cache: Path) -> Chat:
        """The model, whose replies are kept in the folder `cache`. Raises SettingsError."""
        from svlm_core.endpoints.cache import Cache
        from svlm_core.endpoints.chat import ChatEndpoint, Endpoint

        if not self.base_url or not self.model:
            raise SettingsError('name a model: --base-url http://HOST/v1 --model NAME')
        endpoint = Endpoint(self.base_url, self.model, self.key_variable, self.timeout, self.tries)
        return ChatEndpoint(endpoint, Cache(cache))
