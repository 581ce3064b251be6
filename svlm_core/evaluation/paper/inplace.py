# SPDX-License-Identifier: Apache-2.0
"""What was run in place of what the paper ran, in words; empty where nothing was."""

from __future__ import annotations

import re

from svlm_core.evaluation.paper.items import JUDGES, Contestant
from svlm_core.evaluation.paper.setup import Setup
from svlm_core.evaluation.paper.sources import ALIKE, from_lab


def of_model(name: str, setup: Setup) -> str:
    """What a model by a name of GETS is in truth."""
    if setup.size is None:
        return ''
    model = from_lab(name, setup.sources.lab)
    tiny = 'svlm-tiny' if name in ALIKE else 'svlm-tiny, not trained so,'
    who = f'{model} of the laboratory' if model else tiny
    return f'{who} on synthetic worlds, limits scaled, stands in'


def of_win_rate(ours: Contestant, made: list[Contestant], benchmark: str, setup: Setup) -> str:
    """What a win rate of a contestant is of; `made` are those whose captions svlm has made."""
    told = [of_model(ours.model, setup), _of_judge(benchmark, setup)]
    if setup.size is None:
        told += [_of_captions(who, setup) for who in made]
    else:
        told.append('svlm-tiny in other settings is what it is compared with')
    return '; '.join(dict.fromkeys(filter(None, told)))


def _of_judge(benchmark: str, setup: Setup) -> str:
    name, published = setup.judge_name(benchmark), JUDGES[benchmark]
    return '' if _same(name, published) else f'judged by {name}, not by {published}'


def _of_captions(maker: Contestant, setup: Setup) -> str:
    if maker.model == 'livecc':
        return 'LiveCC captioned by svlm, not by its own code'
    if maker.setting == 'windows':
        name = setup.commentator.name if setup.commentator else 'nobody'
        return '' if _same(name, maker.model) else f'captions of {name}, not of {maker.model}'
    return ''


def _same(name: str, published: str) -> bool:
    """Whether an endpoint calls a published model so: its maker before it, a date behind it."""
    pattern = rf'(.+/)?{re.escape(published)}(-\d{{4}}-\d\d-\d\d)?'
    return re.fullmatch(pattern, name) is not None
