# SPDX-License-Identifier: Apache-2.0
"""The plug-in for lmms-eval, against a stand-in for the little that it uses of it."""

from __future__ import annotations

import importlib
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from official_files import film, picture
from svlm_core.card import suited
from svlm_core.errors import SettingsError
from svlm_core.evaluation.vqa.protocol import Ask, Frames, Reading, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.watching import Watching

ROOT = Path(__file__).parents[4]


@dataclass(frozen=True)
class ModelManifest:
    """As lmms-eval 0.7 has it."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class Lmms:
    """What a model inherits from; `task_dict` is set from outside."""

    is_simple = True

    def __init__(self) -> None:
        self.task_dict: dict = {}

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional: dict) -> Lmms:
        given = dict(pair.split('=') for pair in arg_string.split(',') if pair)
        return cls(**given, **additional)


@pytest.fixture
def plugin(monkeypatch):
    """The plug-in as its entry point loads it, with lmms-eval in place."""
    for name, content in {
        'lmms_eval': {},
        'lmms_eval.api': {},
        'lmms_eval.api.model': {'lmms': Lmms},
        'lmms_eval.models': {},
        'lmms_eval.models.registry_v2': {'ModelManifest': ModelManifest},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    written = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    module, _, name = written['project']['entry-points']['lmms_eval.models']['svlm'].partition(':')
    monkeypatch.delitem(sys.modules, module, raising=False)
    loaded = getattr(importlib.import_module(module), name)
    yield loaded
    sys.modules.pop(module, None)


def model(plugin, words: str = 'mode=streaming') -> Lmms:
    """The model that lmms-eval makes of a manifest and of --model_args."""
    module, _, name = plugin().simple_class_path.rpartition('.')
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, Lmms)
    return kind.create_from_arg_string(words, {'batch_size': 1, 'device': 'cpu'})


def request(text: str, shown, **kwargs) -> SimpleNamespace:
    return SimpleNamespace(args=(text, kwargs, lambda doc: shown(doc), 0, 'mvbench', 'test'))


def answers(made: Lmms, *requests) -> list[str]:
    made.task_dict = {'mvbench': {'test': [{'video': 'a.mp4'}]}}
    return made.generate_until(requests)


def test_it_is_named_svlm_and_answers_whole_requests(plugin, tmp_path, tiny):
    assert plugin().model_id == 'svlm'
    path = film(tmp_path / 'a.mp4', 4)

    def shown(doc):
        return [str(tmp_path / doc['video'])]

    said = answers(model(plugin), request('What happens?', shown, max_new_tokens=8))
    rules = Rules(Frames(4), lambda q, lines: Ask(''), lambda q, r: Reading('', None))
    who = Watching(tiny, rules, suited('robot', None), 100)
    question = Question('q', 't', path, '', None)
    told = who.ask(question, None, lambda lines: Ask('What happens?', tokens=8))
    assert said == [told.text]
    assert said[0]


def test_offline_it_is_shown_frames_or_pictures(plugin, tmp_path):
    film(tmp_path / 'a.mp4', 4)
    made = model(plugin, 'mode=offline,fps=2,max_frames=8')
    images = [SimpleNamespace(convert=lambda mode, n=n: picture(n)) for n in (1, 2)]
    said = answers(
        made,
        request('What happens?', lambda doc: [str(tmp_path / doc['video'])]),
        request('What is it?', lambda doc: images),
    )
    assert [type(text) for text in said] == [str, str]


def test_an_answer_ends_before_a_stop_word(plugin, tmp_path):
    film(tmp_path / 'a.mp4', 4)

    def shown(doc):
        return [str(tmp_path / doc['video'])]

    whole, cut = answers(
        model(plugin),
        request('What happens?', shown),
        request('What happens?', shown, until=[' ']),
    )
    assert cut == whole.split(' ')[0] != whole


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        ('mode=dreaming', 'mode=dreaming is neither streaming nor offline'),
        ('colour=red', 'svlm knows no colour'),
    ],
)
def test_words_it_does_not_know_are_refused(plugin, words, told):
    with pytest.raises(SettingsError, match=told):
        model(plugin, words)


def test_scores_of_given_answers_are_not_to_be_had(plugin):
    with pytest.raises(NotImplementedError, match='choose a task that generates'):
        model(plugin).loglikelihood([])


def test_pictures_of_other_sizes_take_that_of_the_first(plugin):
    sizes = [(64, 64, 3), (32, 128, 3)]
    images = [SimpleNamespace(convert=lambda m, s=s: np.zeros(s, np.uint8)) for s in sizes]
    assert answers(model(plugin), request('What is it?', lambda doc: images))[0] is not None
