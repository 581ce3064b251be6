# SPDX-License-Identifier: Apache-2.0
"""The documents are true where that can be told: links, commands, presets, words of the log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SOURCES = [*ROOT.glob('svlm_core/**/*.py'), *ROOT.glob('svlm_ros/**/*.py')]
LAUNCH_FILES = {
    path.name: path.read_text() for path in (ROOT / 'launch').iterdir() if path.is_file()
}


def anchors(page: Path) -> set[str]:
    """The names of its headings, as a link has them."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if target.startswith('http'):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_launch_command_names_a_file_and_its_arguments(page: Path) -> None:
    text = re.sub(r'\\\n\s*', '', page.read_text())
    for call in re.findall(r'ros2 launch svlm ([^\n`#]*)', text):
        name, *arguments = call.split()
        assert name in LAUNCH_FILES, call
        declared = LAUNCH_FILES[name] + LAUNCH_FILES['captioner.launch.py']
        for argument in re.findall(r'(\w+):=', ' '.join(arguments)):
            assert f"'{argument}'" in declared, call


def test_every_preset_for_a_machine_is_on_its_page_with_its_numbers() -> None:
    section = (ROOT / 'docs' / 'install.md').read_text().split('## Presets')[1].split('\n## ')[0]
    told = {
        name: (int(row[-3]), int(row[-2]))
        for row in (line.split('|') for line in section.splitlines() if line.startswith('| `'))
        for name in re.findall(r'`(\w+)`', row[1])
    }
    found = {}
    for path in (ROOT / 'config' / 'presets').iterdir():
        values = yaml.safe_load(path.read_text())['/**']['ros__parameters']
        found[path.stem] = (values['max_vision_tokens'], values['max_new_tokens'])
    assert told == found


def test_the_log_says_what_troubleshooting_quotes() -> None:
    code = re.sub(r"'\s*\n\s*f?'", '', '\n'.join(path.read_text() for path in SOURCES))
    code = re.sub(r'\{[^{}]*\}', '0', code)
    text = (ROOT / 'docs' / 'troubleshooting.md').read_text()
    quoted = [
        quote
        for line in text.splitlines()
        if line.startswith('| ')
        for quote in re.findall(r'"([^"]+)"', line)
    ]
    assert len(quoted) > 10
    assert [q for q in quoted if re.sub(r'publishers: \d', 'publishers: 0', q) not in code] == []


def test_troubleshooting_names_fields_and_parameters_that_exist() -> None:
    text = (ROOT / 'docs' / 'troubleshooting.md').read_text()
    known = '\n'.join(path.read_text() for path in [*SOURCES, *(ROOT / 'msg').iterdir()])
    names = set(re.findall(r'`([a-z]+_[a-z_]+)`', text))
    assert {'frames_lost', 'max_frame_age', 'memory_bytes'} <= names
    apart = {'use_sim_time'}  # of every node
    assert [name for name in sorted(names - apart) if name not in known] == []
