# SPDX-License-Identifier: Apache-2.0
"""The command `svlm`: help worth reading, and one line for whatever goes wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from svlm_core import cli
from svlm_core.commands.parity import Parity
from svlm_core.errors import SvlmError

Done = subprocess.CompletedProcess[str]


def process(*words: str) -> Done:
    """The command as a process of its own, as a person starts it."""
    command = [sys.executable, '-m', 'svlm_core.cli', *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def svlm(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, which has imported already what it needs."""

    def run(*words: str) -> Done:
        try:
            status = cli.main(words)
        except SystemExit as left:
            status = left.code
        return subprocess.CompletedProcess(words, status, *capfd.readouterr())

    return run


def test_help_tells_what_there_is_and_where_to_begin(svlm):
    done = svlm('--help')
    assert done.returncode == 0
    for word in (*cli.COMMANDS, 'svlm doctor', 'svlm caption VIDEO', 'ros2 launch svlm'):
        assert word in done.stdout


def test_the_list_of_commands_fits_a_small_terminal(svlm):
    text = svlm('--help').stdout
    assert 'Exit status' not in text
    assert max(map(len, text[text.index('╭') :].splitlines())) <= 80
    assert len(text.splitlines()) <= 36


def test_the_version_is_that_of_the_package():
    done = process('--version')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == f'svlm {version("svlm")}\n'


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_says_what_it_does(svlm, name):
    done = svlm(name, '--help')
    assert done.returncode == 0
    first, *_ = (cli.COMMANDS[name].__doc__ or '').strip().splitlines()
    assert first in ' '.join(done.stdout.split())


@pytest.mark.parametrize(
    ('name', 'flags'),
    [
        ('caption', 'source --vtt --srt --jsonl --preset --query --previous-text --policy --sink '
                    '--window --vision-window --fps --model --device --dtype --seed --start '
                    '--duration --rtsp-transport --camera-size --camera-fps --camera-format '
                    '--max-frame-age'),
        ('parity', 'case --checkpoint'),
    ],
)  # fmt: skip
def test_the_help_of_a_command_is_complete(svlm, name, flags):
    words = ' '.join(svlm(name, '--help').stdout.lower().split())
    assert [flag for flag in flags.split() if flag not in words] == []


def test_no_help_waits_for_torch():
    asked = [['--help'], *([name, '--help'] for name in cli.COMMANDS)]
    code = (
        'import sys; from svlm_core import cli\n'
        f'for words in {asked}:\n'
        '    try: cli.main(words)\n'
        '    except SystemExit: pass\n'
        "    if 'torch' in sys.modules: sys.exit(' '.join(words))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b'')
    assert done.stdout.count(b'usage: svlm') == len(asked)


@pytest.mark.parametrize(
    ('words', 'status', 'told'),
    [
        ((), 2, 'caption'),
        (('dance',), 2, 'dance'),
        (('parity',), 2, 'case'),
        (('parity', '/nowhere'), 1, '/nowhere'),
        (('caption', '/nowhere.mp4'), 1, '/nowhere.mp4'),
        (('caption', 'x.mp4', '--preset', 'robo'), 2, 'robo'),
        (('caption', 'x.mp4', '--policy', 'robo'), 2, 'robo'),
        (('caption', 'x.mp4', '--sink', '-4'), 1, '--sink -4 is out of range'),
        (('caption', 'x.mp4', '--fps', 'inf'), 1, '--fps inf is out of range'),
        (('caption', 'x.mp4', '--duration', 'inf'), 1, '--duration inf is out of range'),
        (('caption', 'x.mp4', '--start', 'nan'), 1, '--start nan is out of range'),
        (('caption', 'x.mp4', '--start', 'inf'), 1, '--start inf is out of range'),
        (('caption', ''), 1, 'the name of the source is empty'),
        (('caption', 'x.mp4', '--model', ''), 1, '--model is empty'),
        (('caption', 'x.mp4', '--vtt', ''), 1, '--vtt . is a folder'),
    ],
)
def test_a_mistake_is_told_without_a_traceback(svlm, words, status, told):
    done = svlm(*words)
    assert done.returncode == status
    assert told in done.stderr
    assert 'Traceback' not in done.stderr
    if status == 1:
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith('svlm: ')


@pytest.mark.parametrize('words', [('dance',), ('parity', '/nowhere')])
def test_the_status_and_the_line_are_those_of_the_process(svlm, words):
    here, there = svlm(*words), process(*words)
    assert there.returncode == here.returncode
    assert (there.stdout, there.stderr) == (here.stdout, here.stderr)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='Linux has /dev/full')
@pytest.mark.parametrize('word', ['--version', '--help'])
def test_a_full_disk_behind_the_standard_output_is_told_in_one_line(word):
    command = [sys.executable, '-m', 'svlm_core.cli', word]
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    told = 'svlm: standard output cannot be written: No space left on device'
    assert done.stderr.splitlines() == [told]


def run_as(monkeypatch, error: BaseException) -> int:
    def run(self: Parity) -> int:
        raise error

    monkeypatch.setattr(Parity, 'run', run)
    return cli.main(['parity', 'case'])


def test_errors_that_are_meant_for_a_person_become_a_line(monkeypatch, capsys):
    assert run_as(monkeypatch, SvlmError('the camera fell down: put it up again')) == 1
    assert capsys.readouterr().err == 'svlm: the camera fell down: put it up again\n'


def test_ctrl_c_is_no_error(monkeypatch, capsys):
    assert run_as(monkeypatch, KeyboardInterrupt()) == 130
    assert 'Traceback' not in capsys.readouterr().err


def test_ctrl_c_while_it_is_being_imported_is_no_error_either():
    code = (
        'import os, signal, sys\n'
        'class Impatient:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        "        if name == 'svlm_core.commands.caption':\n"
        '            os.kill(os.getpid(), signal.SIGINT)\n'
        'sys.meta_path.insert(0, Impatient())\n'
        'from svlm_core.cli import main\n'
        "sys.exit(main(['--help']))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b'', b'')


def test_what_nobody_foresaw_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_as(monkeypatch, ZeroDivisionError())
