# SPDX-License-Identifier: Apache-2.0
"""Captions that several items share: found again by what made them, and of what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from games import inf_streams
from svlm_core.card import EMBEDDED
from svlm_core.evaluation.paper.captions import finished, job_of, make_all
from svlm_core.evaluation.paper.items import COLUMNS, INF, OURS, Contestant
from svlm_core.evaluation.paper.published import GPT
from svlm_core.evaluation.paper.setup import Setup, Voice
from svlm_core.evaluation.paper.sources import Sources
from svlm_core.evaluation.streams import infstreams


@pytest.fixture
def setup_of(tmp_path, monkeypatch):
    """Runs into one folder, in which every name of a model stands for one checkpoint."""
    monkeypatch.setattr(infstreams, 'BEGIN', 10)
    names = ('streamingvlm', 'annealed', 'qwen')

    def made(model: Path, commentator: Voice | None = None) -> Setup:
        sources = Sources(weights=dict.fromkeys(names, model))
        return Setup(tmp_path / 'out', sources, None, 0, 1, 'cpu', commentator=commentator)

    return made


def test_captions_of_other_weights_or_other_files_are_not_taken_for_these(tmp_path, setup_of):
    games = inf_streams(tmp_path / 'games', seconds=15)
    here = setup_of(EMBEDDED)
    job = job_of(OURS, INF, games, here)
    assert make_all([job], 1, lambda done, of: None) == []
    assert finished(job)
    # What is the same is not made again, wherever it lies and by whatever name it is asked for.
    moved = Path(shutil.copytree(EMBEDDED, tmp_path / 'moved'))
    again = Path(shutil.copytree(games, tmp_path / 'again'))
    assert finished(job_of(OURS, INF, again, setup_of(moved)))
    assert finished(job_of(Contestant('annealed'), INF, games, here))
    # Other weights, official files or settings are something else.
    other = Path(shutil.copytree(EMBEDDED, tmp_path / 'other'))
    config = json.loads((other / 'config.json').read_text())
    (other / 'config.json').write_text(json.dumps(config))
    longer = inf_streams(tmp_path / 'longer', seconds=20)
    assert not finished(job_of(OURS, INF, games, setup_of(other)))
    assert not finished(job_of(OURS, INF, longer, here))
    assert not finished(job_of(Contestant('qwen'), INF, games, here)), 'its temperature is its own'


def test_captions_of_another_endpoint_are_not_taken_for_these(tmp_path, setup_of):
    games = inf_streams(tmp_path / 'games', seconds=15)
    maker = COLUMNS[GPT].maker
    assert maker is not None
    places = [
        job_of(maker, INF, games, setup_of(EMBEDDED, Voice(name, url, None))).output
        for name, url in [('mini', 'http://a'), ('mini', 'http://b'), ('maxi', 'http://a')]
    ]
    assert len(set(places)) == 3
