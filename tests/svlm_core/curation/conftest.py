# SPDX-License-Identifier: Apache-2.0
"""A season of matches to curate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from matches import contents, film, heard, save
from svlm_core import cli


@pytest.fixture(scope='session')
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and transcripts of two matches; one video is silent, one is empty."""
    folder = tmp_path_factory.mktemp('season')
    film(folder / 'videos' / 'a_vs_b.mp4', 130)
    film(folder / 'videos' / 'cup' / 'final.mkv', 61)
    film(folder / 'videos' / 'mute.mp4', 30, sound=0)
    (folder / 'videos' / 'zero.mp4').touch()
    about = {'title': 'Final, 3 May: C vs D', 'categories': ['Sports']}
    save(folder / 'videos' / 'cup' / 'final.info.json', about)
    save(folder / 'words' / 'a_vs_b.json', heard(130, quiet=(50, 62)))
    save(folder / 'words' / 'cup' / 'final.json', heard(61))
    return folder


@pytest.fixture(autouse=True)
def outside_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests name the git revision, which who edits or commits meanwhile would change."""
    monkeypatch.setenv('GIT_DIR', '/nowhere')


@pytest.fixture
def curate(season: Path, tmp_path: Path) -> Callable[..., int]:
    """`svlm curate run` on the season, into a folder of the test; gives the exit status."""

    def run(url: str, *words: str, output: str = 'out', step: str = 'run') -> int:
        asked = ('--base-url', url, '--model', 'editor', '--workers', '2', '--tries', '3')
        heard_by = ('--transcripts', str(season / 'words'))
        flags = {
            'run': (*heard_by, *asked),
            'transcribe': heard_by,
            'clean': asked,
            'anneal': asked,
        }.get(step, ())
        place = str(season / 'videos'), str(tmp_path / output)
        return cli.main(['curate', step, *place, *flags, *words])

    return run


@pytest.fixture(scope='session')
def finished(season: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a curation that nothing disturbs leaves."""
    from chat_server import chat_server
    from matches import editor

    folder = tmp_path_factory.mktemp('finished')
    with chat_server(editor) as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv('GIT_DIR', '/nowhere')
        words = f'curate run {season}/videos {folder} --transcripts {season}/words'
        status = cli.main([*words.split(), '--base-url', server.url, '--model', 'editor'])
    assert status == 0
    left = contents(folder)
    shutil.rmtree(folder)
    return left
