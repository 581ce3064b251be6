# SPDX-License-Identifier: Apache-2.0
"""A plug-in for lmms-eval, which finds it by its entry point and runs it in its own environment.

    python -m lmms_eval --model svlm --model_args pretrained=FOLDER,mode=streaming --tasks mvbench

Only lmms-eval imports this module. Videos that a task names by their path are watched through
the bounded memory, or shown at once; pictures are shown at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from svlm_core.card import suited
from svlm_core.engine import StreamingVLM
from svlm_core.errors import SettingsError
from svlm_core.evaluation.vqa.answering import Answering
from svlm_core.evaluation.vqa.atonce import AtOnce, Viewer
from svlm_core.evaluation.vqa.frames import Shown, sizes, still
from svlm_core.evaluation.vqa.protocol import Ask, Frames, Pixels, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.watching import Watching

TOKENS = 16  # of an answer, where a task does not say
ROOM = 4096  # tokens for a question and its answer


def manifest() -> ModelManifest:
    """What lmms-eval is told of the model."""
    return ModelManifest(model_id='svlm', simple_class_path=f'{__name__}.Svlm')


class Svlm(lmms):
    """The model as lmms-eval knows models. Settings come as words, `--model_args name=value`."""

    def __init__(
        self,
        pretrained: str | None = None,
        mode: str = 'streaming',
        device: str = 'auto',
        dtype: str = 'auto',
        fps: str | float = 1,
        max_frames: str | int = 768,
        batch_size: str | int = 1,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise SettingsError(f'svlm knows no {", ".join(sorted(unknown))} in --model_args')
        if mode not in ('streaming', 'offline'):
            raise SettingsError(f'mode={mode} is neither streaming nor offline')
        if int(batch_size) != 1:
            raise SettingsError('svlm answers one question at a time: --batch_size 1')
        engine = StreamingVLM.from_pretrained(pretrained, device=device, dtype=dtype)
        settings = suited('robot', pretrained)
        self._pixels = Pixels().within(settings.max_vision_tokens)
        rules = Rules(Frames(int(max_frames), float(fps)), _never, _never, self._pixels)
        self._viewer, self._engine = Viewer(engine), engine
        self._answering: Answering = (
            Watching(engine, rules, settings, ROOM)
            if mode == 'streaming'
            else AtOnce(engine, rules, self._pixels)
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answer to each request, cut off before the first of its stop words."""
        return [self._answer(*request.args) for request in requests]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError('svlm answers in words: choose a task that generates')

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError('svlm answers one question at a time')

    def _answer(
        self, text: str, kwargs: dict, visuals: Any, doc_id: int, task: str, split: str
    ) -> str:
        shown = visuals(self.task_dict[task][split][doc_id])
        ask = Ask(text, tokens=int(kwargs.get('max_new_tokens') or TOKENS))
        if len(shown) == 1 and isinstance(shown[0], str):
            question = Question(f'{doc_id}', task, Path(shown[0]), text, None, kind='count')
            said = self._answering.ask(question, None, lambda lines: ask).text
        else:
            said = self._viewer.answer(self._pictures(shown), ask).text
        ends = kwargs.get('until') or ()
        for end in (ends,) if isinstance(ends, str) else ends:
            said = said.split(end)[0]
        return said

    def _pictures(self, shown: Sequence[Any]) -> Shown:
        """Pictures (PIL) as frames, all in the size of the first."""
        frames = [np.asarray(picture.convert('RGB')) for picture in shown]
        return still(frames, sizes(self._pixels, len(frames), self._engine.model.config.vision))


def _never(*_: Any) -> NoReturn:
    raise AssertionError('lmms-eval asks and scores by itself')
